import MempoolCore

/// Two buffer pools, one of which falls back on the other, each with a lock: everything at once, and the fallback's fallback.
///
/// The lock is all that keeps the threads apart, so it must be held whenever anything but what never changes is looked at.
final class LockedBufferPools: Scenario {
  static let name = "buffer-pool"
  static let summary = "threads on a buffer pool with a lock, stacked on another and that on the shared pool"
  static let ownPools = true
  static let mustCount: [Counter] = [.allocations, .exhausted, .reallocations, .handoffs, .frees]

  private let threads: Int
  private nonisolated(unsafe) let memory: UnsafeMutableRawPointer
  private nonisolated(unsafe) let locks: UnsafeMutablePointer<Mutex>
  private nonisolated(unsafe) var high: BufferPoolPointer?
  private nonisolated(unsafe) var low: BufferPoolPointer?
  private nonisolated(unsafe) var exchange: any Exchange

  private static let lowBytes = 64 << 10
  private static let highBytes = 16 << 10
  private static let fence = 64

  init(_ setting: Setting) {
    threads = setting.threads
    exchange = OneWayMesh(threads: threads, capacity: 1)
    memory = .allocate(byteCount: Self.lowBytes + Self.highBytes + 3 * Self.fence, alignment: 16)
    locks = .allocate(capacity: 2)
    locks.initialize(repeating: Mutex(), count: 2)
  }

  deinit {
    memory.deallocate()
    locks.deallocate()
  }

  func prepare(round: Int, _ run: Run) {
    exchange = makeExchange(threads: threads, round: round, depth: 8, run)
    memory.initializeMemory(
      as: UInt8.self, repeating: 0xa5, count: Self.lowBytes + Self.highBytes + 3 * Self.fence)
    low = BufferPoolPointer.make(
      in: memory + Self.fence, UInt(Self.lowBytes), blockSize: 16,
      fallback: round % 2 == 0 ? MemoryPoolPointer.shared.allocator : nil, lock: LockHook(locks))
    high = BufferPoolPointer.make(
      in: memory + Self.lowBytes + 2 * Self.fence, UInt(Self.highBytes), blockSize: [8, 16, 24, 64][round / 2 % 4],
      fallback: low?.allocator, lock: LockHook(locks + 1))
    if low == nil || high == nil { run.fail("no pool in the memory") }
  }

  func work(_ worker: Worker) {
    guard let high else { return }
    let limit = 2 * (Self.lowBytes + Self.highBytes) / threads
    while worker.step() {
      if let block = exchange.receive(worker.index, &worker.random) { worker.shadow.add(block) }
      switch worker.random.below(16) {
      case 0..<7 where worker.shadow.byteCount < limit:
        let size = worker.random.oneIn(16) ? worker.random.within(1...3000) : worker.random.within(1...100)
        guard let pointer = try? high.allocate(UInt(size)) else {
          worker.counters[.exhausted] += 1
          continue
        }
        worker.counters[.allocations] += 1
        let block = worker.fill(pointer, size)
        if worker.random.oneIn(4) {
          worker.handOff(block) { exchange.send($0, from: worker) }
        } else {
          worker.shadow.add(block)
        }
      case 7, 8:
        guard let block = worker.shadow.takeAny(&worker.random), worker.check(block, "reallocate") else { continue }
        let size = worker.random.within(1...400)
        guard let pointer = try? high.reallocate(block.pointer, UInt(size)) else {
          worker.counters[.exhausted] += 1
          worker.shadow.add(block)
          continue
        }
        worker.counters[.reallocations] += 1
        if let offset = block.firstMismatch(prefix: size, moved: pointer) {
          return worker.run.fail("reallocate to \(size) bytes at \(pointer) lost byte \(offset)", in: worker)
        }
        worker.shadow.add(worker.fill(pointer, size))
      case 9 where worker.random.oneIn(16):
        if !high.checkInvariants() || low?.checkInvariants() == false {
          return worker.run.fail("a pool's invariants do not hold in mid-round", in: worker)
        }
      default:
        guard let block = worker.shadow.takeAny(&worker.random) else { continue }
        if !put(block, worker) { return }
      }
    }
  }

  private func put(_ block: Block, _ worker: Worker) -> Bool {
    guard let high, worker.check(block, "deallocate") else { return false }
    worker.counters[.frees] += 1
    do { try high.deallocate(block.pointer) } catch {
      worker.run.fail("\(block.pointer) could not be given back: \(error)", in: worker)
      return false
    }
    return true
  }

  func settle(_ run: Run) {
    guard let high, let low else { return }
    bringHome(exchange, run)
    for worker in run.workers {
      while !run.hasFailed, let block = worker.shadow.takeLast(), put(block, worker) {}
    }
    guard !run.hasFailed else { return }
    for (name, pool) in [("upper", high), ("lower", low)] {
      if !pool.checkInvariants() { run.fail("the \(name) pool's invariants do not hold") }
      guard let now = try? pool.statistics(), now.objects == 0, now.blocksUsed == 0, now.liveFallbacks == 0 else {
        run.fail("the \(name) pool counts something after everything was given back")
        return
      }
    }
    let (first, second, end) = (Self.fence, Self.fence + Self.lowBytes, 2 * Self.fence + Self.lowBytes + Self.highBytes)
    for offset in [0..<first, second..<second + Self.fence, end..<end + Self.fence].joined()
    where memory.load(fromByteOffset: offset, as: UInt8.self) != 0xa5 {
      return run.fail("a byte beside the pools' memory was written to, at \(offset)")
    }
  }
}
