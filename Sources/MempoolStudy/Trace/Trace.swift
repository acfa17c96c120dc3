import Foundation

/// What a program asked its allocator for: who took and freed which object, when.
///
/// Objects are known by their address while they live. Events are in the order of their times; of one object the order is
/// what happened, as a free is noted before it happens and an allocation after it.
package struct Trace: Equatable, Sendable {
  package enum Kind: UInt8, Sendable {
    case free = 0
    case allocate = 1
    /// The two halves of a realloc: the old place is gone, the new one is there.
    case freeByReallocation = 2
    case allocateByReallocation = 3

    package var isAllocation: Bool { self == .allocate || self == .allocateByReallocation }
  }

  package struct Event: Equatable, Sendable {
    package var thread: UInt32
    /// Nanoseconds since the recording began.
    package var time: UInt64
    package var kind: Kind
    /// A multiple of 8: no malloc aligns to less.
    package var address: UInt64
    /// Of an allocation: what was asked for.
    package var byteCount: UInt64

    package init(thread: UInt32, time: UInt64, kind: Kind, address: UInt64, byteCount: UInt64 = 0) {
      self.thread = thread
      self.time = time
      self.kind = kind
      self.address = address
      self.byteCount = byteCount
    }
  }

  /// One object in so many was recorded, chosen by its address; 1: all.
  package var samplePeriod: UInt32
  package var processIdentifier: UInt32
  package var events: [Event]

  package init(samplePeriod: UInt32 = 1, processIdentifier: UInt32 = 0, events: [Event]) {
    self.samplePeriod = samplePeriod
    self.processIdentifier = processIdentifier
    self.events = events
  }

  package var threadCount: Int { Set(events.map(\.thread)).count }
}

/// What the bytes of a trace are. Numbers are little-endian; the recorder (`Recorder/recorder.c`) writes the same.
///
/// ```
/// header, 32 bytes:  "MPTRACE\0"  version (4)  sample period (4)  0 (8)  process (4)  CRC-32 of these 28 (4)
/// block:             payload bytes (4)  CRC-32 of what follows (4)  thread (4)  records (4)  payload
/// record:            varint: (time since the record before, in the first one since the recording began) << 2 | kind
///                    varint: zigzag of (address − address of the record before, in the first one 0) / 8
///                    varint, of an allocation: bytes asked for
/// end:               a block of no payload, of thread 2^32 − 1, with the number of blocks before it as its records
/// ```
///
/// A block is written at once and stands for itself: one thread, some thousand records, 3 to 8 bytes each. A varint has 7 bits a
/// byte, the lowest first, the high bit set in all but the last; 10 bytes at most. Version 1 divided addresses by 16, by which
/// neighbours of 8 bytes became one.
package enum TraceFormat {
  package static let version: UInt32 = 2
  static let magic: [UInt8] = Array("MPTRACE\0".utf8)
  static let headerByteCount = 32
  static let blockHeadByteCount = 16
  static let endThread = UInt32.max

  /// CRC-32 as in Ethernet and zip: reflected, polynomial 0xEDB88320.
  static func checksum(_ bytes: some Sequence<UInt8>) -> UInt32 {
    ~bytes.reduce(~0) { crc, byte in table[Int(UInt8(truncatingIfNeeded: crc) ^ byte)] ^ crc >> 8 }
  }

  private static let table: [UInt32] = (0..<256).map { byte in
    (0..<8).reduce(UInt32(byte)) { crc, _ in crc & 1 == 0 ? crc >> 1 : 0xedb8_8320 ^ crc >> 1 }
  }
}
