package import Foundation

/// `write`, which has many namesakes.
package func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
    write(descriptor, bytes, count)
}

/// `read`, which has many namesakes.
package func systemRead(_ descriptor: Int32, _ bytes: UnsafeMutableRawPointer?, _ count: Int) -> Int {
    read(descriptor, bytes, count)
}

/// Waits, for as long as it takes, until one of the descriptors is ready.
package func systemPoll(_ descriptors: UnsafeMutablePointer<pollfd>, _ count: Int) -> Int32 {
    poll(descriptors, nfds_t(count), -1)
}
