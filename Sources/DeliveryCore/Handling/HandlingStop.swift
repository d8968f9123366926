/// What a handler throws that stops for a reason which says nothing about its message: that counts as no attempt, and no copy of the
/// message is published.
@usableFromInline
package enum HandlingStop: Error {
    /// The message is left unsettled: what handed it out is gone, or nothing more of it is handed out.
    case leave
    /// The message is left unsettled, and the loop ends with this error. Of a closure that says where a partition begins: the partition fails.
    case endLoop(any Error)
}
