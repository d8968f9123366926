extension BinaryInteger {
    /// With the thousands set apart: `1,234,567`.
    package var grouped: String {
        let digits = String(magnitude)
        var result = self < 0 ? "-" : ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index).isMultiple(of: 3) { result.append(",") }
            result.append(digit)
        }
        return result
    }
}

/// `1 message`, `2 messages`.
package func count(_ number: Int, _ noun: String, plural: String? = nil) -> String {
    "\(number.grouped) \(number == 1 ? noun : plural ?? noun + "s")"
}

extension Double {
    /// With so many digits after the point. Foundation's formatting is not needed for it.
    package func rounded(digits: Int) -> String {
        guard isFinite, magnitude < 1e15 else { return "\(self)" }
        let scale = (0..<digits).reduce(1.0) { scale, _ in scale * 10 }
        let scaled = Int64((self * scale).rounded())
        guard digits > 0 else { return "\(scaled)" }
        let fraction = String(scaled.magnitude % UInt64(scale))
        let padding = String(repeating: "0", count: digits - fraction.count)
        return "\(scaled < 0 ? "-" : "")\(scaled.magnitude / UInt64(scale)).\(padding)\(fraction)"
    }
}

extension Duration {
    package var inSeconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) + Double(attoseconds) / 1e18
    }

    /// For a person: `0.42 ms`, `12 ms`, `3.1 s`.
    package var short: String {
        let seconds = inSeconds
        if seconds < 0.01 { return "\((seconds * 1000).rounded(digits: 2)) ms" }
        if seconds < 1 { return "\((seconds * 1000).rounded(digits: 0)) ms" }
        return "\(seconds.rounded(digits: 1)) s"
    }
}
