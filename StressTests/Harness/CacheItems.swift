import MempoolCore

/// A slab cache under load, and the checked ways to take from it and put into it.
///
/// Items are blocks like others: one, or neighbouring ones taken together, filled with one pattern from the first to the last.
struct CacheItems: @unchecked Sendable {  // the cache is made to be shared
  let cache: SlabCachePointer
  let itemSize: Int
  let alignment: Int

  /// From item to item.
  private var stride: Int { (itemSize + alignment - 1) & ~(alignment - 1) }

  /// A cache of a size and an alignment that chance chooses; nil when a pool that may is exhausted, or after a failure.
  init?(in pool: MemoryPoolPointer, mayExhaust: Bool, _ random: inout SplitMix64, _ run: Run) {
    let sizes = [1, 3, 8, 24, 40, 64, 100, 256, 700, 2048, 5000, 20000]
    itemSize = sizes.randomElement(using: &random)!
    alignment = random.oneIn(2) ? 1 : 1 << random.within(1...12)
    do {
      cache = try pool.makeCache(itemSize: UInt(itemSize), alignment: UInt(alignment))
    } catch {
      if mayExhaust && error == .outOfMemory { return nil }
      run.fail("cannot make a cache of \(itemSize)-byte items aligned to \(alignment): \(error)")
      return nil
    }
  }

  /// An item, or an array of them; nil when a pool that may is exhausted, or after a failure.
  func take(_ worker: Worker) -> Block? {
    // Parcels carry sizes below 32 KiB.
    let most = min(Int(cache.arrayCapacity), (0x7fff - itemSize) / stride + 1)
    let count = worker.random.oneIn(8) ? worker.random.within(1...max(1, min(most, 100))) : 1
    let taken = count == 1 ? cache.take() : cache.takeArray(UInt(count))
    worker.counters[count == 1 ? .takes : .arrays] += 1
    guard let pointer = taken else {
      worker.counters[.exhausted] += 1
      if !worker.poolMayExhaust { worker.run.fail("no memory for \(count) items of \(itemSize) bytes", in: worker) }
      return nil
    }
    if UInt(bitPattern: pointer) % UInt(alignment) != 0 {
      worker.run.fail("an item at \(pointer) is not aligned to \(alignment)", in: worker)
      return nil
    }
    if worker.random.oneIn(64) && !cache.owns(pointer) {
      worker.run.fail("an item at \(pointer) is not its cache's", in: worker)
      return nil
    }
    return worker.fill(pointer, (count - 1) * stride + itemSize)
  }

  /// Checks what was taken together and gives it back, together or, if it is an array, item by item now and then.
  func put(_ block: Block, _ worker: Worker) {
    guard worker.check(block, "put") else { return }
    worker.counters[.puts] += 1
    let count = count(in: block)
    if count == 1 {
      cache.put(block.pointer)
    } else if worker.random.oneIn(4) {
      for item in 0..<count { cache.put(block.pointer + item * stride) }
    } else {
      cache.putArray(block.pointer, UInt(count))
    }
  }

  /// Items that were taken together.
  func count(in block: Block) -> Int { (block.size - itemSize) / stride + 1 }

  /// With nobody in a call, and these being all that is out.
  func check(_ run: Run, out blocks: [Block]) {
    let expected = blocks.reduce(0) { $0 + count(in: $1) }, counted = Int(cache.statistics().liveItems)
    if counted != expected {
      run.fail("a cache of \(itemSize)-byte items counts \(counted) that are out, not \(expected)")
    }
    if !cache.checkInvariants() { run.fail("the invariants of a cache of \(itemSize)-byte items do not hold") }
  }
}
