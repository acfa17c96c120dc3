import CMempoolShims
import Foundation
import Testing

@testable import MempoolCore

/// Two threads free one object at the same moment, each after it has seen that it is out: the owner is told when it looks at what others have freed.
/// Here one thread does the steps of both.
@Suite struct RacingFreesTests {
  @Test func ofASlab() async {
    let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
      let pool = try TestPool(.elastic).keptPool
      let address = UInt(bitPattern: pool.allocate(100))
      let entry = pool.pointee.first.entry(of: address)
      let slab = SlabPointer(bitPattern: entry.slab.loadRelaxed()).unsafelyUnwrapped
      let item = (address - slab.address) / SizeClass.itemSize(Int(slab.pointee.sizeClass)) + 1
      slab.deallocateRemotely(item, CallName("other"))
      _ = slab.put(item)
      slab.collect()
    }
    #expect(isReported(result, "free"), "\(lines(result))")
  }

  @Test func ofACache() async {
    let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
      let cache = try TestPool(.elastic).keptPool.makeCache(itemSize: 48)
      let address = UInt(bitPattern: cache.take())
      guard case .page(let page) = cache.place(address) else { return }
      let item = page.item(address).item, index = item >> 6, bit: UInt = 1 << (item & 63)
      let held = page.held(index).loadRelaxed()
      page.putRemotely(index, bit, "other")
      page.held(index).storeRelease(held | bit)
      page.giveBack(index)
    }
    #expect(isReported(result, "slab cache"), "\(lines(result))")
  }

  @Test func ofAnObjectPool() async {
    let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
      let pool = try MemoryPoolPointer.shared.makeObjectPool(itemSize: 48, count: 100)
      let address = UInt(bitPattern: pool.acquire())
      guard case .prepared(let page) = ObjectPlace(address) else { return }
      let item = (address - page.pointee.base) / page.pointee.pool.pointee.stride, index = item >> 6,
        bit: UInt = 1 << (item & 63)
      guard page.free(index, bit) else { return }
      page.putHeld(index, bit)
      page.giveBack(index)
    }
    #expect(isReported(result, "object pool"), "\(lines(result))")
  }

  private func isReported(_ result: ExitTest.Result?, _ call: String) -> Bool {
    lines(result).contains { $0.hasPrefix("mempool: \(call)(0x") && $0.hasSuffix("): double free") }
  }
}
