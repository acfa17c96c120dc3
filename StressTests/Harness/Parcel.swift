/// A block on its way to another thread, in one word: 48 bits of address and 16 of size.
///
/// One word, so that it can travel through a single atomic slot in one direction only, without the receiver ever telling the sender
/// anything: see ``OneWayRing``. The tag travels inside the block.
struct Parcel {
  let word: UInt

  /// Sizes from 32 KiB on are multiples of this.
  static let largeUnit = 4096

  init(word: UInt) { self.word = word }

  init(_ block: Block) {
    precondition(block.address >> 48 == 0, "addresses have 48 bits here")
    let code =
      block.size < 0x8000 ? UInt(block.size) : UInt(block.size / Self.largeUnit) | 0x8000
    precondition(block.size < 0x8000 || block.size % Self.largeUnit == 0, "a size that a parcel cannot carry")
    word = block.address | code << 48
  }

  /// The block, sent by `owner`, who filled it as its own.
  func open(owner: Int) -> Block {
    let address = word & (1 << 48 - 1)
    let code = Int(word >> 48)
    let size = code < 0x8000 ? code : (code & 0x7fff) * Self.largeUnit
    let pointer = UnsafeRawPointer(bitPattern: address)!
    let tag: Tag
    switch size {
    case 0: tag = Tag(owner: owner, serial: 0, size: 0)
    case 1..<8: tag = Tag(owner: owner, serial: UInt64(pointer.load(as: UInt8.self)), size: size)
    default:
      // A tag that is not the sender's was overwritten: with any other, the next check finds that.
      let found = Tag(rawValue: pointer.load(as: UInt64.self))
      tag = found.owner == owner ? found : Tag(owner: owner, serial: 0, size: size)
    }
    return Block(address: address, size: size, tag: tag)
  }
}
