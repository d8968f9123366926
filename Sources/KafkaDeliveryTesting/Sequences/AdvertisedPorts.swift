/// Changes the ports of brokers in responses, so that clients connect to where the sequence numbers are checked.
///
/// The port is a number of four bytes at the end of each broker's entry, and the host stays, so that nothing moves.
struct AdvertisedPorts {
    static let metadata: Int16 = 3
    static let findCoordinator: Int16 = 10

    /// Each port of the mock's, and the one that stands for it.
    let ports: [UInt16: UInt16]

    /// - Parameters:
    ///   - frame: A response of librdkafka's mock: `Metadata` and `FindCoordinator` are changed, others left alone.
    ///   - kind: The request's API key.
    ///   - version: The request's version, one of ``UnderstoodVersions``.
    /// - Returns: False where the response cannot be read.
    func replace(in frame: inout [UInt8], kind: Int16, version: Int16) -> Bool {
        guard let offsets = offsets(in: frame[...], kind: kind, version: version) else { return false }
        for offset in offsets {
            guard let old = frame.bigEndian(Int32.self, at: offset), let port = UInt16(exactly: old),
                let new = ports[port]
            else { continue }
            frame.replaceSubrange(offset..<offset + 4, with: Int32(new).bigEndianBytes)
        }
        return true
    }

    private func offsets(in frame: ArraySlice<UInt8>, kind: Int16, version: Int16) -> [Int]? {
        switch kind {
        case Self.metadata: Self.brokers(in: frame, version)
        case Self.findCoordinator: Self.coordinator(in: frame, version)
        default: []
        }
    }

    private static func brokers(in frame: ArraySlice<UInt8>, _ version: Int16) -> [Int]? {
        var reader = WireReader(frame)
        guard reader.skip(8), version < 9 || reader.endFlexibleHeader(), version < 3 || reader.skip(4),
            let count = reader.count()
        else { return nil }
        var offsets: [Int] = []
        for _ in 0..<count {
            guard let offset = broker(&reader), version == 0 || reader.string() != nil, reader.skipTags() else {
                return nil
            }
            offsets.append(offset)
        }
        return offsets
    }

    private static func coordinator(in frame: ArraySlice<UInt8>, _ version: Int16) -> [Int]? {
        var reader = WireReader(frame)
        guard reader.skip(8), version < 3 || reader.endFlexibleHeader(), version == 0 || reader.skip(4), reader.skip(2),
            version == 0 || reader.string() != nil, let offset = broker(&reader)
        else { return nil }
        return [offset]
    }

    /// Reads number, host and port.
    ///
    /// - Returns: Where the port is.
    private static func broker(_ reader: inout WireReader) -> Int? {
        guard reader.skip(4), reader.string() != nil else { return nil }
        let offset = reader.offset
        return reader.skip(4) ? offset : nil
    }
}
