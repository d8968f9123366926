package import ArgumentParser

/// The command at the root of a tool: parses the command line, runs the command that it names, and ends the process.
///
/// A `@main` type that conforms needs its configuration, and a `main` that calls ``runTool()``. Groups of commands from other targets are listed among
/// its `subcommands` as its own are; they throw ``ToolFailure``, or errors that say what theirs is (``ToolFailureConvertible``).
///
/// Exit status: 0 when everything was done; that of the ``ToolFailure`` when something was not, with the reason on standard error
/// under the tool's name; 64 when the command line is wrong.
package protocol ToolCommand: AsyncParsableCommand {
    /// Whether the end of the process may run what libraries registered for it: see ``endProcess(status:runsExitHandlers:)``.
    static var runsExitHandlers: Bool { get }
}

extension ToolCommand {
    package static var runsExitHandlers: Bool { true }

    /// Runs the tool and ends the process. For the `main` of the `@main` type, which would otherwise be that of
    /// swift-argument-parser.
    package static func runTool() async {
        fillStandardDescriptors()
        // A reader that goes away is an error of the write, which the commands answer in their own ways.
        ignoreBrokenPipes()
        Platform.toolName = _commandName
        do {
            var command = try await asyncParseAsRoot(nil)
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
            try StandardOutput.check()
            end(status: 0)
        } catch {
            end(reporting: error)
        }
    }

    private static func end(status: Int32) -> Never {
        endProcess(status: status, runsExitHandlers: runsExitHandlers)
    }

    /// Says what went wrong, and ends with the status that goes with it.
    private static func end(reporting error: any Error) -> Never {
        guard let failure = (error as? any ToolFailureConvertible)?.toolFailure else { endAsArgumentParser(error) }
        StandardError.say(failure.sentence)
        end(status: failure.status)
    }

    /// Help is an "error" too, and goes to standard output; complaints about the command line go to standard error.
    private static func endAsArgumentParser(_ error: any Error) -> Never {
        let code = exitCode(for: error)
        let text = fullMessage(for: error)
        if code.isSuccess {
            StandardOutput.print(text)
            do { try StandardOutput.check() } catch { end(reporting: error) }
        } else if !text.isEmpty {
            let text = text.hasPrefix("Error: ") ? "\(Platform.toolName): \(text.dropFirst(7))" : text
            StandardError.write(withHintAtDashes(text) + "\n")
        }
        end(status: code.rawValue)
    }
}

/// A value that begins with a dash is taken for the next option, and then "missing", by options that name something.
package func withHintAtDashes(_ complaint: String) -> String {
    guard let start = complaint.firstRange(of: "Missing value for '--")?.upperBound else { return complaint }
    let name = complaint[start...].prefix { $0 != " " && $0 != "'" }
    let head = complaint.prefix { $0 != "\n" }
    let hint = " (one that begins with a dash is given with an equals sign: --\(name)=-5)"
    return head + hint + complaint.dropFirst(head.count)
}
