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
