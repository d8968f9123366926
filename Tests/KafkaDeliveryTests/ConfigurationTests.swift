import KafkaDelivery
import Testing

/// Bad settings are refused before anything starts, by name and value; a secret's value is never shown.
struct ConfigurationTests {
    private func refusal(_ change: (inout KafkaProducer.Configuration) -> Void) -> KafkaError? {
        var configuration = KafkaProducer.Configuration(bootstrapServers: ["localhost:9092"])
        change(&configuration)
        do {
            _ = try KafkaProducer(configuration)
            return nil
        } catch {
            #expect(error.kind == .invalidConfiguration)
            #expect(error.recovery == .fixRequest)
            return error
        }
    }

    @Test func theSafeDefaultsAreAccepted() {
        #expect(refusal { _ in } == nil)
    }

    @Test func settingsOutOfRangeAreNamedWithTheirValue() {
        #expect(refusal { $0.messageTimeout = .zero }?.reason.contains("messageTimeout") == true)
        #expect(refusal { $0.linger = .seconds(1_000) }?.reason.contains("linger") == true)
        #expect(refusal { $0.linger = .seconds(-1) }?.reason.contains("-1") == true)
        #expect(refusal { $0.maximumInFlightRequests = 6 }?.reason.contains("6") == true)
        #expect(refusal { $0.maximumBufferedMessages = 0 }?.reason.contains("maximumBufferedMessages") == true)
        #expect(refusal { $0.maximumBufferedBytes = -1 }?.reason.contains("maximumBufferedBytes") == true)
        #expect(refusal { $0.maximumMessageBytes = 1 }?.reason.contains("maximumMessageBytes") == true)
        #expect(refusal { $0.closeTimeout = .seconds(-1) }?.reason.contains("closeTimeout") == true)
        #expect(refusal { $0.bootstrapServers = [] }?.reason.contains("bootstrapServers") == true)
        #expect(refusal { $0.bootstrapServers = ["a:1,b:2"] }?.reason.contains("a:1,b:2") == true)
    }

