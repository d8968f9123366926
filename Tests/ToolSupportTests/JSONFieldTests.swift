import Testing

@testable import ToolSupport

@Suite struct JSONFieldTests {
    private func value(_ path: String, in json: String) throws -> String {
        let field = try #require(JSONField(path: path))
        return String(decoding: try field.value(in: Array(json.utf8)), as: UTF8.self)
    }

    @Test(
        arguments: [
            (#"{"id":"a b"}"#, "a b"),
            (#"  { "x" : [1,{"id":2}] , "id" : "Zoë" }"#, "Zoë"),
            (#"{"id":1.10}"#, "1.10"),
            (#"{"id":12345678901234567890123}"#, "12345678901234567890123"),
            (#"{"id":-1e+5,"b":1}"#, "-1e+5"),
            (#"{"id":true}"#, "true"),
            (#"{"id":""}"#, ""),
            (#"{"id":"\"\\\/\n\t\u00e9\ud83d\ude00"}"#, "\"\\/\n\té😀"),
            (#"{"id":"\ud83dx\ude00"}"#, "\u{FFFD}x\u{FFFD}"),
            (#"{"i\u0064":"escaped name"}"#, "escaped name"),
            (#"{"a":"}\"]","id":"after brackets in text"}"#, "after brackets in text"),
            (#"{"id":"first","id":"second"}"#, "first"),
        ]
    )
    func textIsTakenAsItIsAndNumbersAsWritten(json: String, expected: String) throws {
        #expect(try value("id", in: json) == expected)
    }

    @Test func aPathLeadsIntoObjectsAndLists() throws {
        let json = #"{"a":{"b":{"c":7}},"list":[[1],{"x":"y"},null],"a.b":"dotted","back\\slash":1}"#
        #expect(try value("a.b.c", in: json) == "7")
        #expect(try value("list.1.x", in: json) == "y")
        #expect(try value("list.0.0", in: json) == "1")
        #expect(try value(#"a\.b"#, in: json) == "dotted")
        #expect(throws: JSONField.Failure.missing) { try value("list.3", in: json) }
        #expect(throws: JSONField.Failure.missing) { try value("list.x", in: json) }
        #expect(throws: JSONField.Failure.missing) { try value("a.x", in: json) }
        #expect(throws: JSONField.Failure.missing) { try value("list.0.0.z", in: json) }
    }

    @Test(arguments: [#"{"id":null}"#, #"{"id":{}}"#, #"{"id":[1]}"#])
    func whatIsNeitherTextNorNumberIsNoKey(json: String) {
        #expect(throws: JSONField.Failure.noScalar) { try value("id", in: json) }
    }

    @Test(arguments: ["{}", #"{"ID":1}"#, "[]", "7", #""id""#])
    func aMissingFieldIsSaidToBeMissing(json: String) {
        #expect(throws: JSONField.Failure.missing) { try value("id", in: json) }
    }

    @Test(
        arguments: [
            "", "   ", "{", #"{"id"#, #"{"id""#, #"{"id":"#, #"{"id":"a"#, #"{"id":"\"#, #"{"id":"\u12"}"#,
            #"{"id":"\u-001"}"#, #"{"id":"\x"}"#, #"{"a" 1,"id":2}"#, #"{"a":1 "id":2}"#, #"{"a":}"#,
            #"{"a":],"id":1}"#,
            #"{"id":nan}"#, #"{"id":-inf}"#, #"{"id":0x10}"#, #"{"id":+1}"#, #"{"id":hello}"#, #"{"a":bad,"id":1}"#,
        ]
    )
    func whatIsNotJSONIsSaidToBeNone(json: String) {
        #expect(throws: JSONField.Failure.notJSON) { try value("id", in: json) }
    }

    @Test func aDeeplyNestedLineDoesNotOverflowTheStack() throws {
        let depth = 200_000
        let nested = String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        #expect(try value("id", in: "{\"a\":\(nested),\"id\":\"found\"}") == "found")
    }

    @Test(arguments: ["", ".", "a.", ".a", "a..b", "a\\"])
    func aPathWithAnEmptyNameIsRefused(path: String) {
        #expect(JSONField(path: path) == nil)
    }
}
