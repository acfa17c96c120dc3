import Foundation

@testable import MempoolCore

/// A page source that counts, fails on request, hands out pages full of garbage, and really frees what comes back.
final class TestPages: DensePageSource, @unchecked Sendable {
  private let lock = NSLock()
  private var out: Set<UInt> = []
  private var random = SplitMix64(seed: 1)
  private var claimCount = 0
  private var releaseCount = 0
  private var refusalCount = 0
  private let failEvery: Int?
  private let limit: Int

  /// Refuses every `failEvery`th claim, and any that would put more than `limit` pages out.
  init(failEvery: Int? = nil, limit: Int = .max) {
    self.failEvery = failEvery
    self.limit = limit
  }

  var claims: Int { lock.withLock { claimCount } }
  var refusals: Int { lock.withLock { refusalCount } }
  var pagesOut: Int { lock.withLock { out.count } }

  func claimPage() -> UInt? {
    lock.withLock {
      claimCount += 1
      if failEvery.map({ claimCount % $0 == 0 }) ?? false || out.count >= limit {
        refusalCount += 1
        return nil
      }
      let count = Int(DensePage.byteCount)
      let page = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: count)
      for offset in stride(from: 0, to: count, by: 8) {
        page.storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
      }
      out.insert(UInt(bitPattern: page))
      return UInt(bitPattern: page)
    }
  }

  func releasePage(_ address: UInt) {
    lock.withLock {
      precondition(out.remove(address) != nil, "a page was released that is not out")
      releaseCount += 1
      UnsafeMutableRawPointer(bitPattern: address)!.deallocate()
    }
  }
}

extension DenseFit {
  static let both: [DenseFit] = [.lists, .tree]
}

/// A dense heap with pages of its own, all of them given back at the end.
final class TestDenseHeap: @unchecked Sendable {
  let heap: DenseHeapPointer = .allocate(capacity: 1)
  let pages: TestPages

  init(_ fit: DenseFit, _ pages: TestPages = TestPages()) {
    self.pages = pages
    heap.initialize(to: DenseHeap(fit: fit))
  }

  deinit {
    heap.releaseAllPages(to: pages)
    precondition(pages.pagesOut == 0)
    heap.deallocate()
  }

  func allocate(_ byteCount: Int, alignment: UInt = 1) -> UInt? {
    heap.allocate(UInt(byteCount), alignment: alignment, from: pages)
  }

  @discardableResult
  func deallocate(_ address: UInt) -> DenseHeapFault? { heap.deallocate(address, to: pages) }

  /// Takes an object back as a thread does that does not own the heap.
  @discardableResult
  func freeRemotely(_ address: UInt) -> DenseHeapFault? {
    switch heap.freeRemotely(address) {
    case .told: return nil
    case .first(let page):
      heap.push(page)
      return nil
    case .fault(let fault): return fault
    }
  }

  func collect() {
    heap.enter()
    heap.collect(to: pages)
    heap.leave()
  }

  /// Joins what rests.
  func rouseAll() {
    heap.enter()
    heap.rouseAll(to: pages)
    heap.leave()
  }

  func usable(_ address: UInt) -> Int { Int(heap.usableSize(address) ?? 0) }

  /// Units of the largest free block.
  var largestRun: UInt {
    var largest: UInt = 0
    var page = heap.pointee.pages
    while let current = page {
      _ = current.walk { _, block in
        if !block.isAllocated { largest = max(largest, block.size) }
        return true
      }
      page = current.pointee.next
    }
    return largest
  }
}

/// The bytes at an address.
func bytes(_ address: UInt, _ count: Int) -> UnsafeMutableRawBufferPointer {
  UnsafeMutableRawBufferPointer(start: UnsafeMutableRawPointer(bitPattern: address), count: count)
}

extension UnsafeMutableRawBufferPointer {
  func fill(_ byte: UInt8) { initializeMemory(as: UInt8.self, repeating: byte) }
}
