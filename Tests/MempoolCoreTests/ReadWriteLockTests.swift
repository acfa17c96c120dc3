import Testing

@testable import MempoolCore

@Suite struct ReadWriteLockTests {
  final class Lock: @unchecked Sendable {
    let pointer = ReadWriteLockPointer.allocate(capacity: 1)
    // Under the write lock.
    var number = 0
    var copies = [Int](repeating: 0, count: 8)

    init() { pointer.initialize(to: ReadWriteLock()) }
    deinit { pointer.deallocate() }
  }

  /// All of them are inside at once, or nobody would ever leave.
  @Test func readersProceedTogether() {
    let lock = Lock(), inside = ThreadGate(8)
    TestThread.run(8) { _ in
      for _ in 0..<50 {
        lock.pointer.lockRead()
        inside.arrive()
        lock.pointer.unlockRead()
      }
    }
    #expect(lock.pointer.tryLockWrite())
    #expect(!lock.pointer.tryLockRead() && !lock.pointer.tryLockWrite())
    lock.pointer.unlockWrite()
  }

  /// While a writer waits for the reader that is in, no other reader comes in; so it need not wait for more.
  @Test func aWaitingWriterHoldsNewReadersOff() {
    let lock = Lock()
    lock.pointer.lockRead()
    let writer = TestThread {
      lock.pointer.lockWrite()
      lock.number += 1
      lock.pointer.unlockWrite()
    }
    while lock.pointer.tryLockRead() { lock.pointer.unlockRead() }
    #expect(!lock.pointer.tryLockWrite())
    lock.pointer.unlockRead()
    writer.join()
    #expect(lock.number == 1)
    #expect(lock.pointer.tryLockRead())
    lock.pointer.unlockRead()
  }

  /// Readers that overlap all the time do not starve a writer: it gets in as often as it asks.
  @Test func aWriterIsNotStarved() {
    let lock = Lock(), findings = Findings()
    nonisolated(unsafe) var isOver = false
    TestThread.run(8) { number in
      if number == 0 {
        for _ in 0..<300 {
          lock.pointer.lockWrite()
          for index in lock.copies.indices { lock.copies[index] += 1 }
          lock.pointer.unlockWrite()
        }
        lock.pointer.lockWrite()
        isOver = true
        lock.pointer.unlockWrite()
        return
      }
      var goesOn = true
      while goesOn {
        lock.pointer.lockRead()
        goesOn = !isOver
        if Set(lock.copies).count != 1 { findings.report("read while somebody wrote") }
        lock.pointer.unlockRead()
      }
    }
    #expect(findings.all == [])
    #expect(lock.copies == [Int](repeating: 300, count: 8))
  }
}
