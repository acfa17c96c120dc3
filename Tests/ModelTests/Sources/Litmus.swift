import CMempoolShims
import ModelMachine

@testable import MempoolCore

/// A few operations of which it is known what they may show: they check the machine, and the explorer.
struct Litmus: @unchecked Sendable {
  let name: String
  /// What the machine must show, each of it and nothing else: the values that threads have read, in their order; or what fails.
  let shows: Set<String>
  let bodies: [() -> Void]

  nonisolated(unsafe) private static var values = Array(repeating: "", count: Int(MP_MODEL_THREADS))
  nonisolated(unsafe) private static var seen: Set<String> = []

  // Words in lines of their own, and one that is no atomic one.
  fileprivate static func word(_ index: Int) -> AtomicPointer {
    AtomicPointer(address: UInt(bitPattern: mp_machine_memory()) + UInt(index) * 64)
  }
  fileprivate static var plain: UnsafeMutableRawPointer { mp_machine_memory() + 1024 }
  fileprivate static var mutex: MutexPointer { (mp_machine_memory() + 2048).assumingMemoryBound(to: Mutex.self) }
  fileprivate static var other: MutexPointer { (mp_machine_memory() + 2112).assumingMemoryBound(to: Mutex.self) }

  fileprivate static func read(_ value: UInt) { values[Int(mp_model_thread())] += String(value) }

  /// What it shows, with the reduction and without: the same.
  func run() -> (reduced: Set<String>, whole: Set<String>) { (outcomes(reduces: true), outcomes(reduces: false)) }

  private func outcomes(reduces: Bool) -> Set<String> {
    Litmus.seen = []
    let scenario = Scenario(
      name: name, summary: "",
      bodies: bodies.enumerated().map { index, body in
        {
          Litmus.values[index] = ""
          body()
        }
      },
      setUp: {},
      check: {
        Litmus.seen.insert(Litmus.values[..<bodies.count].joined())
        return nil
      })
    scenario.begin()
    Items.clear()
    Items.keep()
    let explorer = Explorer(scenario, reduces: reduces)
    if case .failed(let failure) = explorer.explore(bound: 6, more: 0, isTimeUp: { false }) {
      return [String(failure.what.split(separator: ":")[0])]
    }
    return Litmus.seen
  }
}

private var x: AtomicPointer { Litmus.word(0) }
private var y: AtomicPointer { Litmus.word(1) }

