/// Why a tool ends without having done everything: a sentence for a person, and the exit status.
package struct ToolFailure: Error, Equatable, CustomStringConvertible {
    /// One sentence or a few, without the tool's name.
    package let sentence: String
    package let status: Int32

    package init(_ sentence: String, status: Int32 = 1) {
        self.sentence = sentence
        self.status = status
    }

    package var description: String { sentence }

    /// To this a shell adds the number of the signal that ended a command.
    package static let interruptedStatus: Int32 = 128

    /// The command line is wrong (EX_USAGE of BSD's sysexits, as swift-argument-parser has it).
    package static let usageStatus: Int32 = 64
}

/// An error that a command may end with as it is: the tool says it in one sentence, instead of as the parser of arguments would.
package protocol ToolFailureConvertible: Error {
    var toolFailure: ToolFailure { get }
}

extension ToolFailure: ToolFailureConvertible {
    package var toolFailure: ToolFailure { self }
}
