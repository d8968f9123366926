internal import Foundation

/// What the clients of one consumer group did and saw: the evidence that no message was lost, skipped or finished too
/// early.
///
/// A test gives its clients a ``Recorder``, lets things go wrong, and asks a ``Checker`` what the history proves:
///
/// ```swift
/// let recorder = DeliveryHistory.Recorder()
/// let member = recorder.member("billing-1", order: .partition, maximumAttempts: 3)
///
/// async let handling: Void = consumer.forEach(
///     retry: .fixed(.milliseconds(10), maximumAttempts: 3), deadLetters: letters
/// ) { delivery in
///     try await member.handling(delivery) { try await charge(delivery) }
/// }
/// for order in orders {
///     try await recorder.send(order.message, through: producer)
/// }
/// // … when all of them are handled:
/// await consumer.close()
/// try await handling
///
/// #expect(try DeliveryHistory.Checker().check(recorder.history) == [])
/// ```
///
/// The group reads its topics from their beginning, and every message has a value of its own, by which it is told from
/// others. What the brokers hold is to be read by something other than the code under test, and recorded too:
/// ``Event/committed(_:offset:)``, ``Event/stored(_:value:key:)`` and ``Event/deadLetter(of:at:value:)``. What is not
/// recorded cannot be found wrong.
///
/// Messages that are transformed in transactions have outputs instead of verdicts: each calls ``Member/transforming(_:)``, an
/// observer records ``Event/output(of:at:value:)`` for what readers of committed messages see, and the checker holds them to
/// one output each, in order, and to offsets that are committed with it and not without.
///
/// A history does not have to be complete to be checked: a process that was killed leaves the records it wrote before. It
/// does have to be over, for a message that is still on its way counts as unseen.
public struct DeliveryHistory: Sendable, Hashable {
    /// What happened, in the order of ``Record/time``.
    public let records: [Record]

    /// A history of records in any order.
    public init(_ records: some Sequence<Record>) {
        // Swift's sort is stable: records of the same nanosecond stay in the order in which they were written.
        self.records = records.sorted { $0.time < $1.time }
    }

    /// Several histories of the same group as one. Times of several processes of one machine can be compared.
    public init(merging histories: some Sequence<DeliveryHistory>) {
        self.init(histories.flatMap(\.records))
    }

    /// Reads a history from a file of JSON Lines, as a ``Recorder`` writes it. A last line that is not complete, because
    /// its writer was killed, counts as not written.
    ///
    /// - Throws: ``Failure`` where the file cannot be read or another line is not a record.
    public init(contentsOfFile path: String) throws(Failure) {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw Failure("The history \(path) cannot be read.")
        }
        let lines = data.split(separator: UInt8(ascii: "\n"))
        var records: [Record] = []
        records.reserveCapacity(lines.count)
        for (number, line) in lines.enumerated() {
            do {
                records.append(try JSONDecoder().decode(Record.self, from: line))
            } catch {
                if number == lines.count - 1, data.last != UInt8(ascii: "\n") { break }
                throw Failure("Line \(number + 1) of \(path) is not a record: \(error)")
            }
        }
        self.init(records)
    }

    /// Writes the history to a file of JSON Lines, in place of what is there.
    ///
    /// - Throws: ``Failure`` where the file cannot be written.
    public func write(toFile path: String) throws(Failure) {
        do {
            let encoder = JSONEncoder()
            let lines = try records.map { try encoder.encode($0) + [UInt8(ascii: "\n")] }
            try Data(lines.joined()).write(to: URL(fileURLWithPath: path))
        } catch {
            throw Failure("The history \(path) cannot be written: \(error)")
        }
    }

    /// A history that cannot be written, read or trusted.
    public struct Failure: Error, Hashable, CustomStringConvertible {
        /// What happened, and what to do about it.
        public let description: String

        init(_ description: String) {
            self.description = description
        }
    }
}
