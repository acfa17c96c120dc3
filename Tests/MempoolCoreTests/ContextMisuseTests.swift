import Foundation
import Testing

@testable import MempoolCore

/// Misuse of contexts: the exact line, in a process of its own, and SIGABRT.
@Suite struct ContextMisuseTests {
  private func expect(_ result: ExitTest.Result?, _ what: String) {
    let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
    let lines = text.split(separator: "\n").filter { $0.hasPrefix("mempool: ") }
    let isIt = lines.count == 1 && lines[0].hasPrefix("mempool: context(0x") && lines[0].hasSuffix("): \(what)")
    #expect(isIt, "\(what)\n\(text)")
  }

  @Test("X13: freeing twice, using what was freed, and an overwritten block, in a pool and outside of it")
  func misuseEndsTheProcess() async {
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let block = ContextPointer.allocate(16, under: nil, isStrict: false)!
        block.free(at: nil)
        block.free(at: nil)
      }, "access after free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = ContextPointer.allocatePool(0, capacity: 1000, under: nil, isStrict: false)!
        let blocks = (0..<3).map { _ in ContextPointer.allocate(16, under: pool, isStrict: false)! }
        blocks[1].free(at: nil)
        _ = ContextPointer(payload: blocks[1].payload)
      }, "access after free")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let pool = ContextPointer.allocatePool(0, capacity: 1000, under: nil, isStrict: true)!
        let blocks = (0..<3).map { _ in ContextPointer.allocate(16, under: pool, isStrict: true)! }
        blocks[0].payload.initializeMemory(as: UInt8.self, repeating: 0, count: 32)
        pool.free(at: nil)
      }, "unknown value")
    expect(
      await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: 256, alignment: 16)
        memory.initializeMemory(as: UInt8.self, repeating: 7, count: 256)
        _ = ContextPointer(payload: memory + 128)
      }, "unknown value")
  }
}
