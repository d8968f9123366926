// swift-tools-version: 6.2

import PackageDescription

/// What every target of ours is compiled with. `InternalImportsByDefault` is what keeps librdkafka's C types
/// out of the public interface: a public signature that mentions one does not compile.
/// `NonisolatedNonsendingByDefault` runs our async functions where the caller runs: awaiting a send on the main
/// actor changes executors only where it has to wait, and a caller's lazy sequence is read on the caller's actor.
let settings: [SwiftSetting] = [
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

/// SwiftPM resolves what any product of a package needs, also for those who use another product: unless a trait that is off is
/// in between. So what brings packages of its own has a trait; `ENABLE_ALL_TRAITS=1`, which scripts/test and .ci/run set, switches
/// all of them on.
let traits: Set<Trait> = [
    .trait(name: "HTTP", description: "HTTPDelivery and OutboxHTTP, over async-http-client"),
    .trait(name: "SQLite", description: "OutboxSQLite, over GRDB"),
    .default(enabledTraits: Context.environment["ENABLE_ALL_TRAITS"] == "1" ? ["HTTP", "SQLite"] : []),
]

let package = Package(
    name: "KafkaDelivery",
    platforms: [.macOS(.v15)],
    products: [
        .library(name: "KafkaDelivery", targets: ["KafkaDelivery"]),
        .library(name: "KafkaDeliveryTesting", targets: ["KafkaDeliveryTesting"]),
        .library(name: "OutboxDelivery", targets: ["OutboxDelivery"]),
        .library(name: "HTTPDelivery", targets: ["HTTPDelivery"]),
        .library(name: "OutboxHTTP", targets: ["OutboxHTTP"]),
        .library(name: "OutboxSQLite", targets: ["OutboxSQLite"]),
        .library(name: "OutboxKafka", targets: ["OutboxKafka"]),
        .library(name: "OutboxRabbit", targets: ["OutboxRabbit"]),
        .library(name: "OutboxPostgres", targets: ["OutboxPostgres"]),
        .library(name: "OutboxTesting", targets: ["OutboxTesting"]),
        .library(name: "RabbitDelivery", targets: ["RabbitDelivery"]),
        .library(name: "RabbitDeliveryTesting", targets: ["RabbitDeliveryTesting"]),
        .executable(name: "rabbit-delivery", targets: ["rabbit-delivery"]),
        .executable(name: "kafka-delivery", targets: ["kafka-delivery"]),
    ],
    traits: traits,
    dependencies: [
        // A service logs, measures, starts and stops through these three; every Swift server has them already.
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.5.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.6.0"),
        // Deque, for windows that move along a partition. swift-service-lifecycle needs this package too.
        .package(url: "https://github.com/apple/swift-collections", from: "1.1.0"),
        // Only with the trait HTTP: HTTPDelivery. swift-nio comes with async-http-client.
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.30.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.81.0"),
        // Only with the trait SQLite: OutboxSQLite.
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.0.0"),
        // Only the command-line tool.
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
    ],
    targets: [
        .systemLibrary(
            name: "CRdKafka",
            pkgConfig: "rdkafka",
            providers: [.apt(["librdkafka-dev"]), .brew(["librdkafka"])]
        ),
        .systemLibrary(
            name: "CRabbitMQ",
            pkgConfig: "librabbitmq",
            providers: [.apt(["librabbitmq-dev"]), .brew(["rabbitmq-c"])]
        ),
        // librabbitmq-dev and rabbitmq-c bring it.
        .systemLibrary(
            name: "COpenSSL",
            pkgConfig: "openssl",
            providers: [.apt(["libssl-dev"]), .brew(["openssl@3"])]
        ),
        .systemLibrary(
            name: "CPostgreSQL",
            pkgConfig: "libpq",
            providers: [.apt(["libpq-dev"]), .brew(["libpq"])]
        ),
        .systemLibrary(name: "CThreads"),
        // The system's C library under one name, and the few calls in which systems differ.
        .target(name: "DeliverySystem", swiftSettings: settings),
        // What every way of delivering shares: outcomes, and waiting. The products export it again.
        .target(
            name: "DeliveryCore",
            dependencies: ["CThreads", "DeliverySystem", .product(name: "DequeModule", package: "swift-collections")],
            swiftSettings: settings
        ),
        // HTTP requests as deliveries.
        .target(
            name: "HTTPDelivery",
            dependencies: [
                "DeliveryCore",
                "DeliverySystem",
                .product(name: "AsyncHTTPClient", package: "async-http-client", condition: .when(traits: ["HTTP"])),
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "NIOCore", package: "swift-nio", condition: .when(traits: ["HTTP"])),
                .product(name: "NIOHTTP1", package: "swift-nio", condition: .when(traits: ["HTTP"])),
                .product(name: "NIOPosix", package: "swift-nio", condition: .when(traits: ["HTTP"])),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "KafkaDelivery",
            dependencies: [
                "CRdKafka",
                "DeliveryCore",
                "DeliverySystem",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "KafkaDeliveryTesting",
            dependencies: [
                "CRdKafka",
                "DeliveryCore",
                "DeliverySystem",
                "DeliveryTesting",
                "KafkaDelivery",
                .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: settings
        ),
        // Processes and random numbers that a seed repeats, for tests of whatever delivers. The testing products export it again.
        .target(name: "DeliveryTesting", dependencies: ["DeliverySystem"], swiftSettings: settings),
        // What command-line tools need that does not know what they deliver: terminal, files, signals, exit status.
        .target(
            name: "ToolSupport",
            dependencies: [.product(name: "ArgumentParser", package: "swift-argument-parser")],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "kafka-delivery",
            dependencies: [
                "KafkaDelivery",
                "KafkaDeliveryTesting",
                "OutboxDelivery",
                "OutboxKafka",
                "OutboxPostgres",
                "OutboxSQLite",
                "ToolSupport",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "GRDB", package: "GRDB.swift", condition: .when(traits: ["SQLite"])),
                .product(name: "Logging", package: "swift-log"),
            ],
            exclude: ["Resources/README.md"],
            resources: [.copy("Resources/earthquakes.jsonl")],
            swiftSettings: settings
        ),
        // Processes that tests start, to see what becomes of a member that is killed. Not a product.
        .executableTarget(
            name: "TestMember",
            dependencies: [
                "KafkaDelivery",
                "KafkaDeliveryTesting",
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "Tests/TestMember",
            swiftSettings: settings
        ),
        // The outbox: what every database and every destination of it share. Links neither librdkafka nor a database.
        .target(
            name: "OutboxDelivery",
            dependencies: [
                "DeliveryCore",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
        // PostgreSQL's half of it, over libpq of the system.
        // A member of a group that ClusterTests kill. Not a product.
        .executableTarget(
            name: "InboxMember",
            dependencies: [
                "KafkaDelivery",
                "OutboxKafka",
                "OutboxSQLite",
                .product(name: "GRDB", package: "GRDB.swift", condition: .when(traits: ["SQLite"])),
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "Tests/InboxMember",
            swiftSettings: settings
        ),
        // A target of its own, so that HTTP users link no outbox and outbox users no HTTP.
        .target(name: "OutboxHTTP", dependencies: ["HTTPDelivery", "OutboxDelivery"], swiftSettings: settings),
        .target(
            name: "OutboxSQLite",
            dependencies: [
                "DeliveryCore",
                "OutboxDelivery",
                .product(name: "GRDB", package: "GRDB.swift", condition: .when(traits: ["SQLite"])),
            ],
            swiftSettings: settings
        ),
        // A service that OutboxSQLiteTests kill. Not a product.
        .executableTarget(
            name: "OutboxSQLiteMember",
            dependencies: [
                "OutboxDelivery",
                "OutboxSQLite",
                .product(name: "GRDB", package: "GRDB.swift", condition: .when(traits: ["SQLite"])),
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "Tests/OutboxSQLiteMember",
            swiftSettings: settings
        ),
        .testTarget(
            name: "OutboxSQLiteTests",
            dependencies: [
                "DeliveryTesting",
                "OutboxDelivery",
                "OutboxSQLite",
                "OutboxSQLiteMember",
                .product(name: "GRDB", package: "GRDB.swift", condition: .when(traits: ["SQLite"])),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "OutboxPostgres",
            dependencies: [
                "CPostgreSQL",
                "DeliveryCore",
                "DeliverySystem",
                "OutboxDelivery",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings
        ),
        // What Kafka and databases have together, an outbox's destination and a consumer's inbox: a target of its own, so that users of
        // Kafka alone link no outbox, and others no librdkafka.
        .target(
            name: "OutboxKafka",
            dependencies: [
                "DeliveryCore",
                "KafkaDelivery",
                "OutboxDelivery",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings
        ),
        // A publisher that OutboxKafkaTests kill. Not a product.
        .executableTarget(
            name: "TestPublisher",
            dependencies: [
                "DeliverySystem",
                "KafkaDelivery",
                "OutboxDelivery",
                "OutboxKafka",
                "OutboxPostgres",
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "Tests/TestPublisher",
            swiftSettings: settings
        ),
        .testTarget(
            name: "OutboxKafkaTests",
            dependencies: [
                "CRdKafka",
                "DeliveryTesting",
                "KafkaDelivery",
                "KafkaDeliveryTesting",
                "OutboxDelivery",
                "OutboxKafka",
                "OutboxPostgres",
                "OutboxTesting",
                "TestPublisher",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings
        ),
        // A PostgreSQL server for tests. Links no database library.
        .target(
            name: "RabbitDelivery",
            dependencies: [
                "COpenSSL",
                "CRabbitMQ",
                "DeliveryCore",
                "DeliverySystem",
                .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: settings
        ),
        .target(
            name: "RabbitDeliveryTesting",
            dependencies: [
                "DeliveryCore",
                "DeliverySystem",
                "DeliveryTesting",
                "RabbitDelivery",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings
        ),
        .executableTarget(
            name: "rabbit-delivery",
            dependencies: [
                "RabbitDelivery",
                "ToolSupport",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "RabbitDeliveryTests",
            dependencies: [
                "DeliveryCore", "RabbitDelivery", .product(name: "CoreMetrics", package: "swift-metrics"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings
        ),
        // RabbitMQ as an outbox's destination: a target of its own, so that users of RabbitMQ alone link no outbox, and others no librabbitmq.
        .target(
            name: "OutboxRabbit",
            dependencies: [
                "DeliveryCore",
                "OutboxDelivery",
                "RabbitDelivery",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "RabbitCommandTests",
            dependencies: [
                "DeliveryTesting",
                "RabbitDelivery",
                "RabbitDeliveryTesting",
                "rabbit-delivery",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "OutboxRabbitTests",
            dependencies: [
                "OutboxDelivery",
                "OutboxPostgres",
                "OutboxRabbit",
                "OutboxTesting",
                "RabbitDelivery",
                "RabbitDeliveryTesting",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "RabbitBrokerTests",
            dependencies: [
                "DeliverySystem",
                "DeliveryTesting",
                "DeliveryCore",
                "RabbitDelivery",
                "RabbitDeliveryTesting",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings
        ),
        .target(name: "OutboxTesting", dependencies: ["DeliveryTesting"], swiftSettings: settings),
        .testTarget(
            name: "OutboxPostgresTests",
            dependencies: [
                "DeliveryTesting",
                "OutboxPostgres",
                "OutboxTesting",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "OutboxDeliveryTests",
            dependencies: [
                "OutboxDelivery",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "MetricsTestKit", package: "swift-metrics"),
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "DeliveryCoreTests",
            dependencies: ["DeliveryCore"],
            swiftSettings: settings
        ),
        .testTarget(
            name: "HTTPDeliveryTests",
            dependencies: [
                "DeliveryCore", "DeliverySystem", "DeliveryTesting", "HTTPDelivery", "OutboxDelivery", "OutboxHTTP",
            ],
            swiftSettings: settings
        ),
        .testTarget(
            name: "KafkaDeliveryTests",
            dependencies: ["CRdKafka", "KafkaDelivery", "KafkaDeliveryTesting"],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ToolSupportTests",
            dependencies: ["ToolSupport", .product(name: "ArgumentParser", package: "swift-argument-parser")],
            swiftSettings: settings
        ),
        .testTarget(
            name: "ToolTests",
            dependencies: [
                "KafkaDelivery",
                "OutboxDelivery",
                "ToolSupport",
                "kafka-delivery",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "GRDB", package: "GRDB.swift", condition: .when(traits: ["SQLite"])),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: settings
        ),
        // A process of its own that ClusterTests start, and that dies.
        .executableTarget(
            name: "PoisonedConsumer",
            dependencies: ["KafkaDelivery", .product(name: "Logging", package: "swift-log")],
            path: "Tests/PoisonedConsumer",
            swiftSettings: settings
        ),
        // A process of its own, too: loops outside of any function.
        .executableTarget(
            name: "TopLevelLoops",
            dependencies: ["KafkaDelivery", .product(name: "Logging", package: "swift-log")],
            path: "Tests/TopLevelLoops",
            swiftSettings: settings
        ),
        .testTarget(
            name: "ClusterTests",
            dependencies: [
                "DeliverySystem",
                "DeliveryTesting",
                "InboxMember",
                "OutboxDelivery",
                "OutboxKafka",
                "OutboxSQLite",
                "CRdKafka",
                "KafkaDelivery",
                "KafkaDeliveryTesting",
                "PoisonedConsumer",
                "TestMember",
                "TopLevelLoops",
                .product(name: "GRDB", package: "GRDB.swift", condition: .when(traits: ["SQLite"])),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "MetricsTestKit", package: "swift-metrics"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ],
            swiftSettings: settings
        ),
    ],
    swiftLanguageModes: [.v6]
)
