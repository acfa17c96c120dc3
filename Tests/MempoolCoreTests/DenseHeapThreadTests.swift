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

  /// Each thread allocates from a heap of its own, or only one does; most objects are freed by another thread, which finds the
  /// heap from the pointer. Pages come and go the while.
  @Test(arguments: [1, threads], DenseFit.both)
  func freesByOtherThreads(heapCount: Int, fit: DenseFit) {
    let seed = SplitMix64.seed("freesByOtherThreads(heapCount: \(heapCount), \(fit))")
    let pages = TestPages()
    let heaps = (0..<heapCount).map { _ in TestDenseHeap(fit, pages) }
    let mailboxes = (0..<Self.threads).map { _ in Mailbox() }
    let findings = Findings()

    @Sendable func free(_ object: (address: UInt, pattern: UInt8), by own: TestDenseHeap?) {
      guard let heap = heaps.first(where: { $0.heap == DenseHeapPointer.owner(of: object.address) }) else {
        return findings.report("a page without a heap")
      }
      let count = heap.usable(object.address)
      if count == 0 || !bytes(object.address, count).allSatisfy({ $0 == object.pattern }) {
        findings.report("content changed")
      }
      let fault = heap === own ? heap.deallocate(object.address) : heap.freeRemotely(object.address)
      if let fault { findings.report("\(fault)") }
    }

    TestThread.run(Self.threads) { index in
      var random = SplitMix64(seed: seed &+ UInt64(index))
      let own = index < heapCount ? heaps[index] : nil
      for step in 0..<6000 {
        if let own, step % 1000 < 700 {
          guard let address = own.allocate(random.below(600)) else { return findings.report("no memory") }
          let pattern = UInt8(truncatingIfNeeded: random.next())
          bytes(address, own.usable(address)).fill(pattern)
          mailboxes[random.below(Self.threads)].put(address, pattern)
        }
        for _ in 0..<(step % 1000 < 700 ? 1 : 2) { mailboxes[index].take().map { free($0, by: own) } }
      }
    }
    #expect(findings.all == [], "seed \(seed)")
    for heap in heaps { #expect(heap.heap.checkInvariants()) }
    for mailbox in mailboxes { while let object = mailbox.take() { free(object, by: nil) } }
    #expect(findings.all == [], "seed \(seed)")
    for heap in heaps {
      #expect(heap.heap.statistics().liveBlocks == 0)
      #expect(heap.heap.checkInvariants())
      _ = heap.heap.defragment(to: pages)
      #expect(heap.heap.checkInvariants())
    }
    #expect(pages.pagesOut == 0)
  }

  @Test(arguments: DenseFit.both)
  func ofManyThreadsThatFreeOneObjectOneSucceeds(fit: DenseFit) {
    let test = TestDenseHeap(fit)
    for _ in 0..<50 {
      let findings = Findings()
      let successes = Mailbox()
      guard let object = test.allocate(100), let keeper = test.allocate(100) else { return }
      TestThread.run(Self.threads) { _ in
        switch test.freeRemotely(object) {
        case nil: successes.put(object, 0)
        case .doubleFree: break
        case let fault?: findings.report("\(fault)")
        }
      }
      #expect(successes.take() != nil)
      #expect(successes.take() == nil)
      #expect(findings.all == [])
      #expect(test.deallocate(object) == .doubleFree)
      #expect(test.deallocate(keeper) == nil)
      test.collect()
    }
    #expect(test.heap.checkInvariants())
  }

  /// The owner joins and splits blocks beside objects that others look at and free: what these see of them is never wrong.
  @Test(arguments: DenseFit.both)
  func neighboursComeAndGoWhileOthersFree(fit: DenseFit) {
    let test = TestDenseHeap(fit)
    let mailbox = Mailbox(), findings = Findings(), isOver = Mailbox()
    TestThread.run(3) { index in
      var random = SplitMix64(seed: UInt64(index))
      if index > 0 {
        while isOver.take() == nil {
          guard let object = mailbox.take() else { continue }
          if test.usable(object.address) < 16 { findings.report("a wrong size") }
          if let fault = test.freeRemotely(object.address) { findings.report("\(fault)") }
        }
        return
      }
      var own: [UInt] = []
      for step in 0..<40_000 {
        guard let address = test.allocate(16 + random.below(100)) else { return findings.report("no memory") }
        if step % 2 == 0 { mailbox.put(address, 0) } else { own.append(address) }
        if own.count > 20, let fault = test.deallocate(own.remove(at: random.below(own.count))) {
          findings.report("\(fault)")
        }
      }
      for _ in 0..<2 { isOver.put(0, 0) }
    }
    #expect(findings.all == [])
    #expect(test.heap.checkInvariants())
    test.collect()
    #expect(test.heap.checkInvariants())
  }
}
