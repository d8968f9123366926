import Testing

@testable import KafkaDelivery

/// What is kept beside a committed offset about processes that died there.
struct CrashRecordTests {
    private func note(_ text: String) -> CrashRecord { CrashRecord(metadata: Array(text.utf8)) }

    private func text(_ note: CrashRecord) -> String { String(decoding: note.metadata, as: UTF8.self) }

    @Test func whatIsWrittenIsRead() {
        let note = CrashRecord(crashes: 3, probe: 42, suspects: [17, 29])
        #expect(text(note) == "kafka-delivery/1 crashes=3 probe=42 suspects=17,29")
        #expect(CrashRecord(metadata: note.metadata) == note)
        #expect(text(CrashRecord(crashes: 1)) == "kafka-delivery/1 crashes=1")
        #expect(self.note("kafka-delivery/1 probe=0").probe == 0)
    }

    @Test func nothingToSayIsNoText() {
        #expect(CrashRecord.none.metadata.isEmpty)
        #expect(note("") == .none)
    }

    @Test(arguments: [
        "", " ", "crashes=3", "kafka-delivery/2 crashes=3", "kafka-delivery/10 crashes=3", "some other client's text",
        "{\"crashes\":3}", "kafka-delivery/1", "kafka-delivery/1 crashes", "kafka-delivery/1 crashes=", "\u{FEFF}\0",
        "kafka-delivery/1 crashes=-3 probe=-1 suspects=-4,x,", "kafka-delivery/1 colour=blue crashes=three",
    ])
    func whatOthersWroteSaysNothing(text: String) {
        #expect(note(text) == .none)
    }

    @Test func aLaterVersionsWordsAreSkipped() {
        #expect(note("kafka-delivery/1 colour=blue crashes=2 a=b=c") == CrashRecord(crashes: 2))
    }

    @Test func bytesThatAreNoTextAreNothing() {
        #expect(CrashRecord(metadata: [0xFF, 0xFE, 0, 0x80]) == .none)
    }

    @Test func itStaysBelowWhatABrokerKeeps() {
        let offsets = (0..<1_000).map { Int64.max - $0 }
        let note = CrashRecord(crashes: .max, probe: .max, suspects: offsets)
        #expect(note.metadata.count < 4_096)
        #expect(CrashRecord(metadata: note.metadata).suspects.count == CrashRecord.maximumSuspects)
        #expect(CrashRecord(metadata: note.metadata).crashes == 1_000_000)
    }
}
