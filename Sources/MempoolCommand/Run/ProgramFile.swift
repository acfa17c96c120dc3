import Foundation

/// What the loader will make of a program: some run without what is to be preloaded, and nobody says so.
struct ProgramFile {
  /// The end of a sentence that starts with the program's name; nil when it can be preloaded, or is a script.
  let reasonNotToPreload: String?

  /// Looks at a file; nil when it cannot be read.
  init?(path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    let raises = status.st_mode & S_ISUID != 0 && status.st_uid != geteuid()
    guard let file = FileHandle(forReadingAtPath: path), let head = try? file.read(upToCount: 64 * 1024) else {
      // A program may be run that may not be read.
      reasonNotToPreload = raises ? "runs with its owner's rights" : nil
      return
    }
    if raises {
      reasonNotToPreload = "runs with its owner's rights"
    } else if Self.hasInterpreter([UInt8](head)) == false {
      reasonNotToPreload = "is statically linked"
    } else {
      reasonNotToPreload = nil
    }
  }

  /// Whether an ELF file of this machine's word size asks for a dynamic loader; nil when it is none, or no answer is there.
  static func hasInterpreter(_ bytes: [UInt8]) -> Bool? {
    let (interpreter, byteClass) = (UInt32(3), UInt8(2))
    guard bytes.count >= 64, bytes.starts(with: [0x7f, 0x45, 0x4c, 0x46]), bytes[4] == byteClass else { return nil }
    return bytes.withUnsafeBytes { raw in
      let table = Int(clamping: raw.loadUnaligned(fromByteOffset: 32, as: UInt64.self))
      let entrySize = Int(raw.loadUnaligned(fromByteOffset: 54, as: UInt16.self))
      let count = Int(raw.loadUnaligned(fromByteOffset: 56, as: UInt16.self))
      guard entrySize >= 4, table <= raw.count, count * entrySize <= raw.count - table else { return nil }
      return (0..<count).contains {
        raw.loadUnaligned(fromByteOffset: table + $0 * entrySize, as: UInt32.self) == interpreter
      }
    }
  }
}
