import MempoolCore

// Totals, limits, and the walk that reports are made of: talloc's names, whose documentation holds. NULL is the root of tracked roots.

@c(talloc_total_size) public func tallocTotalSize(_ pointer: UnsafeRawPointer?) -> UInt {
  (block(pointer) ?? ContextProcess.tracker)?.totalSize ?? 0
}

@c(talloc_total_blocks) public func tallocTotalBlocks(_ pointer: UnsafeRawPointer?) -> UInt {
  (block(pointer) ?? ContextProcess.tracker)?.totalBlocks ?? 0
}

public typealias ReportCallback =
  @convention(c) (
    _ pointer: UnsafeRawPointer?, _ depth: Int32, _ maxDepth: Int32, _ isReference: Int32,
    _ privateData: UnsafeMutableRawPointer?
  ) -> Void

@c(talloc_report_depth_cb) public func tallocReportDepth(
  _ pointer: UnsafeRawPointer?, _ depth: Int32, _ maxDepth: Int32, _ callback: ReportCallback,
  _ privateData: UnsafeMutableRawPointer?
) {
  guard let top = block(pointer) ?? ContextProcess.tracker else { return }
  let depths = maxDepth < 0 ? nil : Int(maxDepth) - Int(depth)
  top.visit(to: depths) { block, steps, isReference in
    callback(block.payload, depth &+ Int32(truncatingIfNeeded: steps), maxDepth, isReference ? 1 : 0, privateData)
  }
}

@c(talloc_set_memlimit) public func tallocSetMemoryLimit(_ pointer: UnsafeRawPointer?, _ limit: UInt) -> Int32 {
  block(pointer)?.setLimit(limit) ?? false ? 0 : 1
}

/// For System/report.c: 1 when the block has a limit of its own.
@c(mempool_talloc_limit) public func tallocLimit(
  _ pointer: UnsafeRawPointer?, _ limit: UnsafeMutablePointer<UInt>, _ charged: UnsafeMutablePointer<UInt>
) -> Int32 {
  guard let own = block(pointer)?.limit else { return 0 }
  limit.pointee = own.limit
  charged.pointee = own.charged
  return 1
}