    @Test func idempotenceNeedsAllReplicasAndTheToggleIsHonoured() {
        #expect(refusal { $0.acknowledgements = .leader }?.reason.contains("idempotence") == true)
        #expect(
            refusal {
                $0.idempotence = false
                $0.acknowledgements = .leader
                $0.maximumInFlightRequests = 100
            } == nil
        )
    }

    @Test func whatTheLibraryReliesOnCannotBeOverridden() {
        for name in ["acks", "enable.idempotence", "bootstrap.servers", "message.timeout.ms", "transactional.id"] {
            let error = refusal { $0.additionalProperties = [name: "1"] }
            #expect(error?.reason.contains(name) == true)
        }
        var consumer = KafkaConsumer.Configuration(bootstrapServers: ["localhost:9092"], group: "g", topics: ["t"])
        consumer.additionalProperties = ["enable.auto.commit": "true"]
        #expect(throws: KafkaError.self) { try KafkaConsumer(consumer) }
    }

    @Test(
        arguments: [
            "http://h:p", " ", "h:99999", "h:0", "h:-1", "h:", ":9092", "h h:9092", "h:9092/path", "SSL://h:9092",
            "SASL_PLAINTEXT://h:9092", "://h:9092", "[::1:9092", "[]:9092", "[::1]9092", "h:+1", "h\n:1",
        ]
    )
    func whatIsNoAddressIsRefusedAtOnceAndNamed(server: String) {
        let reason = refusal { $0.bootstrapServers = ["localhost:9092", server] }?.reason
        #expect(reason?.contains("bootstrapServers") == true)
        #expect(reason?.contains("\"\(server)\"") == true)
    }

    @Test(arguments: ["h:9092", "h", "10.0.0.1:1", "[::1]:9092", "[::1]", "::1", "PLAINTEXT://h:9092", "plaintext://h"])
    func everyFormOfAnAddressIsTaken(server: String) {
        #expect(refusal { $0.bootstrapServers = [server] } == nil)
    }

    @Test func anAddressMayNameTheSecurityProtocolThatIsSet() {
        let change: (inout KafkaProducer.Configuration) -> Void = { configuration in
            configuration.bootstrapServers = ["SSL://h:9092"]
            configuration.security = .tls()
        }
        #expect(refusal(change) == nil)
        #expect(
            refusal {
                $0.bootstrapServers = ["SSL://h:9092"]
                $0.additionalProperties = ["security.protocol": "SSL"]
            } == nil
        )
    }

    @Test func aLogInWithoutASourceOfTokensIsRefusedNamingWhatIsMissing() {
        for name in ["sasl.mechanism", "sasl.mechanisms"] {
            let error = refusal {
                $0.additionalProperties = ["security.protocol": "sasl_ssl", name: "OAUTHBEARER"]
            }
            #expect(error?.reason.contains("sasl.oauthbearer.method") == true)
            #expect(error?.reason.contains("sasl.oauthbearer.token.endpoint.url") == true)
        }
        #expect(
            refusal {
                $0.additionalProperties = [
                    "security.protocol": "sasl_plaintext", "sasl.mechanism": "OAUTHBEARER",
                    "enable.sasl.oauthbearer.unsecure.jwt": "true",
                ]
            } == nil
        )
    }

    @Test func aPropertyOfTheOtherKindOfClientIsCalledThat() {
        #expect(
            refusal { $0.additionalProperties = ["auto.offset.reset": "end"] }?.reason.contains("consumer's") == true
        )
        var consumer = KafkaConsumer.Configuration(bootstrapServers: ["localhost:9092"], group: "g", topics: ["t"])
        consumer.additionalProperties = ["linger.ms": "5"]
        #expect { try KafkaConsumer(consumer) } throws: { "\($0)".contains("producer's") }
        // What a fetch may bring follows from it, and there is no setting of the consumer's for that.
        consumer.additionalProperties = ["message.max.bytes": "2000000"]
        #expect(throws: Never.self) { try KafkaConsumer(consumer) }
    }

    @Test(arguments: ["", "a b", "a\0b", "ä", ".", "..", String(repeating: "x", count: 250)])
    func whatCannotBeATopicIsRefusedEverywhere(topic: String) async throws {
        let shown = topic.replacing("\0", with: "␀")
        let producer = try KafkaProducer(.init(bootstrapServers: ["127.0.0.1:1"]))
        await #expect {
            try await producer.send(KafkaMessage(topic: topic, value: "x"))
        } throws: { error in
            (error as? KafkaError)?.kind == .invalidArgument && "\(error)".contains(shown)
        }
        await producer.close(within: .zero)
        var consumer = KafkaConsumer.Configuration(bootstrapServers: ["127.0.0.1:1"], group: "g", topics: ["t", topic])
        #expect { try KafkaConsumer(consumer) } throws: { "\($0)".contains(shown) }
        consumer.topics = ["t"]
        let reader = try KafkaConsumer(consumer)
        let partition = KafkaTopicPartition(topic: topic, partition: 0)
        await #expect { try await reader.watermarks(of: [partition]) } throws: { "\($0)".contains(shown) }
        await #expect { try await reader.committed([partition]) } throws: { "\($0)".contains(shown) }
        await #expect { try await reader.lag(of: [partition]) } throws: { "\($0)".contains(shown) }
        await reader.close(within: .zero)
        #expect {
            try KafkaConsumer(.init(bootstrapServers: ["127.0.0.1:1"], partitions: [partition]))
        } throws: { "\($0)".contains(shown) }
        await #expect {
            try await KafkaRedrive(.init(bootstrapServers: ["127.0.0.1:1"], topic: topic)).preview { _, _ in }
        } throws: { "\($0)".contains(shown) }
    }

    @Test func aZeroByteInAHeadersNameIsRefused() async throws {
        let producer = try KafkaProducer(.init(bootstrapServers: ["127.0.0.1:1"]))
        await #expect {
            try await producer.send(KafkaMessage(topic: "t", value: "x", headers: ["a\0b": "c"]))
        } throws: { "\($0)".contains("a␀b") }
        await producer.close(within: .zero)
    }

    @Test func anUnknownPropertyIsNamed() {
        let error = refusal { $0.additionalProperties = ["no.such.property": "some value"] }
        #expect(error?.reason.contains("no.such.property") == true)
        #expect(error?.reason.contains("some value") == true)
        #expect(refusal { $0.additionalProperties = ["debug": "a\0b"] }?.reason.contains("zero byte") == true)
    }

    @Test func aSecretIsNeverShown() {
        let secret = "hunter2-very-secret"
        let errors = [
            refusal { $0.additionalProperties = ["ssl.key.password": secret, "no.such.property": "x"] },
            refusal { $0.additionalProperties = ["sasl.oauthbearer.client.secret": secret + "\0"] },
            refusal { $0.additionalProperties = ["ssl.key.pem": secret, "security.protocol": "ssl"] },
            refusal { $0.additionalProperties = ["ssl.keystore.password": secret, "security.protocol": "nonsense"] },
        ]
        for error in errors {
            #expect(error?.description.contains(secret) == false)
        }
        let security = KafkaSecurity.scram(.sha512, userName: "alice", password: secret)
        #expect(!"\(security)".contains(secret))
        #expect(!String(reflecting: security).contains(secret))
        var dumped = ""
        dump(security, to: &dumped)
        var configuration = KafkaProducer.Configuration(bootstrapServers: ["localhost:9092"])
        configuration.security = security
        dump(configuration, to: &dumped)
        dumped += "\(configuration)" + String(reflecting: configuration)
        #expect(!dumped.contains(secret))
    }

    @Test func secretsAmongAdditionalPropertiesAreNotPrintedEither() {
        var configuration = KafkaProducer.Configuration(bootstrapServers: ["localhost:9092"])
        configuration.additionalProperties = ["sasl.password": "hunter2-very-secret", "debug": "broker"]
        var dumped = "\(configuration)" + String(reflecting: configuration)
        dump(configuration, to: &dumped)
        #expect(!dumped.contains("hunter2-very-secret"))
        #expect(dumped.contains("broker"))
    }
}
