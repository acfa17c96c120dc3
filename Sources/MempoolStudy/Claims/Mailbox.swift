import MempoolCore

/// Items on their way from one thread to another that is to free them: a ring with one writer and one reader.
struct Mailbox {
  static let slotCount = 64
  // written and read stand in lines of their own; written - read ≤ slotCount.
  static let wordCount = 16 + slotCount
  private let words: UnsafeMutablePointer<UInt>

  init(zeroed words: UnsafeMutablePointer<UInt>) { self.words = words }

  private var written: AtomicPointer { AtomicPointer(words) }
  private var read: AtomicPointer { AtomicPointer(words + 8) }

  /// By the writer. False: it is full.
  @inline(__always)
  func put(_ item: Int) -> Bool {
    let place = written.loadRelaxed()
    let taken = read.loadAcquire()  // acquire: pairs with the release in take()
    guard place &- taken < Self.slotCount else { return false }
    words[16 + Int(place) % Self.slotCount] = UInt(item)
    written.storeRelease(place &+ 1)  // release: pairs with the acquire in take()
    return true
  }

  /// By the reader. Nil: it is empty.
  @inline(__always)
  func take() -> Int? {
    let place = read.loadRelaxed()
    guard place != written.loadAcquire() else { return nil }  // acquire: pairs with the release in put(_:)
    let item = words[16 + Int(place) % Self.slotCount]
    read.storeRelease(place &+ 1)  // release: pairs with the acquire in put(_:)
    return Int(item)
  }
}
