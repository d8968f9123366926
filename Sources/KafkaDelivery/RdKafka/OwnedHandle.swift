/// The one owner of a C object: what holds it may use it, and when it is let go of the object is destroyed, once.
struct OwnedHandle: ~Copyable, @unchecked Sendable {
    // Sendable because every librdkafka object that is held this way (queues, events, topics, a group's metadata) may be used and
    // destroyed from any thread: librdkafka locks or counts references itself. The few that may not (lists, headers and
    // configurations being built) never leave the function that made them. There is one owner, so no two threads destroy one.
    let raw: OpaquePointer
    private let destroy: @convention(c) (OpaquePointer?) -> Void

    init(_ raw: OpaquePointer, destroy: @escaping @convention(c) (OpaquePointer?) -> Void) {
        self.raw = raw
        self.destroy = destroy
    }

    /// Gives the object up to what destroys it (librdkafka itself, where a call takes ownership).
    consuming func release() -> OpaquePointer {
        let raw = self.raw
        discard self
        return raw
    }

    deinit {
        destroy(raw)
    }
}