extension Litmus {
  static let all = [
    // Store buffers.
    Litmus(
      name: "store, then load of the other: relaxed", shows: ["00", "01", "10", "11"],
      bodies: [storeAndLoad(x, y) {}, storeAndLoad(y, x) {}]),
    Litmus(
      name: "the same with acquire-release fences", shows: ["00", "01", "10", "11"],
      bodies: [storeAndLoad(x, y) { mp_fence_acq_rel() }, storeAndLoad(y, x) { mp_fence_acq_rel() }]),
    Litmus(
      name: "the same with full fences", shows: ["01", "10", "11"],
      bodies: [storeAndLoad(x, y) { fenceFull() }, storeAndLoad(y, x) { fenceFull() }]),
    Litmus(
      name: "the same with one full fence", shows: ["00", "01", "10", "11"],
      bodies: [storeAndLoad(x, y) { fenceFull() }, storeAndLoad(y, x) {}]),
    // Messages.
    Litmus(
      name: "message: relaxed", shows: ["00", "01", "10", "11"],
      bodies: [
        {
          x.storeRelaxed(1)
          y.storeRelaxed(1)
        }, loads(y, x),
      ]),
    Litmus(
      name: "message: release and acquire", shows: ["00", "01", "11"],
      bodies: [
        {
          x.storeRelaxed(1)
          y.storeRelease(1)
        },
        {
          read(y.loadAcquire())
          read(x.loadRelaxed())
        },
      ]),
    Litmus(
      name: "message: release and relaxed", shows: ["00", "01", "10", "11"],
      bodies: [
        {
          x.storeRelaxed(1)
          y.storeRelease(1)
        }, loads(y, x),
      ]),
    Litmus(
      name: "message: full fences", shows: ["00", "01", "11"],
      bodies: [
        {
          x.storeRelaxed(1)
          fenceFull()
          y.storeRelaxed(1)
        },
        {
          read(y.loadRelaxed())
          fenceFull()
          read(x.loadRelaxed())
        },
      ]),
    Litmus(
      name: "message: handed on by a relaxed read-modify-write", shows: ["00", "01", "10", "11", "21"],
      bodies: [
        {
          x.storeRelaxed(1)
          y.storeRelease(1)
        }, { _ = y.fetchAddRelaxed(1) },
        {
          let flag = y.loadAcquire()
          read(flag)
          read(x.loadRelaxed())
        },
      ]),
    Litmus(
      name: "message: cut off by another's store", shows: ["00", "01", "11", "20", "21"],
      bodies: [
        {
          x.storeRelaxed(1)
          y.storeRelease(1)
        }, { y.storeRelaxed(2) },
        {
          read(y.loadAcquire())
          read(x.loadRelaxed())
        },
      ]),
    // One word.
    Litmus(
      name: "two loads of one word go forward", shows: ["00", "01", "02", "11", "12", "22"],
      bodies: [
        {
          x.storeRelaxed(1)
          x.storeRelaxed(2)
        }, loads(x, x),
      ]),
    Litmus(
      name: "two additions by load and store", shows: ["00", "01", "10"],
      bodies: [loadAndStore(x), loadAndStore(x)]),
    Litmus(
      name: "two additions by read-modify-write", shows: ["01", "10"],
      bodies: [{ read(x.fetchAddRelaxed(1)) }, { read(x.fetchAddRelaxed(1)) }]),
    // Four threads: two readers that need not agree, unless by full fences.
    Litmus(
      name: "two writers, two readers: acquire",
      shows: Set((0..<16).map { (number: Int) in (0..<4).map { String(number >> $0 & 1) }.joined() }),
      bodies: [
        { x.storeRelease(1) }, { y.storeRelease(1) }, acquires(x, y) {}, acquires(y, x) {},
      ]),
    Litmus(
      name: "two writers, two readers: full fences",
      shows: Set((0..<16).map { (number: Int) in (0..<4).map { String(number >> $0 & 1) }.joined() }).subtracting([
        "1010"
      ]),
      bodies: [
        { x.storeRelease(1) }, { y.storeRelease(1) }, acquires(x, y) { fenceFull() }, acquires(y, x) { fenceFull() },
      ]),
    // Nothing is done before what comes before it: C's memory model would show 11, too.
    Litmus(
      name: "load, then store to the other: not before", shows: ["00", "01", "10"],
      bodies: [
        {
          read(x.loadRelaxed())
          y.storeRelaxed(1)
        },
        {
          read(y.loadRelaxed())
          x.storeRelaxed(1)
        },
      ]),
    // Plain accesses.
    Litmus(
      name: "plain data behind release and acquire", shows: ["0", "11"],
      bodies: [
        {
          mp_model_write(plain, 1)
          y.storeRelease(1)
        },
        {
          let flag = y.loadAcquire()
          read(flag)
          if flag == 1 { read(mp_model_read(plain)) }
        },
      ]),
    Litmus(
      name: "plain data behind a relaxed load", shows: ["data race"],
      bodies: [
        {
          mp_model_write(plain, 1)
          y.storeRelease(1)
        }, { if y.loadRelaxed() == 1 { read(mp_model_read(plain)) } },
      ]),
    Litmus(
      name: "plain data under a mutex", shows: ["01", "10"],
      bodies: [underMutex, underMutex]),
    // Waiting.
    Litmus(
      name: "a pause until somebody writes", shows: ["1"],
      bodies: [
        {
          while x.loadRelaxed() == 0 { mp_pause() }
          read(x.loadRelaxed())
        }, { x.storeRelaxed(1) },
      ]),
    Litmus(
      name: "a pause that nobody ends", shows: ["does not come to an end"],
      bodies: [{ while x.loadRelaxed() == 0 { mp_pause() } }, { _ = x.fetchOrRelaxed(0) }]),
    Litmus(
      name: "a wait that is woken", shows: ["1"],
      bodies: [
        {
          while x.loadRelaxed() == 0 { mp_futex_wait(x.word, 0) }
          read(x.loadRelaxed())
        },
        {
          x.storeRelaxed(1)
          mp_futex_wake(x.word, 1)
        },
      ]),
    Litmus(
      name: "a wait that is woken too early", shows: ["no thread can go on"],
      bodies: [
        { while x.loadRelaxed() == 0 { mp_futex_wait(x.word, 0) } },
        {
          mp_futex_wake(x.word, 1)
          x.storeRelaxed(1)
        },
      ]),
    Litmus(
      name: "two mutexes in two orders", shows: ["no thread can go on"],
      bodies: [{ mutex.withLock { other.withLock {} } }, { other.withLock { mutex.withLock {} } }]),
  ]

  private static func storeAndLoad(
    _ one: AtomicPointer, _ other: AtomicPointer, _ fence: @escaping () -> Void
  ) -> () -> Void {
    {
      one.storeRelaxed(1)
      fence()
      read(other.loadRelaxed())
    }
  }

  private static func loads(_ one: AtomicPointer, _ other: AtomicPointer) -> () -> Void {
    {
      read(one.loadRelaxed())
      read(other.loadRelaxed())
    }
  }

  private static func acquires(
    _ one: AtomicPointer, _ other: AtomicPointer, _ fence: @escaping () -> Void
  ) -> () -> Void {
    {
      read(one.loadAcquire())
      fence()
      read(other.loadAcquire())
    }
  }

  private static func loadAndStore(_ word: AtomicPointer) -> () -> Void {
    {
      let value = word.loadRelaxed()
      word.storeRelaxed(value + 1)
      read(value)
    }
  }

  private static func underMutex() {
    mutex.withLock {
      let value = mp_model_read(plain)
      mp_model_write(plain, value + 1)
      read(value)
    }
  }
}
