/// Changes the ports of brokers in responses, so that clients connect to where the sequence numbers are checked.
///
/// The port is a number of four bytes at the end of each broker's entry, and the host stays, so that nothing moves.
struct AdvertisedPorts {
    static let metadata: Int16 = 3
    static let findCoordinator: Int16 = 10

    /// Each port of the mock's, and the one that stands for it.
    let ports: [UInt16: UInt16]

    /// - Parameters:
    ///   - frame: A response of librdkafka's mock: `Metadata` up to version 2, `FindCoordinator` up to version 2, which is
    ///     what 2.0.2 offers; others are left alone.
    ///   - kind: The request's API key.
    ///   - version: The request's version.
    func replace(in frame: inout [UInt8], kind: Int16, version: Int16) {
        for offset in offsets(in: frame[...], kind: kind, version: version) {
            guard let old = frame.bigEndian(Int32.self, at: offset), let port = UInt16(exactly: old),
                let new = ports[port]
            else { continue }
            frame.replaceSubrange(offset..<offset + 4, with: Int32(new).bigEndianBytes)
        }
    }

    private func offsets(in frame: ArraySlice<UInt8>, kind: Int16, version: Int16) -> [Int] {
        var reader = WireReader(frame)
        guard (0...2).contains(version), reader.skip(8) else { return [] }
        var offsets: [Int] = []
        switch kind {
        case Self.metadata:
            guard let count = reader.count() else { return [] }
            for _ in 0..<count {
                guard let offset = Self.broker(&reader), version == 0 || reader.string() != nil else { return offsets }
                offsets.append(offset)
            }
        case Self.findCoordinator:
            guard version == 0 || reader.skip(4), reader.skip(2), version == 0 || reader.string() != nil,
                let offset = Self.broker(&reader)
            else { return [] }
            offsets.append(offset)
        default: break
        }
        return offsets
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
