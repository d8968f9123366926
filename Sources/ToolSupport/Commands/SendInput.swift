package import ArgumentParser

/// What commands that send lines or files have in common: which they are, how they become messages, and what becomes of those that
/// are not confirmed.
package struct SendInput: ParsableArguments {
    @Argument(help: "What to send; - is standard input, as is no FILE at all.", completion: .file())
    package var files: [String] = []

    @Flag(help: "Send each file as one message.")
    package var whole = false

    @Flag(help: "Leave empty lines out. Otherwise they are messages with empty values.")
    package var skipEmpty = false

    @Option(
        help: ArgumentHelp(
            """
            Append the lines that were not confirmed, as they were, to this file; with --whole the files' names. \
            No file is made where there are none.
            """,
            valueName: "file"
        ),
        completion: .file()
    )
    package var failed: String?

    package init() {}

    /// The files, or standard input.
    package var names: [InputName] {
        files.isEmpty ? [.standardInput] : files.map(InputName.init(argument:))
    }

    package func validate() throws {
        guard files.count(where: { $0 == "-" }) <= 1 else {
            throw ValidationError("Standard input (-) can be read only once.")
        }
        if whole, failed != nil, names.contains(.standardInput) {
            throw ValidationError(
                "--failed keeps the names of files that are sent --whole, and standard input has none."
            )
        }
    }
}

extension JSONField {
    /// The field that `--json-key` names; nil where it is not given.
    ///
    /// - Throws: `ValidationError` where it is no field's name.
    package static func key(_ argument: String?) throws -> JSONField? {
        guard let argument else { return nil }
        guard let field = JSONField(path: argument) else {
            throw ValidationError("--json-key \"\(argument)\": a field's name, or names with dots, are needed.")
        }
        return field
    }
}
