import DeliveryCore
import Testing

@testable import HTTPDelivery

@Suite struct HTTPMessageTests {
    @Test func valuesOfATemplateArePercentEncodedAndStayInTheirPlaces() throws {
        let template = try HTTPURLTemplate("https://example.com/tasks/{id}/events?kind={kind}&at={id}")
        #expect(template.names == ["id", "kind", "id"])
        let url = try template.url(["id": "a/b?c#d e\r\nX: y", "kind": "ü&x=1"])
        #expect(
            url.text
                == "https://example.com/tasks/a%2Fb%3Fc%23d%20e%0D%0AX%3A%20y/events?kind=%C3%BC%26x%3D1&at=a%2Fb%3Fc%23d%20e%0D%0AX%3A%20y"
        )
    }

    @Test(arguments: [
        "", ".", "..", "../admin", "a/../../b", "x\\..\\y",
        // An accent makes one character of the slash before it.
        "..\u{2F}\u{301}x", "..\u{5C}\u{301}x",
    ])
    func aValueThatLeadsOutOfItsPathIsRefused(value: String) throws {
        let template = try HTTPURLTemplate("https://example.com/tasks/{id}/events")
        #expect(throws: HTTPDeliveryError.self) { try template.url(["id": value]) }
        let inQuery = try HTTPURLTemplate("https://example.com/tasks?id={id}")
        #expect(throws: Never.self) { try inQuery.url(["id": value]) }
    }

    @Test func aValueOfSeveralSegmentsIsAPath() throws {
        let template = try HTTPURLTemplate("https://example.com{/path*}?q={q}")
        #expect(template.names == ["path", "q"])
        #expect(try template.url(["path": "/a b//c?d/", "q": "1/2"]).text == "https://example.com/a%20b/c%3Fd?q=1%2F2")
        for path in ["", "/", "a/../b", "..", "a/./b", "a\\..\\b", "..\u{2F}\u{301}x", "..\u{5C}\u{301}x"] {
            #expect(throws: HTTPDeliveryError.self) { try template.url(["path": path, "q": ""]) }
        }
        // An accent makes one character of the slash before it, which ends a segment all the same.
        let accent = try template.url(["path": "a\u{2F}\u{301}b", "q": ""])
        #expect(accent.text == "https://example.com/a/%CC%81b?q=")
        #expect(throws: HTTPDeliveryError.self) { try HTTPURLTemplate("https://example.com/?q={/path*}") }
    }

    @Test func dotsAroundAPlaceMakeNoStepUp() throws {
        let template = try HTTPURLTemplate("https://example.com/tasks/.{id}/events")
        #expect(throws: HTTPDeliveryError.self) { try template.url(["id": "."]) }
        #expect(try template.url(["id": "a"]).text == "https://example.com/tasks/.a/events")
    }

    @Test(arguments: [
        "https://{host}/x", "https://example.com:{port}/x", "{scheme}://example.com/", "https://example.com/#{x}",
        "https://example.com/{}", "https://example.com/{a b}", "https://example.com/{a", "https://example.com{x}",
        "/tasks/{x}",
        "https://user{x}@example.com/",
    ])
    func noValueDecidesWhereARequestGoes(template: String) {
        #expect(throws: HTTPDeliveryError.self) { try HTTPURLTemplate(template) }
    }

    @Test func aMissingValueIsNamed() throws {
        let template = try HTTPURLTemplate("https://example.com/{id}")
        let error = #expect(throws: HTTPDeliveryError.self) { try template.url([:]) }
        #expect(error?.reason.contains("{id}") == true)
        #expect(error?.recovery == .fixRequest)
    }

    @Test(arguments: [
        "", "example.com", "ftp://example.com/", "http://", "http:///x", "http://a b/", "http://example.com/\r\nX: y",
        "http://example.com/ü", "http://example.com:0/", "http://example.com:65536/", "http://example.com:x/",
        "http://exa%41mple/",
        "http://example.com/%zz", "http://example.com/%4", "http://[::1", "http://[::1]x/", "http://a:1:2/",
        "http://@/",
        "http://exam<ple.com/",
    ])
    func anAddressThatCannotBeRequestedIsRefused(address: String) {
        let error = #expect(throws: HTTPDeliveryError.self) { try HTTPURL(address) }
        #expect(error?.persistence == .notPersisted)
        #expect(error?.kind == .invalidMessage)
    }

    @Test func anAddressIsTakenApart() throws {
        #expect(try HTTPURL("HTTPS://Example.COM:8443/A?b=C#d").text == "https://example.com:8443/A?b=C")
        #expect(try HTTPURL("http://example.com").text == "http://example.com/")
        #expect(try HTTPURL("http://example.com?x").text == "http://example.com/?x")
        #expect(try HTTPURL("http://[::1]:80/").origin == "http://[::1]:80")
        let withUser = try HTTPURL("http://na%40me:pass@example.com/")
        #expect(withUser.text == "http://example.com/")
        #expect(withUser.credentials == Array("na@me:pass".utf8))
    }

    @Test(arguments: [
        HTTPHeader("X", "a\r\nb"), HTTPHeader("X", "a\nb"), HTTPHeader("X", "a\0b"), HTTPHeader("X y", "a"),
        HTTPHeader("", "a"),
        HTTPHeader("X:", "a"), HTTPHeader("X\r\nY", "a"), HTTPHeader("content-length", "3"),
        HTTPHeader("Transfer-Encoding", "chunked"), HTTPHeader("Host", "other"), HTTPHeader("Connection", "upgrade"),
    ])
    func aHeaderThatWouldEndOrFrameTheRequestIsRefused(header: HTTPHeader) {
        #expect(header.fault != nil)
        #expect(HTTPHeader("X-Ok", "any text, ü\t1").fault == nil)
    }

    @Test func neitherPrintNorDumpShowsSecrets() throws {
        let secret = "hunter2"
        let url = try HTTPURL("https://user:\(secret)@example.com/\(secret)?token=\(secret)")
        var message = HTTPMessage(
            to: url,
            headers: [HTTPHeader("Authorization", "Bearer \(secret)")],
            body: Array(secret.utf8)
        )
        message.idempotencyKey = secret
        let response = HTTPResponse(status: 200, headers: [HTTPHeader("Set-Cookie", secret)], body: Array(secret.utf8))
        let rules = StatusRules(retriable: [], maximumRetryAfter: .zero)
        let error = try #require(
            rules.error(for: HTTPResponse(status: 401, headers: response.headers), from: "\(url)", now: 0)
        )
        let bytes = "\(Array(secret.utf8))".dropFirst().dropLast()
        let template = try HTTPURLTemplate("https://user:\(secret)@example.com/\(secret)/{id}?token=\(secret)")
        for value in [url, message, message.headers, response, error, template] as [Any] {
            var text = "\(value) \(String(reflecting: value))"
            dump(value, to: &text)
            #expect(!text.contains(secret), "\(type(of: value))")
            #expect(!text.contains(bytes), "\(type(of: value))")
        }
        #expect("\(message)" == "POST https://example.com/…, 7 bytes")
        #expect("\(template)" == "https://example.com/…")
        #expect("\(try HTTPURLTemplate("http://[::1]:80{/path*}"))" == "http://[::1]:80/…")
    }

    @Test func aMessageIsStampedWithAKeyOfItsOwn() throws {
        let url = try HTTPURL("https://example.com/")
        let keys = try Set((0..<100).map { _ in try #require(HTTPMessage(to: url).idempotencyKey) })
        #expect(keys.count == 100)
        #expect(keys.allSatisfy { $0.count == 32 })
    }

    @Test func aJSONMessageHasItsContentTypeUnlessAnotherIsGiven() throws {
        let url = try HTTPURL("https://example.com/")
        let message = try HTTPMessage(json: ["a": 1], to: url)
        #expect(message.headers == [HTTPHeader("Content-Type", "application/json")])
        #expect(message.body == Array(#"{"a":1}"#.utf8))
        let event = HTTPHeader("content-type", "application/cloudevents+json")
        #expect(try HTTPMessage(json: ["a": 1], to: url, headers: [event]).headers == [event])
    }
}
