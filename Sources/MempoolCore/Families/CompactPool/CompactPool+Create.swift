import CMempoolShims

extension UnsafeMutablePointer where Pointee == CompactPool {
  /// Makes an empty pool.
  ///
  /// - Parameters:
  ///   - options: What no pool can have is `invalidArgument`.
  ///   - memory: Where its pages and records come from; must outlive it. Not one that passes through.
  public static func create(
    _ options: CompactOptions, in memory: MemoryPoolPointer = .shared
  ) throws(PoolError) -> CompactPoolPointer {
    guard memory.start() else { throw .reservationFailed(errno: mp_errno_get()) }
    guard !memory.isPassThrough, options.shardCount <= 64, options.byteLimit <= CompactPool.mostBytes,
      options.alignment == 4 || options.alignment == 8 || options.alignment == 16
    else { throw .invalidArgument }
    var file: Int32 = -1
    if case .file = options.backing {
      file = mp_file_make(Int(CompactPool.byteLimit(options)))
      if file < 0 { throw .reservationFailed(errno: mp_errno_get()) }
    }
    let pool = try make(options, file, isForeign: false, memory)
    if file >= 0, !pool.writeFirstPage() {
      pool.destroy()
      throw .outOfMemory
    }
    return pool
  }

  /// A pool that another process made, by its file: to map and measure objects, by handles that came from there. The caller may
  /// close the file.
  public static func attach(_ descriptor: Int32, in memory: MemoryPoolPointer = .shared) throws(PoolError)
    -> CompactPoolPointer
  {
    guard memory.start() else { throw .reservationFailed(errno: mp_errno_get()) }
    let byteCount = UInt(mp_file_size(descriptor))
    guard !memory.isPassThrough, byteCount >= 2 * CompactRegion.byteCount, byteCount <= CompactPool.mostBytes,
      byteCount % CompactRegion.byteCount == 0, let first = CompactFirstPage.read(descriptor)
    else { throw .invalidArgument }
    var options = CompactOptions()
    options.backing = .file(window: 0)
    options.alignment = first.alignment
    options.byteLimit = byteCount - CompactRegion.byteCount
    let file = mp_file_duplicate(descriptor)
    if file < 0 { throw .reservationFailed(errno: mp_errno_get()) }
    return try make(options, file, isForeign: true, memory)
  }

  private static func aligned(_ byteCount: Int) -> Int { (byteCount + 127) & ~127 }

  // Takes over the file, also when it fails.
  private static func make(
    _ options: CompactOptions, _ file: Int32, isForeign: Bool, _ memory: MemoryPoolPointer
  ) throws(PoolError) -> CompactPoolPointer {
    let regionCount = CompactPool.byteLimit(options) >> CompactRegion.shift
    let cellCount = Cell.count(forItems: Int(regionCount))
    let shardCount = options.shardCount == 0 ? 8 : options.shardCount
    let shards = aligned(MemoryLayout<CompactPool>.stride)
    let bitmap = shards + Int(shardCount * CompactShard.stride)
    let root = aligned(bitmap + AtomicBitmap.byteCount(cellCount: cellCount, runLengths: [.one, .sixtyFour]))
    let slotRoot = aligned(root + cellCount * 8)
    let end = options.isMovable ? slotRoot + Int(CompactSlots.rootBytes) : slotRoot
    let systemPage = UInt(mp_system_page_size())
    let byteCount = (UInt(end) + systemPage - 1) & ~(systemPage - 1)
    guard let start = mp_pages_map(Int(byteCount), 0) else {
      let error = mp_errno_get()
      if file >= 0 { mp_close(file) }
      throw .reservationFailed(errno: error)
    }
    let pool = start.assumingMemoryBound(to: CompactPool.self)
    let address = UInt(bitPattern: start)
    var window: UInt = 0
    if case .file(let bytes) = options.backing {
      window = max(1, (bytes == 0 ? 16 << 20 : bytes) >> CompactRegion.shift / shardCount)
    }
    pool.initialize(
      to: CompactPool(
        locks: LockGroup(
          first: address + UInt(shards) + CompactShard.mutexOffset, stride: CompactShard.stride, count: shardCount),
        memory: memory, options: options, byteCount: byteCount, shardCount: shardCount, shards: address + UInt(shards),
        bitmap: AtomicBitmap(
          zeroed: start + bitmap, cellCapacity: cellCount, runLengths: [.one, .sixtyFour], itemCount: Int(regionCount),
          wait: defaultBoundedWait),
        root: address + UInt(root), slotRoot: options.isMovable ? address + UInt(slotRoot) : 0, file: file,
        isForeign: isForeign, pageShift: UInt(max(systemPage, 4096).trailingZeroBitCount),
        granule: options.alignment / CompactRegion.unitBytes, window: window))
    // Shards and indexes are as they should be while they are zero: what nobody uses stays address space.
    // Region 0 is no region: of a file it is the page that says what it is, and handles on page 0 are none.
    _ = pool.pointee.bitmap.tryClaim(run: 1, at: 0)
    pool.regionLimit.storeRelaxed(1)
    Process.enter(pool.locks)
    return pool
  }

