import CMempoolShims
import ModelMachine

@testable import MempoolCore

/// What words of the machine's memory are called in tables.
enum Names {
  private struct Range {
    let start: UInt
    let byteCount: UInt
    let name: (UInt) -> String
  }

  nonisolated(unsafe) private static var ranges: [Range] = []

  static func reset() {
    ranges = []
    let blocks = UInt(MP_MODEL_THREADS) * 256
    add(UInt(bitPattern: mp_machine_memory()) + UInt(mp_machine_memory_size()) - blocks, blocks) {
      $0 % 256 == 0 ? "thread \($0 / 256)" : "thread \($0 / 256)'s block+\($0 % 256)"
    }
  }

  /// The last one that is named counts, so that what lies inside something else has a name of its own.
  static func add(_ start: UInt, _ byteCount: UInt, _ name: @escaping (UInt) -> String) {
    ranges.append(Range(start: start, byteCount: byteCount, name: name))
  }

  static func add(_ start: UInt, _ name: String) { add(start, 8) { _ in name } }

  static func of(_ address: UInt) -> String {
    for range in ranges.reversed() where address &- range.start < range.byteCount {
      return range.name(address - range.start)
    }
    return "0x" + String(address, radix: 16)
  }

  /// A value in a table: an address by its name, else a number.
  static func value(_ value: UInt) -> String {
    let start = UInt(bitPattern: mp_machine_memory())
    if value &- start < UInt(mp_machine_memory_size()) { return "→" + of(value) }
    if value < 1000 { return String(value) }
    if ~value < 1000 { return "~" + String(~value, radix: 16) }
    return "0x" + String(value, radix: 16)
  }

  // MARK: Records

  private static func words(_ names: [String]) -> (UInt) -> String {
    { offset in
      let index = Int(offset / 8)
      return index < names.count ? names[index] : "+\(offset)"
    }
  }

  static func add(_ segment: SegmentPointer) {
    let record = UInt(bitPattern: segment)
    add(record, segment.pointee.byteCount) { "segment+\($0)" }
    let names = words([
      "pageCount", "usedPages", "idlePages", "idleLow", "tick", "purging", "purgedBytes", "purgePasses", "next",
      "growth",
      "credit", "peakPages", "lentPages", "lentLow",
    ])
    add(record, 14 * 8) { "segment." + names($0) }
    add(UInt(bitPattern: segment.arena), UInt(MemoryLayout<MetadataArena>.size)) {
      $0 == 16 ? "arena.lock" : "arena+\($0)"
    }
    add(UInt(bitPattern: segment.wait), 64) {
      "wait." + words(["retries", "time", "sleeps", "failures", "passes"])($0)
    }
    let pages = segment.pointee.pageCapacity
    add(UInt(bitPattern: segment.pointee.entries), pages * 32) {
      "entry \($0 / 32)." + words(["reciprocal", "base", "slab", "heap"])($0 % 32)
    }
    add(UInt(bitPattern: segment.pointee.touched.word), (pages + 63) / 64 * 8) { "touched \($0 / 8)" }
    add(UInt(bitPattern: segment.pointee.lent.word), (pages + 63) / 64 * 8) { "lent \($0 / 8)" }
    add(segment.pointee.base, pages << Page.shift) { "page \($0 >> Page.shift)+\($0 & (Page.byteCount - 1))" }
    add(segment.pointee.bitmap)
  }

  static func add(_ bitmap: AtomicBitmap) {
    if let size = bitmap.sharedItemCount { add(UInt(bitPattern: size.word), "itemCount") }
    add(UInt(bitPattern: bitmap.cells.word), UInt(bitmap.cellCapacity) * 8) { "cell \($0 / 8)" }
    for exponent in 0..<7 where bitmap.runLengths.rawValue >> UInt(exponent) & 1 != 0 {
      let tree = bitmap.tree(exponent)
      add(UInt(bitPattern: tree.words.word), UInt(bitmap.treeWordCount) * 8) {
        "hints of \(1 << exponent), word \($0 / 8)"
      }
    }
  }

