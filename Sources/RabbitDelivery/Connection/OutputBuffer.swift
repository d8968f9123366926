/// Bytes that wait to be sent, whole frames in order.
struct OutputBuffer: ~Copyable {
    private static let usualCapacity = 262_144

    private var memory: UnsafeMutableRawBufferPointer
    private var start = 0
    private var end = 0

    init() {
        memory = .allocate(byteCount: Self.usualCapacity, alignment: 16)
    }

    deinit {
        memory.deallocate()
    }

    /// How many bytes wait.
    var count: Int { end - start }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: memory[start..<end]) }

    /// Room for so many bytes behind those that wait.
    mutating func reserve(_ room: Int) -> UnsafeMutableRawBufferPointer {
        if memory.count - end < room { makeRoom(room) }
        return UnsafeMutableRawBufferPointer(rebasing: memory[end...])
    }

    private mutating func makeRoom(_ room: Int) {
        let count = end - start
        var target = memory
        if memory.count < count + room {
            target = .allocate(byteCount: max(2 * memory.count, count + room), alignment: 16)
        }
        if count > 0 { UnsafeMutableRawBufferPointer(rebasing: target[0..<count]).copyMemory(from: bytes) }
        if target.baseAddress != memory.baseAddress {
            memory.deallocate()
            memory = target
        }
        start = 0
        end = count
    }

    /// So many bytes were written where ``reserve(_:)`` had room.
    mutating func added(_ count: Int) {
        end = min(end + max(count, 0), memory.count)
    }

    /// So many bytes were sent.
    mutating func sent(_ count: Int) {
        start = min(start + max(count, 0), end)
        guard start == end else { return }
        start = 0
        end = 0
        // What a large body needed is given back.
        if memory.count > 4 * Self.usualCapacity {
            memory.deallocate()
            memory = .allocate(byteCount: Self.usualCapacity, alignment: 16)
        }
    }

    /// The last bytes are not to be sent after all.
    mutating func dropLast(_ count: Int) {
        end = max(end - max(count, 0), start)
    }

    mutating func removeAll() {
        sent(end - start)
    }
}