  /// Gives everything back, live objects included, unless the options say that there must be none: then one line and SIGABRT. No other
  /// call on the pool may be running or follow.
  public func destroy(call: StaticString = "destroy") {
    if !Process.leave(locks) { misuse(call, UInt(bitPattern: self), "no compact pool: destroyed, or never made") }
    if pointee.options.refusesLiveObjects, isOwner {
      let count = statistics().liveObjects
      if count > 0 { reportLive(call, count) }
    }
    forEachRegion { region, record in releaseAtEnd(region, record) }
    let segments = pointee.memory.segments
    forEachBlockOfRecords { block, byteCount in segments.deallocateRecord(block, byteCount) }
    if isMovable {
      CompactSlots(pool: self).forEachBlock { block, byteCount in segments.deallocateRecord(block, byteCount) }
    }
    if pointee.file >= 0 { mp_close(pointee.file) }
    _ = mp_pages_release(UnsafeMutableRawPointer(self), Int(pointee.byteCount))
  }

  private func reportLive(_ call: StaticString, _ count: UInt) -> Never {
    var line = ReportLine()
    line.append(call)
    line.append("(")
    line.append(address: UInt(bitPattern: self))
    line.append("): ")
    line.append(decimal: count)
    line.append(count == 1 ? " object is still live" : " objects are still live")
    line.write()
    mp_abort()
  }

  /// The file that holds the pool's pages, for another process to attach to; nil when there is none, or when handles are no places in
  /// it. The pool's: to be duplicated or sent, not closed.
  public var descriptor: Int32? { isFile && !isMovable ? pointee.file : nil }

  private func writeFirstPage() -> Bool {
    let count = Int(pageByteCount)
    guard mp_file_commit(pointee.file, 0, count) == 0, let page = mp_file_map(pointee.file, 0, count) else {
      return false
    }
    page.storeBytes(of: CompactFirstPage(alignment: pointee.options.alignment), as: CompactFirstPage.self)
    _ = mp_pages_release(page, count)
    _ = metadataBytes.fetchAddRelaxed(pageByteCount)
    return true
  }
}

/// What a file's first page says of it.
struct CompactFirstPage {
  let mark: UInt
  let alignment: UInt

  // "mpcpct" and a version.
  private static var mark: UInt { 0x6d70_6370_6374_0001 }

  init(alignment: UInt) {
    mark = Self.mark
    self.alignment = alignment
  }

  static func read(_ descriptor: Int32) -> CompactFirstPage? {
    let count = mp_system_page_size()
    guard let page = mp_file_map(descriptor, 0, count) else { return nil }
    let first = page.load(as: CompactFirstPage.self)
    _ = mp_pages_release(page, count)
    let isOne = first.mark == Self.mark && (first.alignment == 4 || first.alignment == 8 || first.alignment == 16)
    return isOne ? first : nil
  }
}

extension CompactPool {
  static var mostBytes: UInt { mostRegions << CompactRegion.shift }

  /// Whole regions, one of which is no object's.
  static func byteLimit(_ options: CompactOptions) -> UInt {
    if options.byteLimit == 0 { return mostBytes }
    let regions = (options.byteLimit + CompactRegion.byteCount - 1) >> CompactRegion.shift + 1
    return min(regions, mostRegions) << CompactRegion.shift
  }
}
