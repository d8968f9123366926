/// Work on the elements of a batch: those of one key one after the other, in order; different keys at the same time.
package struct KeyChains: Sendable {
    private let chains: [[Int]]
    private let count: Int

    /// - Parameter keys: The key of each element; an element without one is a chain of its own.
    package init<Key: Hashable>(_ keys: [Key?]) {
        var chains: [[Int]] = []
        var chainOfKey: [Key: Int] = [:]
        for (index, key) in keys.enumerated() {
            if let key, let chain = chainOfKey[key] {
                chains[chain].append(index)
            } else {
                if let key { chainOfKey[key] = chains.count }
                chains.append([index])
            }
        }
        self.chains = chains
        count = keys.count
    }

    /// Runs `work` for each element.
    ///
    /// - Parameters:
    ///   - maximum: How many chains at the same time.
    ///   - work: Gets the element's index, and the result before it in its chain.
    /// - Returns: What it returned, in the order of the elements.
    package func run<Value: Sendable>(
        maximum: Int,
        _ work: @escaping @Sendable (Int, Value?) async -> Value
    ) async -> [Value] {
        await withTaskGroup(of: [(Int, Value)].self) { group in
            var results = [Value?](repeating: nil, count: count)
            var running = 0
            for chain in chains {
                if running == maximum, let done = await group.next() {
                    for (index, value) in done { results[index] = value }
                    running -= 1
                }
                group.addTask {
                    var done: [(Int, Value)] = []
                    for index in chain { done.append((index, await work(index, done.last?.1))) }
                    return done
                }
                running += 1
            }
            for await done in group {
                for (index, value) in done { results[index] = value }
            }
            return results.compactMap { $0 }
        }
    }
}
