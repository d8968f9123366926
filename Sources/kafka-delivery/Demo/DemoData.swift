import Foundation
import ToolSupport

/// The events that `demo` sends: earthquakes, one a line of JSON.
enum DemoData {
    static let fileName = "earthquakes.jsonl"

    /// What the mock cluster can keep of a topic with three partitions, with room to spare.
    static let maximumBytes = 10 << 20

    /// Where the data set is that comes with the tool; nil where the program was moved away from it.
    ///
    /// `Bundle.module` would end the process in that case, so the same directories are searched here.
    static var bundledPath: String? {
        let program = Bundle.main.executableURL?.resolvingSymlinksInPath().deletingLastPathComponent()
        let besideProgram = [
            "KafkaDelivery_kafka-delivery.resources/\(fileName)",
            "KafkaDelivery_kafka-delivery.bundle/\(fileName)",
            "KafkaDelivery_kafka-delivery.bundle/Contents/Resources/\(fileName)",
            "../share/kafka-delivery/\(fileName)",
        ]
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        let inSources = source.appendingPathComponent("Resources/\(fileName)").path
        let installed = besideProgram.compactMap { program?.appendingPathComponent($0).standardizedFileURL.path }
        // For those who work on the package the shorter name is the better one to show.
        let isHere = inSources.hasPrefix(FileManager.default.currentDirectoryPath + "/")
        let candidates = isHere ? [inSources] + installed : installed + [inSources]
        return candidates.first { FileManager.default.isReadableFile(atPath: $0) }
    }

    /// The lines of a file that are not empty.
    static func lines(of path: String) async throws(ToolFailure) -> [[UInt8]] {
        do {
            _ = try Input.facts(of: .file(path))
            let input = try Input(.file(path), bell: Bell())
            var splitter = LineSplitter(limit: maximumBytes)
            var lines: [[UInt8]] = []
            var total = 0
            while true {
                let bytes = try await input.read(128 << 10)
                total += bytes.count
                guard total <= maximumBytes else {
                    throw ToolFailure("\(path) has more than \(maximumBytes.grouped) bytes, too many for a demo")
                }
                var piece = bytes[...]
                while let line = bytes.isEmpty ? try splitter.finish() : try splitter.next(in: &piece) {
                    if !line.bytes.isEmpty { lines.append(line.bytes) }
                }
                if bytes.isEmpty { break }
            }
            guard !lines.isEmpty else { throw ToolFailure("\(path) has nothing in it") }
            return lines
        } catch let failure as ToolFailure {
            throw failure
        } catch let error as SystemError {
            throw ToolFailure("\(path): \(error.text)")
        } catch {
            throw ToolFailure("\(path) has a line that is too long")
        }
    }
}

/// An event of the data set. Every field may be missing, for `--file` may name anything.
struct Earthquake: Decodable, Sendable {
    var id: String?
    var time: String?
    var magnitude: Double?
    var region: String?
    var place: String?
}
