/// Memory that the caller brings, given out from its beginning to its end, and taken back only by going back to a mark.
///
/// The record lies at the beginning of the memory. Calls no operating system. For one thread at a time. An object costs its bytes,
/// what its alignment skips, and nothing else; every operation but zeroing is O(1).
public struct Region {
  // used <= peak <= capacity
  var used: UInt = 0
  var peak: UInt = 0
  // What is given out begins here, a multiple of 16.
  let base: UInt
  let capacity: UInt
  // == seal(address)
  let magic: UInt

  static var recordBytes: UInt { 48 }
}

public typealias RegionPointer = UnsafeMutablePointer<Region>

extension UnsafeMutablePointer where Pointee == Region {
  /// Makes a region in `byteCount` bytes from `start` on; nil when not one byte would be left.
  public static func make(in start: UnsafeMutableRawPointer?, _ byteCount: UInt) -> RegionPointer? {
    // As a pool of one-byte blocks, without the bits.
    let address = UInt(bitPattern: start)
    let (end, overflow) = address.addingReportingOverflow(byteCount)
    guard start != nil, !overflow, byteCount >> 57 == 0, address <= ~BlockLayout.alignment else { return nil }
    let record = (address + BlockLayout.alignment - 1) & ~(BlockLayout.alignment - 1)
    guard record < end, end - record > Region.recordBytes else { return nil }
    let region = RegionPointer(bitPattern: record).unsafelyUnwrapped
    let base = record + Region.recordBytes
    region.initialize(to: Region(base: base, capacity: end - base, magic: region.seal))
    return region
  }

  private var seal: UInt { (UInt(bitPattern: self) &* 0x9e37_79b9_7f4a_7c15) ^ 0x7265_6769_6f6e_2e2e }

  /// Whether there is a region here. Looks at a word of memory that must be readable.
  public var isSealed: Bool { pointee.magic == seal }

  /// Takes `byteCount` bytes of any content at a multiple of `alignment`, a power of two; nil when there is no room. 0 bytes
  /// give a distinct object of one byte.
  public func allocate(_ byteCount: UInt, alignment: UInt = 16) -> UnsafeMutableRawPointer? {
    let next = pointee.base + pointee.used
    let skip = (0 &- next) & (alignment - 1)
    let room = pointee.capacity - pointee.used
    let length = max(byteCount, 1)
    guard skip <= room, length <= room - skip else { return nil }
    pointee.used += skip + length
    pointee.peak = max(pointee.peak, pointee.used)
    return UnsafeMutableRawPointer(bitPattern: next + skip)
  }

  /// The same, all zero.
  public func allocateZeroed(_ byteCount: UInt, alignment: UInt = 16) -> UnsafeMutableRawPointer? {
    guard let pointer = allocate(byteCount, alignment: alignment) else { return nil }
    pointer.initializeMemory(as: UInt8.self, repeating: 0, count: Int(byteCount))
    return pointer
  }

  /// Where the region is now: bytes given out or skipped. 0 is its beginning.
  public var mark: UInt { pointee.used }
  public var peak: UInt { pointee.peak }
  public var capacity: UInt { pointee.capacity }

  /// Takes back everything that was taken since ``mark`` was this; false, and nothing is changed, for a mark ahead of now.
  public func reset(to mark: UInt = 0) -> Bool {
    guard mark <= pointee.used else { return false }
    pointee.used = mark
    return true
  }

  /// Whether an address lies in what is given out.
  public func owns(_ pointer: UnsafeRawPointer?) -> Bool { UInt(bitPattern: pointer) &- pointee.base < pointee.used }

  /// The region as an allocator for others. What is given back stays until a reset; what is resized is taken anew, and what lies
  /// behind the old object comes along, for its size is nowhere.
  public var allocator: RawAllocator {
    RawAllocator(
      resize: { state, pointer, byteCount in
        let region = state.unsafelyUnwrapped.assumingMemoryBound(to: Region.self)
        guard byteCount != 0 else { return nil }
        if let pointer, !region.owns(pointer) {
          misuse("Region.allocator", UInt(bitPattern: pointer), "not memory of this region")
        }
        let end = region.pointee.base + region.pointee.used
        guard let new = region.allocate(UInt(bitPattern: byteCount)) else { return nil }
        if let pointer {
          new.copyMemory(from: pointer, byteCount: min(byteCount, Int(end - UInt(bitPattern: pointer))))
        }
        return new
      }, state: UnsafeMutableRawPointer(self))
  }
}
