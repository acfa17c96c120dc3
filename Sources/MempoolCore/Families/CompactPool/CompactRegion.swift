import CMempoolShims

/// 64 KiB of a compact pool: blocks without gaps, each with a 4-byte header, over 16 pages of the system's, of which only those hold memory
/// that something lies in. Or the beginning of an object with pages of its own.
///
/// The record lies in the metadata arena and is never given back before its pool. It belongs to one shard from the claim to the release;
/// what is no word of its own is under that shard's lock.
struct CompactRegion {
  // First, as ThreadSanitizer takes a write to any field for one to the record's first word: it has to be one under the lock.
  // Bit n: page n holds memory.
  var held: UInt16 = 0
  // Bit n: page n holds memory, and lies in a free block. idle & ~held == 0
  var idle: UInt16 = 0
  var liveBlocks: UInt16 = 0
  // In its shard's list of regions with idle pages.
  var isListed = false
  // The mapping: 0 when there is none; else mapped | recent | moving | pin × number of pins.
  var pins = AtomicWord()  // 1
  // Where it is mapped, while it is.
  var address = AtomicWord()  // 2
  // 0: free. Kind | shard << 8
  var owner = AtomicWord()  // 3
  // Bytes that are mapped, while it is.
  var mappedBytes = AtomicWord()  // 4
  // Of an object with pages of its own, its exact size.
  var runBytes = AtomicWord()  // 5
  // Numbers of regions: of the neighbours in the list of those with idle pages, and among those mapped.
  var nextListed: UInt32 = 0
  var previousListed: UInt32 = 0
  var nextMapped: UInt32 = 0
  var previousMapped: UInt32 = 0

  enum Kind {
    static var none: UInt { 0 }
    static var blocks: UInt { 1 }
    static var run: UInt { 2 }
    /// Of a pool that another process made.
    static var foreign: UInt { 3 }
    static var mask: UInt { 0xff }
  }

  enum Pins {
    static var mapped: UInt { 1 }
    /// Pinned since the window last looked at it.
    static var recent: UInt { 2 }
    /// Its objects are being moved: nobody may pin it.
    static var moving: UInt { 4 }
    static var pin: UInt { 8 }
  }

  static var shift: UInt { 16 }
  static var byteCount: UInt { 1 << shift }
  static var unitShift: UInt { 14 }
  static var unitCount: UInt { 1 << unitShift }
  static var unitBytes: UInt { 4 }
  /// Units of a free block that has room for its links; smaller ones wait for a neighbour to take them in.
  static var leastListed: UInt { 3 }
}

typealias CompactRegionPointer = UnsafeMutablePointer<CompactRegion>

extension UnsafeMutablePointer where Pointee == CompactRegion {
  var pins: AtomicPointer { AtomicPointer(self, word: 1) }
  var address: AtomicPointer { AtomicPointer(self, word: 2) }
  var owner: AtomicPointer { AtomicPointer(self, word: 3) }
  var mappedBytes: AtomicPointer { AtomicPointer(self, word: 4) }
  var runBytes: AtomicPointer { AtomicPointer(self, word: 5) }

  var isPinned: Bool { pins.loadRelaxed() >= CompactRegion.Pins.pin }
}

/// A region's bytes, while it is mapped.
struct CompactMemory {
  let start: UInt

  func address(_ unit: UInt) -> UInt { start + unit * CompactRegion.unitBytes }

  private func word(_ unit: UInt) -> UnsafeMutablePointer<UInt32> {
    UnsafeMutablePointer(bitPattern: address(unit)).unsafelyUnwrapped
  }

  func header(_ unit: UInt) -> CompactHeader { CompactHeader(unchecked: mp_load32_relaxed(word(unit))) }
  func setHeader(_ unit: UInt, _ header: CompactHeader) { mp_store32_relaxed(word(unit), header.word) }

  /// Any other word: of a free block's links, or an object's slot.
  subscript(unit: UInt) -> UInt32 {
    get { word(unit).pointee }
    nonmutating set { word(unit).pointee = newValue }
  }

  func payload(_ unit: UInt) -> UnsafeMutableRawPointer { UnsafeMutableRawPointer(word(unit + 1)) }

  private var firstWord: AtomicPointer { AtomicPointer(address: start) }

  /// The size of an object with pages of its own, which its first eight bytes say to who attaches.
  var runBytes: UInt {
    get { firstWord.loadRelaxed() }
    nonmutating set { firstWord.storeRelaxed(newValue) }
  }

  /// Where the payload of such an object begins, and the unit of its header.
  static var runOffset: UInt { 16 }
  static var runUnit: UInt { 3 }
}
