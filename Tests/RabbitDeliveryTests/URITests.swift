import Testing

@testable import RabbitDelivery

/// The examples of RabbitMQ's "URI Specification", appendix A, and what it says about parameters.
@Suite struct URITests {
    @Test(arguments: [
        ("amqp://user:pass@host:10000/vhost", "host:10000", "vhost", "user", "pass"),
        ("amqp://user%61:%61pass@ho%61st:10000/v%2fhost", "hoast:10000", "v/host", "usera", "apass"),
        ("amqp://", "localhost", "/", "guest", "guest"),
        ("amqp://:@/", "localhost", "", "", ""),
        ("amqp://user@", "localhost", "/", "user", ""),
        ("amqp://user:pass@", "localhost", "/", "user", "pass"),
        ("amqp://host", "host", "/", "guest", "guest"),
        ("amqp://:10000", "localhost:10000", "/", "guest", "guest"),
        ("amqp:///vhost", "localhost", "vhost", "guest", "guest"),
        ("amqp://host/", "host", "", "guest", "guest"),
        ("amqp://host/%2f", "host", "/", "guest", "guest"),
        ("amqp://[::1]", "[::1]", "/", "guest", "guest"),
    ])
    func aURIMeansWhatTheSpecificationSays(
        _ uri: String,
        _ host: String,
        _ virtualHost: String,
        _ user: String,
        _ password: String
    ) throws {
        let broker = try RabbitBroker(uri: uri)
        #expect(broker.hosts == [host])
        #expect(broker.virtualHost == virtualHost)
        #expect(broker.credentials == .plain(userName: user, password: password))
        #expect(broker.tls == nil)
    }

    @Test func parametersSetWhatTheyName() throws {
        let broker = try RabbitBroker(
            uri: "amqps://a,b:5673/v?heartbeat=7&connection_timeout=1500&auth_mechanism=external&cacertfile=/c%20a.pem"
                + "&certfile=/c.pem&keyfile=/k.pem&verify=verify_peer&server_name_indication=rabbit&channel_max=9"
        )
        #expect(broker.hosts == ["a", "b:5673"])
        #expect(broker.heartbeat == .seconds(7))
        #expect(broker.connectionTimeout == .milliseconds(1_500))
        #expect(broker.credentials == .external)
        #expect(broker.tls?.certificateAuthority == "/c a.pem")
        #expect(broker.tls?.clientCertificate == "/c.pem")
        #expect(broker.tls?.clientKey == "/k.pem")
        #expect(broker.tls?.serverName == "rabbit")
        #expect(try broker.parsedHosts().map(\.port) == [5671, 5673])
    }

    @Test func verifyNoneTurnsTheChecksOff() throws {
        let broker = try RabbitBroker(uri: "amqps://host?verify=verify_none")
        #expect(broker.tls?.verifiesPeer == false)
        #expect(broker.tls?.verifiesHost == false)
    }

    @Test(arguments: [
        "http://host", "amqp:host", "amqp://user:s3cret%zz@host", "amqp://user:s3cret@host/a/b",
        "amqp://u:s3cret@host:70000",
        "amqp://u:s3cret@host?heartbeat=s3cret", "amqp://u:s3cret@host?nothing=s3cret", "amqp://u:s3cret@host#s3cret",
        "amqp://u:s3cret@host?cacertfile=/x", "amqp://u:s3cret@::1", "amqp://u:%ff@host",
        "amqp://u:s3cret@host?heartbeat", "amqp://app:s3cret/xyz@rabbit", "amqp://app:1234/s3cret@rabbit",
        "amqp://app:pass?s3cret@rabbit", "amqp://app:s3cret", "amqp://app:pass:s3cret", "amqp://[s3cret",
        "amqp://[::1]s3cret",
    ])
    func whatIsWrongIsNamedAndNoPasswordIsRepeated(_ uri: String) throws {
        let error = #expect(throws: RabbitError.self) { try RabbitBroker(uri: uri) }
        #expect(error?.kind == .invalidConfiguration)
        #expect(error?.description.contains("s3cret") == false)
    }

    @Test func aURIInPlaceOfAHostIsRefusedWithoutRepeatingItsPassword() {
        let error = #expect(throws: RabbitError.self) {
            try RabbitBroker(hosts: ["amqp://u:s3cret@host"]).validate()
        }
        #expect(error?.kind == .invalidConfiguration)
        #expect(error?.description.contains("s3cret") == false)
    }

    @Test func aLoginThatCannotTravelIsRefusedBeforeItIsTried() {
        var broker = RabbitBroker(hosts: ["host"])
        broker.credentials = .plain(userName: "user", password: "s3cret\u{0}tail")
        var token = RabbitBroker(hosts: ["host"])
        token.credentials = .plain(userName: "", password: String(repeating: "s3cret", count: 600))
        for broker in [broker, token] {
            let error = #expect(throws: RabbitError.self) { try broker.validate() }
            #expect(error?.kind == .invalidConfiguration)
            #expect(error?.description.contains("s3cret") == false)
        }
    }

    @Test func secretsNeverPrint() throws {
        var broker = try RabbitBroker(uri: "amqps://user:s3cret@host")
        broker.tls?.clientKeyPassword = "s3cret"
        var dumped = ""
        dump(broker, to: &dumped)
        let configuration = RabbitPublisher.Configuration(broker)
        dump(configuration, to: &dumped)
        for text in ["\(broker)", String(reflecting: broker), "\(broker.credentials)", dumped, "\(configuration)"] {
            #expect(!text.contains("s3cret"))
        }
    }
}
