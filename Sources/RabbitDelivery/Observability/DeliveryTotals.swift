/// What has happened to deliveries in a consumer's life.
struct DeliveryTotals {
    var delivered = 0
    var redelivered = 0
    var acknowledged = 0
    var rejected = 0
    /// Verdicts that came after their channel was gone.
    var late = 0
    /// Without an answer when their channel went: the broker delivers them again.
    var lost = 0
}
