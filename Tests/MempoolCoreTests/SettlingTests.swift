import Testing

@testable import MempoolCore

/// Several threads' steps on one cell, run by one thread in every order that there is.
@Suite struct SettlingTests {
  /// A thread that claims and releases an item of its own, telling the tree each time it made a difference.
  private struct Actor: Hashable {
    let item: UInt
    var togglesLeft: Int
    var settling: Settling?

    /// Does the next thing; false when there is none.
    mutating func step(_ bitmap: AtomicBitmap, _ cell: Int) -> Bool {
      if var current = settling {
        settling = current.step(bitmap.tree(0)) ? current : nil
        return true
      }
      guard togglesLeft > 0 else { return false }
      togglesLeft -= 1
      let word = bitmap.word(ofCell: cell)
      let old = word.loadRelaxed()
      word.storeRelaxed(old ^ item)
      if (old == Cell.busy) != (old ^ item == Cell.busy) {
        settling = Settling(index: cell / 64, mask: 1 << UInt(cell % 64))
      }
      return true
    }
  }

  private struct State: Hashable {
    var words: [UInt]
    var actors: [Actor]
  }

  /// Two levels of hints; the cell is the only one of its 64 that is not full, so its hint decides about the level above.
  @Test func everyOrderOfThreeThreads() {
    let cell = 3
    let test = TestBitmap(items: 65 * 64, runLengths: [.one])
    let bitmap = test.bitmap
    for other in 0..<64 where other != cell { #expect(bitmap.tryClaim(cell: other)) }
    #expect(bitmap.tryClaim(run: 61, at: cell * 64 + 3))
    let shared = (0..<3).map { bitmap.hints.advanced(by: $0) } + [bitmap.word(ofCell: cell)]
    func restore(_ state: State) { for (word, value) in zip(shared, state.words) { word.storeRelaxed(value) } }
    var orders = 0
    var wrong = 0
    for initial in 0..<8 as Range<UInt> {
      for toggles in [[1, 1, 1], [2, 1, 1], [2, 2, 1], [3, 2, 0]] {
        test.fill(cell, initial)
        let actors = (0..<3).map { Actor(item: 1 << UInt($0), togglesLeft: toggles[$0]) }
        let start = State(words: shared.map { $0.loadRelaxed() }, actors: actors)
        var seen: Set<State> = [start]
        var stack = [start]
        while let state = stack.popLast() {
          var isLast = true
          for number in 0..<3 {
            var next = state
            restore(state)
            guard next.actors[number].step(bitmap, cell) else { continue }
            isLast = false
            next.words = shared.map { $0.loadRelaxed() }
            if seen.insert(next).inserted { stack.append(next) }
          }
          if isLast {
            restore(state)
            orders += 1
            if !bitmap.checkInvariants() { wrong += 1 }
          }
        }
        restore(start)
        for item in 0..<3 where initial >> UInt(item) & 1 == 1 { bitmap.release(at: cell * 64 + item) }
      }
    }
    #expect(wrong == 0)
    #expect(orders >= 32)  // an end for each beginning at least
  }
}
