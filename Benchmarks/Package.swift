// swift-tools-version: 6.2

import PackageDescription

// A package of its own, so that nobody who uses the library resolves what only its measurements need.
let package = Package(
    name: "Benchmarks",
    platforms: [.macOS(.v15)],
    dependencies: [
        .package(name: "KafkaDelivery", path: ".."),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
    ],
    targets: [
        .systemLibrary(
            name: "CLibrdkafka",
            pkgConfig: "rdkafka",
            providers: [.apt(["librdkafka-dev"]), .brew(["librdkafka"])]
        ),
        // What the library is compared with: the same work in C.
        .target(
            name: "BareLoop",
            dependencies: ["CLibrdkafka"],
            cSettings: [.unsafeFlags(["-O2"], .when(configuration: .release))]
        ),
        .systemLibrary(
            name: "CLibrabbitmq",
            pkgConfig: "librabbitmq",
            providers: [.apt(["librabbitmq-dev"]), .brew(["rabbitmq-c"])]
        ),
        .target(
            name: "BareRabbit",
            dependencies: ["CLibrabbitmq"],
            cSettings: [.unsafeFlags(["-O2"], .when(configuration: .release))]
        ),
        .executableTarget(
            name: "RabbitThroughput",
            dependencies: [
                "BareRabbit",
                .product(name: "RabbitDelivery", package: "KafkaDelivery"),
                .product(name: "RabbitDeliveryTesting", package: "KafkaDelivery"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            resources: [.copy("clients.py")],
            swiftSettings: [
                .enableUpcomingFeature("InternalImportsByDefault"),
                .enableUpcomingFeature("MemberImportVisibility"),
                .enableUpcomingFeature("ExistentialAny"),
                .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
            ]
        ),
        // malloc and its relatives, counted. In a target of its own, because it has to come first in the link.
        .target(name: "AllocationCount"),
        .executableTarget(
            name: "Throughput",
            dependencies: [
                "AllocationCount",
                "BareLoop",
                .product(name: "KafkaDelivery", package: "KafkaDelivery"),
                .product(name: "KafkaDeliveryTesting", package: "KafkaDelivery"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: [
                .enableUpcomingFeature("InternalImportsByDefault"),
                .enableUpcomingFeature("MemberImportVisibility"),
                .enableUpcomingFeature("ExistentialAny"),
                .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
            ]
        ),
        // The outbox against the same work without it.
        .executableTarget(
            name: "OutboxBench",
            dependencies: [
                .product(name: "KafkaDelivery", package: "KafkaDelivery"),
                .product(name: "KafkaDeliveryTesting", package: "KafkaDelivery"),
                .product(name: "OutboxDelivery", package: "KafkaDelivery"),
                .product(name: "OutboxKafka", package: "KafkaDelivery"),
                .product(name: "OutboxPostgres", package: "KafkaDelivery"),
                .product(name: "OutboxTesting", package: "KafkaDelivery"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: [
                .enableUpcomingFeature("InternalImportsByDefault"),
                .enableUpcomingFeature("MemberImportVisibility"),
                .enableUpcomingFeature("ExistentialAny"),
                .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
            ]
        ),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .gnu11
)
