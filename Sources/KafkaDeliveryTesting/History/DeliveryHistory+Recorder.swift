internal import Dispatch
internal import Foundation
internal import Synchronization

extension DeliveryHistory {
    /// Writes down what happens, from any task.
    ///
    /// In memory it is bounded; in a file it is not, and what is recorded survives the process, however that ends: each
    /// record is one line, and is with the operating system when ``record(_:by:)`` returns.
    public final class Recorder: Sendable {
        private enum Storage {
            case memory([Record])
            case file(FileHandle)
        }

        private struct State {
            var storage: Storage
            var failure: Failure?
        }

        private let maximumRecords: Int
        private let path: String?
        // Records come from any task, and their times are to be in the order in which they are written.
        private let state: Mutex<State>

        /// Records in memory.
        ///
        /// - Parameter maximumRecords: How many, 1 or more; a record takes some 200 bytes. With more than this the history
        ///   proves nothing, and ``history`` says so.
        public init(maximumRecords: Int = 1_000_000) {
            self.maximumRecords = max(maximumRecords, 1)
            self.path = nil
            self.state = Mutex(State(storage: .memory([])))
        }

        /// Records in a file, as JSON Lines. They are added to what is there: several processes may write the same one.
        ///
        /// - Throws: ``Failure`` where the file cannot be opened.
        public init(file path: String) throws(Failure) {
            let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
            guard descriptor >= 0 else {
                throw Failure("The history \(path) cannot be written: \(String(cString: strerror(errno))).")
            }
            self.maximumRecords = .max
            self.path = path
            self.state = Mutex(State(storage: .file(FileHandle(fileDescriptor: descriptor, closeOnDealloc: true))))
        }

        /// Writes down that something happened now.
        ///
        /// - Parameters:
        ///   - event: What happened.
        ///   - process: Who saw it, see ``Record/process``.
        public func record(_ event: Event, by process: String) {
            state.withLock { state in
                guard state.failure == nil else { return }
                let record = Record(process: process, time: DispatchTime.now().uptimeNanoseconds, event: event)
                switch state.storage {
                case .memory(var records):
                    // Not held twice, or each record would copy them all.
                    state.storage = .memory([])
                    if records.count < maximumRecords {
                        records.append(record)
                    } else {
                        state.failure = Failure(
                            "The history has more than \(maximumRecords) records: raise maximumRecords, or record in a file."
                        )
                    }
                    state.storage = .memory(records)
                case .file(let file):
                    do {
                        try file.write(contentsOf: JSONEncoder().encode(record) + [UInt8(ascii: "\n")])
                    } catch {
                        state.failure = Failure("The history cannot be written: \(error)")
                    }
                }
            }
        }

        /// What was recorded so far.
        ///
        /// - Throws: ``Failure`` where a record is missing, because there were too many or the file could not be written, and
        ///   where the file cannot be read.
        public var history: DeliveryHistory {
            get throws(Failure) {
                let (records, failure) = state.withLock { state -> ([Record], Failure?) in
                    switch state.storage {
                    case .memory(let records): (records, state.failure)
                    case .file: ([], state.failure)
                    }
                }
                if let failure { throw failure }
                return if let path { try DeliveryHistory(contentsOfFile: path) } else { DeliveryHistory(records) }
            }
        }
    }
}
