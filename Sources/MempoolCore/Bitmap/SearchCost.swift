/// What a search looked at: kept in registers, for tests and studies.
struct SearchCost {
  /// Words read: hints and cells.
  var wordsRead = 0
  /// Swaps tried again because the cell had changed.
  var lostSwaps: UInt = 0
}
