internal import Foundation

/// The file that gets the lines which were not confirmed.
package final class FailedLines: Sendable {
    package let path: String
    private let descriptor: Int32
    private let output: Output
    private let wasThere: Bool

    /// Opens the file, before anything is sent. What is in it from an earlier time stays, for it may be all there is
    /// left of those messages.
    ///
    /// - Throws: ``ToolFailure`` where it cannot be written, or is one of the inputs: it would then grow as it is read.
    package init(path: String, inputs: [(name: InputName, facts: Input.Facts)]) throws(ToolFailure) {
        self.path = path
        self.wasThere = access(path, F_OK) == 0
        self.descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw ToolFailure("--failed \(path): \(SystemError.last.text); nothing was sent")
        }
        self.output = Output(descriptor)
        let facts = try? Input.facts(of: descriptor)
        if let facts, let same = inputs.first(where: { $0.facts.isSameRegularFile(as: facts) }) {
            throw ToolFailure("--failed \(path) is also the input \(same.name); nothing was sent")
        }
    }

    deinit {
        close(descriptor)
    }

    package func append(_ raw: [UInt8]) async throws(SystemError) {
        try await output.write(raw)
    }

    /// Sees to it that everything is in the file, and takes the file away where it is new and empty.
    package func finish() async throws(SystemError) {
        try await output.flush()
        let size = try Input.facts(of: descriptor).size
        if !wasThere, size == 0 {
            unlink(path)
        } else if size != nil, fsync(descriptor) != 0 {
            throw .last
        }
    }
}
