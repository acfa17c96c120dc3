import CMempoolShims

/// Sizes of the two units that a segment is cut into. Fixed: a cell is a machine word of 64 fragments.
public enum Page {
  @inlinable @inline(__always) public static var shift: UInt { 14 }
  @inlinable @inline(__always) public static var byteCount: UInt { 1 << shift }
  @inlinable @inline(__always) public static var fragmentShift: UInt { 8 }
  @inlinable @inline(__always) public static var fragmentByteCount: UInt { 1 << fragmentShift }
  @inlinable @inline(__always) public static var fragmentCount: UInt { byteCount / fragmentByteCount }
}

/// What a page is used for: all that `free` has to know of a pointer, in half a cache line, outside the page.
///
/// A page is written by whoever holds it: the words are relaxed atomics so that anybody may look. A page of which nobody
/// holds all fragments is cut into runs of fragments, the state that all zeroes say.
///
/// | word | slab | runs of fragments | first page of a long run | other kinds |
/// | --- | --- | --- | --- | --- |
/// | `reciprocal` | ⌈2^64 / item size⌉ | 0 | 0 | 0 |
/// | `base` | first item, less one item | first fragments of runs | fragments in the run | 0 |
/// | `slab` | its slab | last fragments of runs | 0 | its owner's record |
/// | `heap` | its heap | kind, and pages back to a run's head | kind | kind, and pages back |
///
/// In a hardened pool `slab` of the first page of a long run is its ``LargeNote``.
public struct PageEntry {
  public var reciprocal: AtomicWord
  public var base: AtomicWord
  public var slab: AtomicWord
  public var heap: AtomicWord
}

public typealias PageEntryPointer = UnsafeMutablePointer<PageEntry>

/// The low byte of an entry's `heap` word where that is no heap: heaps are aligned to 64, so none looks like these.
public enum PageKind: UInt {
  /// Cut into runs of fragments, or free. The rest of the word: pages back to the long run that ends in this page.
  case fragments = 0
  /// The first page of a run of more than a page.
  case longRun = 1
  /// A further whole page of one. The rest of the word: pages back to its head.
  case longRunRest = 2
  /// A page of a slab cache.
  case cache = 3
  /// A page of a dense heap.
  case dense = 4
  /// A page of the segment's own metadata.
  case metadata = 5
  /// A page behind a slab that nobody may access.
  case guardPage = 6
  /// A page of an object pool's.
  case object = 7
}

extension UnsafeMutablePointer where Pointee == PageEntry {
  @inlinable @inline(__always) public var reciprocal: AtomicPointer { AtomicPointer(self, word: 0) }
  @inlinable @inline(__always) public var base: AtomicPointer { AtomicPointer(self, word: 1) }
  @inlinable @inline(__always) public var slab: AtomicPointer { AtomicPointer(self, word: 2) }
  @inlinable @inline(__always) public var heap: AtomicPointer { AtomicPointer(self, word: 3) }

  // The same words, under the names they have in a page cut into runs.
  var heads: AtomicPointer { base }
  var lasts: AtomicPointer { slab }

  /// Whether the page belongs to a heap's slab.
  var isSlab: Bool { reciprocal.loadRelaxed() != 0 }

  /// What the page is, unless it is a slab.
  var kind: PageKind { PageKind(rawValue: heap.loadRelaxed() & 0xff) ?? .fragments }

  /// Whether the page is a dense heap's.
  var isDense: Bool { heap.loadRelaxed() == PageKind.dense.rawValue }

  /// Pages back to the head of what this page belongs to, or ends; 0: none.
  var pagesBack: UInt { heap.loadRelaxed() >> 8 }

  func setKind(_ kind: PageKind, pagesBack: UInt = 0) { heap.storeRelaxed(kind.rawValue | pagesBack << 8) }

  /// Back to a page cut into runs, with none in it. By whoever holds the whole page.
  func reset() {
    reciprocal.storeRelaxed(0)
    base.storeRelaxed(0)
    slab.storeRelaxed(0)
    heap.storeRelaxed(0)
  }
}
