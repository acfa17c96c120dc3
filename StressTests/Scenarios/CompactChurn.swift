import Glibc
import MempoolCore

/// One compact pool and every thread: objects allocated, mapped, freed by others, moved while others have their neighbours mapped,
/// pages that come and go.
///
/// Rounds go through the kinds of pool: plain, movable, in a file with a small window, one shard for all. Objects change hands by
/// mailboxes.
final class CompactChurn: Scenario {
  static let name = "compact"
  static let summary = "objects of a compact pool change hands while it compacts, trims, maps and unmaps"
  static let ownPools = true
  static let mustCount: [Counter] = [.allocations, .handoffs, .frees, .purges]

  private let threads: Int
  private nonisolated(unsafe) var pool: CompactPoolPointer?
  private let boxes: [Box]

  init(_ setting: Setting) {
    threads = setting.threads
    boxes = (0..<setting.threads).map { _ in Box() }
  }

  /// An object, and what it is filled with.
  private struct Object {
    let handle: CompactHandle
    let byteCount: Int
    let mark: UInt64
  }

  private final class Box: @unchecked Sendable {
    let lock = Lock()
    var objects: [Object] = []
  }

  func prepare(round: Int, _ run: Run) {
    var options = CompactOptions()
    options.isMovable = round % 3 == 1
    if round % 4 == 2 || round % 12 == 1 { options.backing = .file(window: 1 << 20) }
    if round % 5 == 4 { options.shardCount = 1 }
    options.alignment = [4, 8, 16][round % 3]
    options.reservePages = round % 2 == 0 ? nil : UInt(round % 7)
    do {
      pool = try .create(options)
    } catch {
      run.fail("no compact pool: \(error)")
    }
  }

  func work(_ worker: Worker) {
    guard let pool else { return }
    var held: [Object] = []
    var goal = 500
    var serial = UInt64(worker.index) << 40
    while worker.step() {
      if worker.random.oneIn(1024) { goal = worker.random.oneIn(3) ? 0 : worker.random.below(2000) }
      if worker.random.oneIn(4096) {
        pool.compact()
        worker.counters[.purges] += 1
      }
      if worker.random.oneIn(1024) { pool.trim() }
      if worker.random.oneIn(8),
        let object = boxes[worker.index].lock.withLock({ boxes[worker.index].objects.popLast() })
      {
        held.append(object)
      }
      if held.count < goal {
        serial += 1
        guard let object = make(pool, serial, worker) else { continue }
        if worker.random.oneIn(3) {
          let other = boxes[worker.random.below(threads)]
          let isSent = other.lock.withLock {
            guard other.objects.count < 100 else { return false }
            other.objects.append(object)
            return true
          }
          if isSent {
            worker.counters[.handoffs] += 1
            continue
          }
        }
        held.append(object)
      } else if !held.isEmpty {
        held.swapAt(worker.random.below(held.count), held.count - 1)
        let object = held.removeLast()
        if !check(pool, object, worker) { return }
        pool.free(object.handle)
        worker.counters[.frees] += 1
      }
    }
    for object in held where check(pool, object, worker) { pool.free(object.handle) }
  }

  private func make(_ pool: CompactPoolPointer, _ mark: UInt64, _ worker: Worker) -> Object? {
    let byteCount = worker.random.oneIn(200) ? 8 + worker.random.below(200_000) : 8 + worker.random.below(4085)
    let grows = !worker.random.oneIn(16)
    guard let handle = pool.allocate(UInt(byteCount), grows: grows) else {
      worker.counters[.exhausted] += 1
      if grows { worker.run.fail("no memory for \(byteCount) bytes", in: worker) }
      return nil
    }
    worker.counters[.allocations] += 1
    let object = Object(handle: handle, byteCount: byteCount, mark: mark)
    guard let (start, count) = pool.map(handle), count == UInt(byteCount) else {
      worker.run.fail("\(handle) cannot be mapped as it was made", in: worker)
      return nil
    }
    forEachWord(byteCount) { start.storeBytes(of: mark, toByteOffset: $0, as: UInt64.self) }
    pool.unmap(handle)
    return object
  }

  private func check(_ pool: CompactPoolPointer, _ object: Object, _ worker: Worker) -> Bool {
    guard let (start, count) = pool.map(object.handle), count == UInt(object.byteCount) else {
      worker.run.fail("\(object.handle) has another size, or cannot be mapped", in: worker)
      return false
    }
    var isIntact = true
    forEachWord(object.byteCount) {
      if start.loadUnaligned(fromByteOffset: $0, as: UInt64.self) != object.mark { isIntact = false }
    }
    pool.unmap(object.handle)
    if !isIntact { worker.run.fail("\(object.handle), \(object.byteCount) bytes, was written to", in: worker) }
    return isIntact
  }

  // The ends, and some between; none that overlaps the last.
  private func forEachWord(_ byteCount: Int, _ visit: (Int) -> Void) {
    for offset in stride(from: 0, through: byteCount - 16, by: 256) { visit(offset) }
    visit(byteCount - 8)
  }

  func settle(_ run: Run) {
    guard let pool else { return }
    for box in boxes {
      for object in box.objects where !run.hasFailed && check(pool, object, run.workers[0]) { pool.free(object.handle) }
      box.objects = []
    }
    if run.hasFailed { return }
    pool.trim()
    if !pool.checkInvariants() { run.fail("the pool's invariants do not hold") }
    let statistics = pool.statistics()
    if statistics.totalBytes != 0 || statistics.liveObjects != 0 { run.fail("not all came back: \(statistics)") }
    pool.destroy()
    self.pool = nil
  }
}
