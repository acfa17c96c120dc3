import MempoolCore

/// A live object, as its holder remembers it, and the pattern that it carries.
///
/// The pattern is seeded by address, size and tag, the tag by owner and serial number, so that a block handed out twice, or
/// reached by somebody else's write, does not hold what its holder expects. Blocks of up to 512 bytes are written whole, of others the
/// first 64 bytes, the last 64, and a word in every 64 bytes between (in every 4096 of what is larger than 16 KiB): two blocks of
/// up to 16 KiB that overlap always share a byte that both wrote. The first word is the tag itself, so that a ``Parcel`` can
/// find it again.
struct Block {
  let address: UInt
  let size: Int
  let tag: Tag

  var pointer: UnsafeMutableRawPointer { UnsafeMutableRawPointer(bitPattern: address)! }

  /// Writes the pattern.
  func fill() {
    let start = pointer
    if size < 8 {
      for i in 0..<size { start.storeBytes(of: byte(i), toByteOffset: i, as: UInt8.self) }
      return
    }
    let seed = seed
    forEachWord(upTo: size) { i in
      start.storeBytes(of: word(i, seed), toByteOffset: i &* 8, as: UInt64.self)
      return true
    }
    for i in (size & ~7)..<size { start.storeBytes(of: byte(i), toByteOffset: i, as: UInt8.self) }
  }

  /// Compares the first `prefix` bytes with the pattern: the offset of the first word or byte that differs, or nil.
  ///
  /// `moved` is where the block lies now, if `reallocate` took it elsewhere.
  func firstMismatch(prefix: Int? = nil, moved: UnsafeMutableRawPointer? = nil) -> Int? {
    let count = min(size, prefix ?? size)
    let start = moved ?? pointer
    if size >= 8 {
      let seed = seed
      var mismatch: Int?
      forEachWord(upTo: count) { i in
        if start.loadUnaligned(fromByteOffset: i &* 8, as: UInt64.self) == word(i, seed) { return true }
        mismatch = i &* 8
        return false
      }
      if let mismatch { return mismatch }
    }
    let firstByte = size < 8 ? 0 : size & ~7
    guard firstByte < count else { return nil }
    return (firstByte..<count).first { start.load(fromByteOffset: $0, as: UInt8.self) != byte($0) }
  }

  private var seed: UInt64 {
    mix(UInt64(address) &+ mix(UInt64(size) &+ mix(tag.rawValue &+ 0x9e37_79b9_7f4a_7c15)))
  }

  private func word(_ index: Int, _ seed: UInt64) -> UInt64 {
    index == 0 ? tag.rawValue : seed &+ UInt64(index) &* 0x9e37_79b9_7f4a_7c15
  }

  private func byte(_ offset: Int) -> UInt8 {
    offset == 0 ? UInt8(truncatingIfNeeded: tag.rawValue) : UInt8(truncatingIfNeeded: mix(seed &+ UInt64(offset)))
  }

  /// Visits the words of the pattern that lie whole in the first `count` bytes, until `visit` says no.
  @inline(__always)
  private func forEachWord(upTo count: Int, _ visit: (Int) -> Bool) {
    let limit = count / 8
    let words = size / 8
    let stride = size <= 512 ? 1 : size <= 16384 ? 8 : 512
    var i = 0
    while i < limit {
      if !visit(i) { return }
      let next = i < 8 || i >= words - 8 ? i + 1 : min((i / stride + 1) * stride, words - 8)
      i = max(next, i + 1)
    }
  }
}

/// Whose a block is: `owner * 2^40 + serial`. Blocks below 8 bytes have room for 8 bits of the serial only.
struct Tag: Equatable {
  let rawValue: UInt64

  init(rawValue: UInt64) { self.rawValue = rawValue }

  init(owner: Int, serial: UInt64, size: Int) {
    let kept = serial & (size < 8 ? 0xff : 0xff_ffff_ffff)
    rawValue = UInt64(owner) << 40 | kept
  }

  var owner: Int { Int(rawValue >> 40) }
  var serial: UInt64 { rawValue & 0xff_ffff_ffff }
}
