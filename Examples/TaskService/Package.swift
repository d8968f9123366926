// swift-tools-version: 6.2

import PackageDescription

let package = Package(
    name: "TaskService",
    platforms: [.macOS(.v15)],
    dependencies: [
        // In a package of your own: .package(url: "…", from: "0.1.0", traits: ["HTTP", "SQLite"])
        .package(name: "KafkaDelivery", path: "../..", traits: ["HTTP", "SQLite"]),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.0.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.16.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.6.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    ],
    targets: [
        .executableTarget(
            name: "TaskService",
            dependencies: [
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "HTTPDelivery", package: "KafkaDelivery"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "KafkaDelivery", package: "KafkaDelivery"),
                .product(name: "KafkaDeliveryTesting", package: "KafkaDelivery"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "OutboxHTTP", package: "KafkaDelivery"),
                .product(name: "OutboxKafka", package: "KafkaDelivery"),
                .product(name: "OutboxPostgres", package: "KafkaDelivery"),
                .product(name: "OutboxSQLite", package: "KafkaDelivery"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ]
        )
    ],
    swiftLanguageModes: [.v6]
)
