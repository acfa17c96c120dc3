import MempoolCore

/// Dense heaps of both fits: owners that split and join blocks beside those that others free, and threads that come, hand over what they
/// have, and go.
///
/// Rounds go through both fits, in memory that grows and in memory that is full most of the time. Objects change hands by mailboxes; some
/// are resized, or asked for their size, by who has them, owner or not.
final class DenseChurn: Scenario {
  static let name = "dense"
  static let summary =
    "objects of dense heaps are freed beside blocks that their owner splits and joins, and outlive it"
  static let ownPools = true
  static let leastRounds = 4
  static let mustCount: [Counter] = [.allocations, .frees, .handoffs, .threads, .reallocations]

  private let threads: Int
  private nonisolated(unsafe) var pool: MemoryPoolPointer?
  private nonisolated(unsafe) var isFull = false
  private let boxes: [Box]

  init(_ setting: Setting) {
    threads = setting.threads
    boxes = (0..<setting.threads).map { _ in Box() }
  }

  /// An object, and the byte that it is full of.
  private struct Object {
    let address: UInt
    let byteCount: Int
    let mark: UInt8

    var pointer: UnsafeMutableRawPointer { UnsafeMutableRawPointer(bitPattern: address)! }
    var isIntact: Bool { UnsafeRawBufferPointer(start: pointer, count: byteCount).allSatisfy { $0 == mark } }

    func fill() { pointer.initializeMemory(as: UInt8.self, repeating: mark, count: byteCount) }
  }

  private final class Box: @unchecked Sendable {
    private let lock = Lock()
    private var objects: [Object] = []

    func put(_ object: Object) -> Bool {
      lock.withLock {
        if objects.count >= 200 { return false }
        objects.append(object)
        return true
      }
    }
    func take() -> Object? { lock.withLock { objects.popLast() } }
  }

  func prepare(round: Int, _ run: Run) {
    var options = PoolOptions()
    options.smallObjects = round % 2 == 0 ? .dense : .denseTree
    isFull = round % 4 >= 2
    if isFull { options.backing = .fixed(size: 4 << 20, locked: false, prefault: false) }
    do { pool = try .create(options) } catch { run.fail("no pool: \(error)") }
  }

  func work(_ worker: Worker) {
    guard let pool else { return }
    var held: [Object] = []
    var goal = 500
    while worker.step() {
      if worker.random.oneIn(1024) { goal = worker.random.oneIn(3) ? 0 : worker.random.below(3000) }
      if worker.random.oneIn(4096) {
        _ = pool.statistics()
        pool.purge()
        worker.counters[.purges] += 1
      }
      if worker.random.oneIn(2048) { visit(pool, worker) }
      if worker.random.oneIn(3), let object = boxes[worker.index].take() { held.append(object) }
      if held.count < goal {
        guard let object = make(pool, worker) else {
          goal = held.count / 2
          continue
        }
        if worker.random.oneIn(2), boxes[worker.random.below(threads)].put(object) {
          worker.counters[.handoffs] += 1
        } else {
          held.append(object)
        }
      } else if !held.isEmpty {
        held.swapAt(worker.random.below(held.count), held.count - 1)
        let object = held.removeLast()
        if worker.random.oneIn(4), let resized = resize(pool, object, worker) {
          held.append(resized)
        } else {
          free(pool, object, worker)
        }
      }
    }
    for object in held { free(pool, object, worker) }
  }

  // A thread that allocates, frees what others made, and ends: what it made is freed when its heap is nobody's, or another's.
  private func visit(_ pool: MemoryPoolPointer, _ worker: Worker) {
    let address = UInt(bitPattern: pool), seed = worker.random.next()
    let boxes = boxes
    let most = threads
    let thread = OwnThread {
      let pool = MemoryPoolPointer(bitPattern: address)!
      var random = SplitMix64(seed: seed)
      for _ in 0..<100 {
        let object = boxes[random.below(most)]
        let byteCount = 1 + random.below(300)
        if let pointer = pool.allocate(UInt(byteCount)) {
          let made = Object(
            address: UInt(bitPattern: pointer), byteCount: byteCount, mark: UInt8(truncatingIfNeeded: random.next()))
          made.fill()
          if !object.put(made) { pool.deallocate(pointer) }
        }
        if random.below(3) == 0, let other = boxes[random.below(most)].take() { pool.deallocate(other.pointer) }
      }
    }
    guard let thread else { return worker.run.fail("no thread could be started", in: worker) }
    thread.join()
    worker.counters[.threads] += 1
  }

  private func make(_ pool: MemoryPoolPointer, _ worker: Worker) -> Object? {
    let byteCount = worker.random.oneIn(50) ? 1 + worker.random.below(3840) : 1 + worker.random.below(260)
    guard let pointer = pool.allocate(UInt(byteCount)) else {
      worker.counters[.exhausted] += 1
      if !isFull { worker.run.fail("no memory for \(byteCount) bytes", in: worker) }
      return nil
    }
    worker.counters[.allocations] += 1
    let object = Object(
      address: UInt(bitPattern: pointer), byteCount: byteCount, mark: UInt8(truncatingIfNeeded: worker.random.next()))
    object.fill()
    return object
  }

  private func resize(_ pool: MemoryPoolPointer, _ object: Object, _ worker: Worker) -> Object? {
    if pool.usableSize(of: object.pointer) < UInt(object.byteCount) {
      worker.run.fail("an object of \(object.byteCount) bytes has less", in: worker)
    }
    let byteCount = 1 + worker.random.below(400)
    guard check(object, worker), let pointer = pool.reallocate(object.pointer, UInt(byteCount)) else { return nil }
    worker.counters[.reallocations] += 1
    let kept = Object(
      address: UInt(bitPattern: pointer), byteCount: min(byteCount, object.byteCount), mark: object.mark)
    if !kept.isIntact { worker.run.fail("reallocation lost what was there", in: worker) }
    let resized = Object(address: kept.address, byteCount: byteCount, mark: object.mark &+ 1)
    resized.fill()
    return resized
  }

  private func check(_ object: Object, _ worker: Worker) -> Bool {
    if object.isIntact { return true }
    worker.run.fail("an object of \(object.byteCount) bytes was written to", in: worker)
    return false
  }

  private func free(_ pool: MemoryPoolPointer, _ object: Object, _ worker: Worker) {
    guard check(object, worker) else { return }
    pool.deallocate(object.pointer)
    worker.counters[.frees] += 1
  }

  func settle(_ run: Run) {
    guard let pool else { return }
    for box in boxes {
      while !run.hasFailed, let object = box.take() { free(pool, object, run.workers[0]) }
    }
    if run.hasFailed { return }
    if !pool.checkInvariants() { run.fail("the pool's invariants do not hold") }
    let statistics = pool.statistics()
    if statistics.allocatedBytes != 0 { run.fail("\(statistics.allocatedBytes) bytes count as allocated") }
    pool.destroy()
    self.pool = nil
  }
}
