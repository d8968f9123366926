/// The latest versions of requests that are understood here, and how later ones are kept from being used: the broker's answer
/// to `ApiVersions` is changed before a client sees it. A newer librdkafka's mock offers newer versions than an older one.
enum UnderstoodVersions {
    static let kind: Int16 = 18
    static let fetch: Int16 = 1

    /// By kind of request. What is not named carries no broker's address and no batch.
    static let latest: [Int16: Int16] = [
        // From 10 on, and in fetches from 16 on, an error names the new leader's address, in tagged fields (KIP-951).
        ProduceRequest.kind: 9,
        fetch: 15,
        AdvertisedPorts.metadata: 12,
        // From 4 on it asks for many coordinators (KIP-699).
        AdvertisedPorts.findCoordinator: 3,
    ]

    /// Whether a request can be handled; one that a client sends although it was not offered cannot.
    static func includes(kind: Int16, version: Int16) -> Bool {
        latest[kind].map { version <= $0 } ?? true
    }

    /// Lowers the versions that a broker offers.
    ///
    /// - Parameters:
    ///   - frame: The answer to an `ApiVersions` request, of version 0 to 3.
    ///   - version: The request's version.
    /// - Returns: False where the answer cannot be read, or offers none of the versions that are understood.
    static func limit(_ frame: inout [UInt8], version: Int16) -> Bool {
        var reader = WireReader(frame[...])
        guard (0...3).contains(version), reader.skip(8), let error = reader.number(Int16.self) else { return false }
        // Of a version that it does not know the mock answers so, and the client asks again with an older one.
        guard error == 0 else { return true }
        // The header of this answer has no tagged fields, so that a client can read it whatever the broker is.
        if version >= 3 { reader.bodyIsFlexible() }
        guard let count = reader.count() else { return false }
        var changes: [(offset: Int, latest: Int16)] = []
        for _ in 0..<count {
            guard let kind = reader.number(Int16.self), let first = reader.number(Int16.self) else { return false }
            let offset = reader.offset
            guard let last = reader.number(Int16.self), reader.skipTags() else { return false }
            guard let latest = Self.latest[kind], latest < last else { continue }
            guard first <= latest else { return false }
            changes.append((offset, latest))
        }
        for (offset, latest) in changes { frame.replaceSubrange(offset..<offset + 2, with: latest.bigEndianBytes) }
        return true
    }
}
