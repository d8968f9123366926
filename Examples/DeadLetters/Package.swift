// swift-tools-version: 6.2

import PackageDescription

let package = Package(
    name: "DeadLetters",
    platforms: [.macOS(.v15)],
    dependencies: [.package(name: "KafkaDelivery", path: "../..")],
    targets: [
        .executableTarget(
            name: "DeadLetters",
            dependencies: [.product(name: "RabbitDelivery", package: "KafkaDelivery")]
        )
    ],
    swiftLanguageModes: [.v6]
)
