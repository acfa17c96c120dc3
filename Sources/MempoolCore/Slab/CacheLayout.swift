/// How many neighbouring pages one page of a slab cache takes, and how many items it holds: a pure function of their stride.
///
/// One page of 16 KiB up to items of 2 KiB; from there as many as hold eight items, or one that is larger than a page, with at
/// most an eighth of them unused, if there is such a number soon.
struct CacheLayout {
  let pageCount: UInt
  let itemCount: UInt

  /// The fewest pages that hold an item.
  static func leastPageCount(stride: UInt) -> UInt { (stride + Page.byteCount - 1) >> Page.shift }

  init(stride: UInt, pageCount: UInt) {
    self.pageCount = pageCount
    itemCount = pageCount << Page.shift / stride
  }

  init(stride: UInt) {
    let wanted = stride > Page.byteCount ? 1 : 8 * stride
    let least = max(Self.leastPageCount(stride: stride), Self.leastPageCount(stride: wanted))
    var best = CacheLayout(stride: stride, pageCount: least)
    for pageCount in least...least + 7 {
      let next = CacheLayout(stride: stride, pageCount: pageCount)
      if next.waste(stride) * best.pageCount < best.waste(stride) * pageCount { best = next }
      if best.waste(stride) * 8 <= best.pageCount << Page.shift { break }
    }
    self = best
  }

  /// Bytes that no item takes.
  func waste(_ stride: UInt) -> UInt { pageCount << Page.shift - itemCount * stride }
}
