import CMempool
import CMempoolHeaders
import MempoolCore

/// mp_bitmap_*, on bare cells and with any argument, against an array of what is taken.
struct BitmapDriver {
  private static let cellCount = 5
  // With a cell before and behind that nobody may touch.
  private static nonisolated(unsafe) let memory = UnsafeMutablePointer<UInt>.allocate(capacity: cellCount + 2)
  private static let fence: UInt = 0xa5a5_a5a5_a5a5_a5a5

  private struct Run {
    var index: Int
    var count: Int
    var isCells: Bool
  }

  static func run(_ input: Input) throws {
    var input = input
    defaultBoundedWait.maxRetries = 0
    memory.initialize(repeating: 0, count: cellCount + 2)
    memory[0] = fence
    memory[cellCount + 1] = fence
    let bitmap = memory + 1
    let itemCount = 1 + input.below(cellCount * 64)
    var taken = [Bool](repeating: false, count: cellCount * 64), runs: [Run] = []
    func set(_ run: Run, _ value: Bool) throws {
      for item in run.index..<run.index + run.count {
        try demand(taken.indices.contains(item) && taken[item] != value, "item \(item) is taken twice, or not at all")
        taken[item] = value
      }
    }
    func cells(_ count: Int) -> Int { (count + 63) / 64 }
    while !input.isEmpty {
      let asked = input.below(4) == 0 ? Int(Int32(truncatingIfNeeded: input.size())) : input.byte()
      var found: Run?
      switch input.below(6) {
      case 0, 1:
        let index = Int(mp_bitmap_alloc(bitmap, Int32(itemCount), Int32(asked)))
        let mayBe = asked >= 1 && asked <= itemCount
        try demand(index == -1 || mayBe, "alloc of \(asked) of \(itemCount)")
        if index >= 0 { found = Run(index: index, count: asked, isCells: false) }
        // A single item is refused only by a bitmap that has none.
        if asked == 1, index < 0 { try demand(taken[..<itemCount].allSatisfy { $0 }, "one item refused") }
      case 2:
        let index = Int(mp_bitmap_alloc_cells(bitmap, Int32(itemCount), Int32(asked)))
        try demand(index == -1 || (asked >= 1 && asked <= cells(itemCount)), "alloc of \(asked) cells")
        if index >= 0 {
          try demand(index % 64 == 0, "cells that begin at item \(index)")
          found = Run(index: index, count: min(asked * 64, cells(itemCount) * 64 - index), isCells: true)
        }
      case 3:
        let cell = input.below(cellCount), limit = input.below(4) == 0 ? input.byte() - 100 : input.below(64) + 1
        let index = Int(mp_bitmap_cell_alloc(bitmap + cell, Int32(asked), Int32(limit)))
        try demand(index == -1 || (asked >= 1 && limit <= 64 && index + asked <= limit), "alloc of \(asked) in a cell")
        let first = (0..<(limit > 64 ? 0 : max(limit, 0))).first { start in
          asked >= 1 && start + asked <= limit && !taken[cell * 64 + start..<cell * 64 + start + asked].contains(true)
        }
        let expected = first ?? -1
        try demand(index == expected, "\(asked) in a cell of \(limit): \(index), not \(expected)")
        if index >= 0 { found = Run(index: cell * 64 + index, count: asked, isCells: false) }
      default:
        guard !runs.isEmpty else { continue }
        let run = runs.remove(at: Int(asked.magnitude % runs.count.magnitude))
        try set(run, false)
        if run.isCells {
          mp_bitmap_free_cells(bitmap, Int32(run.count), Int32(run.index))
        } else {
          mp_bitmap_free(bitmap, Int32(run.count), Int32(run.index))
        }
      }
      if let found {
        try set(found, true)
        runs.append(found)
      }
      try compare(bitmap, taken)
    }
    for run in runs { mp_bitmap_free(bitmap, Int32(run.count), Int32(run.index)) }
    try compare(bitmap, taken.map { _ in false })
  }

  private static func compare(_ bitmap: UnsafeMutablePointer<UInt>, _ taken: [Bool]) throws {
    try demand(memory[0] == fence && memory[cellCount + 1] == fence, "wrote outside of the bitmap")
    for item in taken.indices {
      let bit = bitmap[item / 64] >> UInt(item % 64) & 1
      try demand((bit == 1) == taken[item], "item \(item) is \(bit == 1 ? "taken" : "free")")
    }
  }
}
