import MempoolCore

/// A bitmap and a word of ordinary memory for each of its items, which says whose the item is.
///
/// Who claims an item must find 0 there, and writes a tag; who releases it must find that tag, and writes 0. Two holders of one item
/// see each other's tags; and since nothing but the bitmap orders these writes, ThreadSanitizer sees a claim that does
/// not acquire or a release that does not release.
final class ItemField: @unchecked Sendable {  // an item's word is its holder's; the bitmap is made to be shared
  let bitmap: AtomicBitmap
  private let owners: UnsafeMutablePointer<UInt64>
  private let memory: UnsafeMutableRawPointer
  private let wait: BoundedWaitPointer

  /// Items claimed together.
  struct Run {
    let index: Int
    let count: Int
    let tag: UInt64
    /// Whole cells, to be given back as such.
    let isCells: Bool
  }

  /// Room for `cellCapacity` cells, of which `itemCount` items exist.
  init(
    cellCapacity: Int, itemCount: Int, runLengths: RunLengths, strategy: AtomicBitmap.Strategy, maxRetries: UInt
  ) {
    let byteCount = AtomicBitmap.byteCount(cellCount: cellCapacity, runLengths: runLengths)
    memory = .allocate(byteCount: byteCount, alignment: 64)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    owners = .allocate(capacity: cellCapacity * Cell.itemCount)
    owners.initialize(repeating: 0, count: cellCapacity * Cell.itemCount)
    wait = .allocate(capacity: 1)
    wait.initialize(to: BoundedWait())
    wait.maxRetries = maxRetries
    bitmap = AtomicBitmap(
      zeroed: memory, cellCapacity: cellCapacity, runLengths: runLengths, itemCount: itemCount, wait: wait,
      strategy: strategy)
  }

  deinit {
    memory.deallocate()
    owners.deallocate()
    wait.deallocate()
  }

  /// Marks items as `worker`'s, who has claimed them. Nil after a failure.
  func take(_ index: Int, _ count: Int, isCells: Bool = false, _ worker: Worker) -> Run? {
    worker.counters[.claims] += 1
    guard index >= 0, index + count <= bitmap.cellCount * Cell.itemCount else {
      worker.run.fail("claimed items \(index)..<\(index + count), which do not exist", in: worker)
      return nil
    }
    let tag = worker.nextTag(size: 8).rawValue
    for i in index..<index + count {
      if owners[i] != 0 {
        worker.run.fail("claimed item \(i), which is thread \(Tag(rawValue: owners[i]).owner)'s", in: worker)
        return nil
      }
      owners[i] = tag
    }
    return Run(index: index, count: count, tag: tag, isCells: isCells)
  }

  /// Gives items back. False after a failure.
  @discardableResult
  func giveBack(_ run: Run, _ worker: Worker) -> Bool {
    for i in run.index..<run.index + run.count {
      if owners[i] != run.tag {
        worker.run.fail("item \(i) became thread \(Tag(rawValue: owners[i]).owner)'s while it was held", in: worker)
        return false
      }
      owners[i] = 0
    }
    let wasTaken =
      run.isCells
      ? bitmap.releaseCells(itemCount: run.count, at: run.index)
      : !bitmap.release(run: run.count, at: run.index).wasDouble
    if !wasTaken {
      worker.run.fail("a release of items \(run.index)..<\(run.index + run.count) was called double", in: worker)
    }
    return wasTaken
  }

  /// With nobody in a call: the first item that is taken and nobody's, or somebody's and free.
  func firstDisagreement() -> Int? {
    (0..<bitmap.itemCount).first { bitmap.isTaken($0) != (owners[$0] != 0) }
  }

  /// With nobody in a call and everything given back.
  func checkEmpty(_ stress: StressTests.Run) {
    if bitmap.usedCount() != 0 { stress.fail("\(bitmap.usedCount()) items are taken, and nobody has them") }
    if !bitmap.checkInvariants() { stress.fail("the bitmap's invariants do not hold") }
  }
}
