import Foundation
import Testing

@testable import MempoolCore

/// Objects on their way from the thread that allocated them to the one that frees them.
private final class Mailbox: @unchecked Sendable {
  private let lock = NSLock()
  private var objects: [(address: UInt, pattern: UInt8)] = []

  func put(_ address: UInt, _ pattern: UInt8) { lock.withLock { objects.append((address, pattern)) } }
  func take() -> (address: UInt, pattern: UInt8)? { lock.withLock { objects.popLast() } }
}

@Suite struct DenseHeapThreadTests {
  static let threads = 8

  /// Each thread allocates from its own heap, or all from one; most objects are freed by another thread, which finds the
  /// heap from the pointer. Pages come and go the while.
  @Test(arguments: [1, threads])
  func freesByOtherThreads(heapCount: Int) {
    let seed = SplitMix64.seed("freesByOtherThreads(heapCount: \(heapCount))")
    let pages = TestPages()
    let heaps = (0..<heapCount).map { _ in TestDenseHeap(pages) }
    let mailboxes = (0..<Self.threads).map { _ in Mailbox() }
    let findings = Findings()

    @Sendable func free(_ object: (address: UInt, pattern: UInt8)) {
      guard let heap = DenseHeapPointer.owner(of: object.address) else {
        return findings.report("a page without a heap")
      }
      let count = Int(heap.usableSize(object.address) ?? 0)
      if count == 0 || !bytes(object.address, count).allSatisfy({ $0 == object.pattern }) {
        findings.report("content changed")
      }
      if let fault = heap.deallocate(object.address, to: pages) { findings.report("\(fault)") }
    }

    TestThread.run(Self.threads) { index in
      var random = SplitMix64(seed: seed &+ UInt64(index))
      let own = heaps[index % heapCount]
      for step in 0..<6000 {
        if step % 1000 < 700 {
          guard let address = own.allocate(random.below(600)) else { return findings.report("no memory") }
          let pattern = UInt8(truncatingIfNeeded: random.next())
          bytes(address, own.usable(address)).fill(pattern)
          mailboxes[random.below(Self.threads)].put(address, pattern)
        }
        for _ in 0..<(step % 1000 < 700 ? 1 : 2) { mailboxes[index].take().map(free) }
      }
    }
    #expect(findings.all == [], "seed \(seed)")
    for heap in heaps { #expect(heap.heap.checkInvariants()) }
    for mailbox in mailboxes { while let object = mailbox.take() { free(object) } }
    #expect(findings.all == [], "seed \(seed)")
    for heap in heaps {
      #expect(heap.heap.checkInvariants())
      #expect(heap.heap.statistics().liveBlocks == 0)
      _ = heap.heap.defragment(to: pages)
    }
    #expect(pages.pagesOut == 0)
  }

  @Test func ofManyThreadsThatFreeOneObjectOneSucceeds() {
    let test = TestDenseHeap()
    for _ in 0..<50 {
      let findings = Findings()
      let successes = Mailbox()
      guard let object = test.allocate(100), let keeper = test.allocate(100) else { return }
      TestThread.run(Self.threads) { _ in
        switch test.deallocate(object) {
        case nil: successes.put(object, 0)
        case .doubleFree: break
        case let fault?: findings.report("\(fault)")
        }
      }
      #expect(successes.take() != nil)
      #expect(successes.take() == nil)
      #expect(findings.all == [])
      #expect(test.deallocate(keeper) == nil)
    }
    #expect(test.heap.checkInvariants())
  }
}
