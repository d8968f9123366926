import AllocationCount
import ArgumentParser
import Foundation

/// One side of one round, in a process of its own: its memory and processor time are then nobody else's.
struct WorkerCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "worker", shouldDisplay: false)

    /// A ``Job`` as JSON.
    @Argument var job: String

    @MainActor func run() async throws {
        let job = try JSONDecoder().decode(Job.self, from: Data(job.utf8))
        var worker: any Worker = job.side == .library ? LibraryWorker(job) : BareWorker(job)
        try await worker.prepare()
        print("ready")
        fflush(nil)
        // Blocks, which is as well: nothing of this process is to run before it is its turn.
        guard readLine() == "go" else { return }
        let before = allocation_count()
        allocation_count_enable(job.countsAllocations)
        var sample = try await worker.run()
        if job.countsAllocations, allocation_count_is_possible() {
            sample.allocations = Int(allocation_count() - before)
        }
        allocation_count_enable(false)
        sample.peakMemory = Memory.peak
        print(String(decoding: try JSONEncoder().encode(sample), as: UTF8.self))
        fflush(nil)
        await worker.close()
    }
}
