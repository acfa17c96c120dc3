import MempoolCore

/// Runs once, when the process exits: the statistics that the environment asked for.
@c(mempool_malloc_report) public func mempoolMallocReport() {}