  static func add(_ registry: HeapRegistryPointer) {
    add(UInt(bitPattern: registry), 24) { "registry." + words(["created", "creation", "lateLock"])($0) }
    add(UInt(bitPattern: registry.pointee.owned.word), registry.pointee.capacity / 8) { _ in "registry.owned" }
    let row = registry.pointee.capacity / 64 * 8
    add(UInt(bitPattern: registry.pointee.hints.word), row * UInt(SizeClass.count)) {
      "registry.hints of class \($0 / row)"
    }
    add(UInt(bitPattern: registry.pointee.table.word), registry.pointee.capacity * 8) { "registry.table \($0 / 8)" }
  }

  static func add(_ heap: ThreadHeapPointer) {
    let index = heap.pointee.index
    let names = words([
      "requested", "pending", "owner", "collected", "slabs", "adoptions", "samples", "sampledBytes", "sampledSlots",
      "cachedRunBytes",
    ])
    add(UInt(bitPattern: heap), ThreadHeapPointer.recordByteCount) {
      $0 == 0 ? "heap \(index)" : 512..<592 ~= $0 ? "heap \(index)." + names($0 - 512) : "heap \(index)+\($0)"
    }
  }

  static func add(_ slab: SlabPointer, _ name: String) {
    let names = words([
      "left", "itemSize", "head", "base", "summary", "heap", "segment", "next", "previous", "pendingNext",
    ])
    let size = UInt(slab.pointee.itemSize)
    add(UInt(bitPattern: slab), slab.pointee.recordBytes) { $0 == 0 ? name : "\(name)." + names($0) }
    add(UInt(bitPattern: slab.pointee.cells), slab.cellCount * 8) { "\(name).cell \($0 / 8)" }
    add(slab.address, slab.byteCount) { "item \($0 / size + 1) of \(name)" }
  }

  static func add(_ cache: SlabCachePointer) {
    let names = words([
      "pagesLock", "wakeups", "growth", "cursor", "pagesMade", "pagesReturned", "revision", "searches",
    ])
    add(UInt(bitPattern: cache), UInt(MemoryLayout<SlabCache>.size)) {
      $0 < 64 ? "cache+\($0)" : $0 < 128 ? "cache." + names($0 - 64) : "cache.leases of \($0 / 8 - 16)"
    }
  }

  static func add(_ page: CachePagePointer, _ name: String) {
    let stride = page.pointee.stride
    add(UInt(bitPattern: page), page.pointee.recordBytes) { "\(name)+\($0)" }
    add(UInt(bitPattern: page.cell(0).word), page.cellCount * 8) { "\(name).cell \($0 / 8)" }
    add(UInt(bitPattern: page.pointee.pairs), page.cellCount * 16) {
      "\(name)." + ($0 / 8 % 2 == 0 ? "held \($0 / 16)" : "lessee \($0 / 16)")
    }
    add(page.pointee.base, page.pointee.pageCount << Page.shift) { "item \($0 / stride) of \(name)" }
  }

  static func add(_ pool: ObjectPoolPointer) {
    let names = words([
      "cursor", "revision", "sharedTaken", "sharedGiven", "hotPeak", "misses", "fallbackGiven", "fallbackPeak",
      "orphaned",
      "threadCount", "newestLeases", "nobody", "sweeps",
    ])
    add(UInt(bitPattern: pool), UInt(MemoryLayout<ObjectPool>.size)) {
      switch $0 {
      case 0..<64: "pool+\($0)"
      case 64..<168: "pool." + names($0 - 64)
      case 168..<424: "pool.leases of \($0 / 8 - 21)"
      default: $0 == 424 ? "pool.next" : "pool+\($0)"
      }
    }
  }

  static func add(_ page: ObjectPagePointer, _ name: String) {
    let stride = page.pointee.pool.pointee.stride, first = UInt(ObjectPage.firstLine)
    let names = words(["cell", "held", "lessee"])
    add(UInt(bitPattern: page), page.byteCount) {
      $0 / 64 < first ? "\(name)+\($0)" : "\(name)." + names($0 % 64) + " \($0 / 64 - first)"
    }
    add(page.pointee.base, page.pointee.pageCount << Page.shift) { "item \($0 / stride) of \(name)" }
  }
}
