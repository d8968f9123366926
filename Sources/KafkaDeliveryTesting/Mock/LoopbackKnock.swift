internal import DeliverySystem
internal import DeliveryTesting

/// Opens a connection to a port on loopback and closes it again, so that the listener there wakes up.
///
/// Never waits. Nothing is reported, because nothing could be done about it.
func knockOnLoopback(port: UInt16) {
    let descriptor = StreamSocket.open(family: AF_INET)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    // A connect waits where the listener's backlog is full, and then the listener has enough to wake up for.
    _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    _ = Loopback.connect(descriptor, port: Int(port))
}
