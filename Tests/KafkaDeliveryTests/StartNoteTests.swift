import Testing

@testable import KafkaDelivery

/// What is kept beside a committed offset about processes that died there.
struct StartNoteTests {
    private func note(_ text: String) -> StartNote { StartNote(metadata: Array(text.utf8)) }

    private func text(_ note: StartNote) -> String { String(decoding: note.metadata, as: UTF8.self) }

    @Test func whatIsWrittenIsRead() {
        let note = StartNote(starts: 3, trial: 42, culprits: [17, 29])
        #expect(text(note) == "kafka-delivery/1 starts=3 trial=42 culprits=17,29")
        #expect(StartNote(metadata: note.metadata) == note)
        #expect(text(StartNote(starts: 1)) == "kafka-delivery/1 starts=1")
        #expect(self.note("kafka-delivery/1 trial=0").trial == 0)
    }

    @Test func nothingToSayIsNoText() {
        #expect(StartNote.none.metadata.isEmpty)
        #expect(note("") == .none)
    }

    @Test(arguments: [
        "", " ", "starts=3", "kafka-delivery/2 starts=3", "kafka-delivery/10 starts=3", "some other client's text",
        "{\"starts\":3}", "kafka-delivery/1", "kafka-delivery/1 starts", "kafka-delivery/1 starts=", "\u{FEFF}\0",
        "kafka-delivery/1 starts=-3 trial=-1 culprits=-4,x,", "kafka-delivery/1 colour=blue starts=three",
    ])
    func whatOthersWroteSaysNothing(text: String) {
        #expect(note(text) == .none)
    }

    @Test func aLaterVersionsWordsAreSkipped() {
        #expect(note("kafka-delivery/1 colour=blue starts=2 a=b=c") == StartNote(starts: 2))
    }

    @Test func bytesThatAreNoTextAreNothing() {
        #expect(StartNote(metadata: [0xFF, 0xFE, 0, 0x80]) == .none)
    }

    @Test func itStaysBelowWhatABrokerKeeps() {
        let offsets = (0..<1_000).map { Int64.max - $0 }
        let note = StartNote(starts: .max, trial: .max, culprits: offsets)
        #expect(note.metadata.count < 4_096)
        #expect(StartNote(metadata: note.metadata).culprits.count == StartNote.maximumCulprits)
        #expect(StartNote(metadata: note.metadata).starts == 1_000_000)
    }
}
