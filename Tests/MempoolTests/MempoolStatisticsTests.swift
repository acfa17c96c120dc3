import Foundation
import Testing

@testable import Mempool
@testable import MempoolCore

@Suite struct MempoolStatisticsTests {
  @Test func theFaceShowsEachFigureUnderItsName() throws {
    var core = PoolStatistics()
    withUnsafeMutableBytes(of: &core) { bytes in
      let words = bytes.bindMemory(to: UInt.self)
      for index in words.indices { words[index] = UInt(1000 + index) }
    }
    core.classCount = 3
    let statistics = MempoolStatistics(core)
    let parsed = try JSONSerialization.jsonObject(with: Data(statistics.json.utf8))
    let object = try #require(parsed as? [String: Any])
    var figures = object
    figures["classes"] = nil
    // `requestedBytes` for `requested_bytes`: the document's rule.
    let source = try String(
      contentsOf: URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("Sources/Mempool/MempoolStatistics.swift"), encoding: .utf8)
    for key in figures.keys {
      let words = key.split(separator: "_")
      let name = words[0] + words.dropFirst().map { $0 == "id" ? "ID" : $0.capitalized }.joined()
      #expect(source.contains("public var \(name): Int { Int(truncatingIfNeeded: core.\(name)) }"), "\(key)")
    }
    #expect(statistics.allocatedBytes == object["allocated_bytes"] as? Int)
    #expect(statistics.heapCount == object["heap_count"] as? Int)
    #expect(statistics.classes.map(\.itemSize) == (object["classes"] as? [[String: Int]])?.map { $0["item_size"] })
    #expect(statistics.classes.count == 3)
    #expect(statistics.description.contains("allocated_bytes"))
    #expect(!statistics.description.hasSuffix("\n") && !statistics.json.hasSuffix("\n"))
  }

  @Test func utilizationIsAPart() {
    var core = PoolStatistics()
    core.classCount = 2
    core.classes[0].liveItems = 1
    core.classes[0].capacity = 4
    let classes = MempoolStatistics(core).classes
    #expect(classes.map(\.utilization) == [0.25, 0])
  }
}

@Suite struct ProcessMemoryTests {
  @Test func theKernelsTextIsRead() {
    let text = """
      55d0c0a5e000-7ffd4b5f6000 ---p 00000000 00:00 0                          [rollup]
      Rss:                1234 kB
      Private_Dirty:       100 kB
      LazyFree:              7 kB
      AnonHugePages:      2048 kB
      """
    let memory = ProcessMemory(smaps: text)
    #expect(memory?.residentBytes == 1234 * 1024)
    #expect(memory?.privateDirtyBytes == 100 * 1024)
    #expect(memory?.lazyFreeBytes == 7 * 1024)
    #expect(memory?.anonymousHugePageBytes == 2048 * 1024)
    #expect(ProcessMemory(smaps: "Rss: x kB") == nil)
  }

  #if os(Linux)
    @Test func thisProcessHasMemory() throws {
      let memory = try #require(ProcessMemory.current())
      #expect(memory.residentBytes > 1 << 20)
      #expect(memory.privateDirtyBytes > 0 && memory.privateDirtyBytes <= memory.residentBytes)
    }
  #endif
}
