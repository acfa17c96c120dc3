import CMempoolShims
import ModelMachine

@testable import MempoolCore

/// A mutex, a lock of readers and writers, and a word that each guards.
private enum Bench {
  static var mutex: MutexPointer { mp_machine_memory().assumingMemoryBound(to: Mutex.self) }
  static var lock: ReadWriteLockPointer {
    (mp_machine_memory() + 64).assumingMemoryBound(to: ReadWriteLock.self)
  }
  static var word: UnsafeMutableRawPointer { mp_machine_memory() + 128 }

  static func make() {
    Items.clear()
    Items.keep()
    Names.add(UInt(bitPattern: mutex), "mutex")
    Names.add(UInt(bitPattern: lock), 16) { $0 == 0 ? "lock" : "lock.wakeups" }
    Names.add(UInt(bitPattern: word), "what is guarded")
  }

  static func add() { mp_model_write(word, mp_model_read(word) + 1) }

  static func underMutex() {
    mutex.withLock {
      if !mutex.isHeldByThisThread { mp_model_fail("a mutex does not know its owner") }
      add()
    }
  }

  static func tryMutex() {
    guard mutex.tryLock() else { return }
    add()
    mutex.unlock()
  }

  static func write() {
    lock.lockWrite()
    add()
    lock.unlockWrite()
  }

  static func tryWrite() {
    guard lock.tryLockWrite() else { return }
    add()
    lock.unlockWrite()
  }

  static func read() {
    lock.lockRead()
    _ = mp_model_read(word)
    lock.unlockRead()
  }

  /// No writer has the lock together with a reader. That nobody has either lock holds only in the end; that no two are inside at once
  /// shows in what they guard.
  static func always() -> String? {
    let state = lock.state.loadRelaxed()
    return state & 1 != 0 && state >> 2 != 0 ? "a writer beside readers" : nil
  }

  static func check(atLeast least: UInt, atMost most: UInt) -> String? {
    let count = mp_model_read(word)
    if count < least || count > most { return "\(count) additions, not \(least) to \(most)" }
    if !mutex.tryLock() { return "the mutex is held by nobody" }
    if !lock.tryLockWrite() { return "the lock is held by nobody" }
    return nil
  }
}

/// What waits: with spins of one, so that it soon sleeps in the kernel.
let lockScenarios: [Scenario] = [
  Scenario(
    name: "mutex", summary: "3 threads lock a mutex",
    bodies: [{ Bench.underMutex() }, { Bench.underMutex() }, { Bench.underMutex() }],
    setUp: { Bench.make() }, check: { Bench.check(atLeast: 3, atMost: 3) }, bound: 4, fullBound: 6),
  Scenario(
    name: "mutex-again", summary: "2 threads lock a mutex twice, a third tries",
    bodies: [
      {
        Bench.underMutex()
        Bench.underMutex()
      },
      {
        Bench.underMutex()
        Bench.underMutex()
      },
      { Bench.tryMutex() },
    ],
    setUp: { Bench.make() }, check: { Bench.check(atLeast: 4, atMost: 5) }, bound: 3, fullBound: 5),
  Scenario(
    name: "lock", summary: "a lock of readers and writers: 2 writers, a reader",
    bodies: [{ Bench.write() }, { Bench.read() }, { Bench.write() }],
    setUp: { Bench.make() }, check: { Bench.check(atLeast: 2, atMost: 2) }, bound: 3, fullBound: 5),
  Scenario(
    name: "lock-readers", summary: "the same: 2 readers, one of them twice, a writer",
    bodies: [
      {
        Bench.read()
        Bench.read()
      }, { Bench.write() }, { Bench.read() },
    ],
    setUp: { Bench.make() }, check: { Bench.check(atLeast: 1, atMost: 1) }, bound: 3, fullBound: 5),
  Scenario(
    name: "lock-try", summary: "the same: a writer, one that only tries, and a reader",
    bodies: [{ Bench.write() }, { Bench.tryWrite() }, { Bench.read() }],
    setUp: { Bench.make() }, check: { Bench.check(atLeast: 1, atMost: 2) }, bound: 3, fullBound: 5),
].map { $0.watched(by: Bench.always) }
