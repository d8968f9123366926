import Foundation

/// pika and aio-pika, in processes of their own that run `clients.py`.
struct PythonClients {
    let interpreter: String

    /// Why it cannot be used; nil where it can.
    func fault() -> String? {
        guard let output = try? output(["-c", "import aio_pika, pika"]) else { return "there is no \(interpreter)" }
        return output.status == 0 ? nil : "\(interpreter) has no pika or no aio-pika"
    }

    func run(_ mode: String, _ place: Place, _ queue: String, _ count: Int) throws -> Sample {
        guard let script = Bundle.module.path(forResource: "clients", ofType: "py") else {
            throw Failure("clients.py is not there")
        }
        let (text, status) = try output([script, mode, place.host, "\(place.port)", queue, "\(count)"])
        let numbers = text.split(whereSeparator: \.isWhitespace).compactMap { Double($0) }
        guard status == 0, numbers.count == 2 else { throw Failure("clients.py \(mode) ended with status \(status)") }
        return Sample(count, seconds: numbers[0], processor: numbers[1])
    }

    private func output(_ arguments: [String]) throws -> (text: String, status: Int32) {
        let (process, pipe) = (Process(), Pipe())
        process.executableURL = URL(fileURLWithPath: interpreter)
        process.arguments = arguments
        process.standardOutput = pipe
        if arguments.first == "-c" { process.standardError = FileHandle.nullDevice }
        try process.run()
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (String(decoding: data, as: UTF8.self), process.terminationStatus)
    }
}
