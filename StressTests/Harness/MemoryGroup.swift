import Glibc

/// A control group of the kernel's that limits the memory of the processes in it, where this process may make one.
///
/// Root may as a rule, in containers often nobody. Both versions of control groups; one whose parent does not hand memory down to it is no use.
struct MemoryGroup {
  /// Why there is none.
  struct Unavailable: Error { let reason: String }

  let path: String
  let isSecondVersion: Bool

  /// One that another process has made.
  init(path: String, isSecondVersion: Bool) {
    self.path = path
    self.isSecondVersion = isSecondVersion
  }

  /// A group in which all processes together get `limit` bytes, and no swap.
  init(limit: Int) throws(Unavailable) {
    var reasons: [String] = []
    for (parent, isSecond) in try Self.parents() {
      let path = "\(parent)/mempool-stress-\(getpid())"
      guard mkdir(path, 0o755) == 0 else {
        reasons.append("mkdir \(path): \(String(cString: strerror(errno)))")
        continue
      }
      let limitFile = isSecond ? "memory.max" : "memory.limit_in_bytes"
      if Self.write("\(limit)", to: "\(path)/\(limitFile)") {
        // A kernel that does not count swap has no such file.
        _ = Self.write(
          isSecond ? "0" : "\(limit)", to: "\(path)/\(isSecond ? "memory.swap.max" : "memory.memsw.limit_in_bytes")")
        self.path = path
        isSecondVersion = isSecond
        return
      }
      reasons.append("\(path)/\(limitFile): \(String(cString: strerror(errno)))")
      rmdir(path)
    }
    throw Unavailable(reason: reasons.joined(separator: ", "))
  }

  /// Gives it up. Nobody may be in it; one that has ended may take a moment to leave.
  func remove() -> Bool {
    for _ in 0..<1000 {
      if rmdir(path) == 0 { return true }
      usleep(1000)
    }
    return false
  }

  /// Puts this process into it: what it takes from now on counts there.
  func join() -> Bool { Self.write("0", to: "\(path)/cgroup.procs") }

  /// Bytes that the kernel counts now; nil when it does not say.
  var usedBytes: Int? {
    Self.read("\(path)/\(isSecondVersion ? "memory.current" : "memory.usage_in_bytes")").flatMap {
      Int($0.split(separator: "\n").first ?? "")
    }
  }

  /// From now on the kernel refuses calls that need more, and kills nobody; a process that only touches more waits. Not in the second version.
  func refuseInsteadOfKilling() -> Bool { !isSecondVersion && Self.write("1", to: "\(path)/memory.oom_control") }

  /// How many of its processes the kernel has killed because the limit was reached.
  var kills: Int {
    let text = Self.read("\(path)/\(isSecondVersion ? "memory.events" : "memory.oom_control")") ?? ""
    let line = text.split(separator: "\n").first { $0.hasPrefix("oom_kill ") }
    return line.flatMap { Int($0.dropFirst("oom_kill ".count)) } ?? 0
  }

  /// Where groups can be looked for: the roots of what is mounted, and the groups that this process is in, and theirs.
  private static func parents() throws(Unavailable) -> [(path: String, isSecondVersion: Bool)] {
    var parents: [(String, Bool)] = []
    let own = (read("/proc/self/cgroup") ?? "").split(separator: "\n").map {
      $0.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
    }
    for line in (read("/proc/self/mounts") ?? "").split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count > 3 else { continue }
      let isSecond = fields[2] == "cgroup2"
      guard isSecond || fields[2] == "cgroup" && fields[3].split(separator: ",").contains("memory") else { continue }
      let root = String(fields[1])
      parents.append((root, isSecond))
      let mine = own.first {
        isSecond ? $0.first == "0" : $0.count > 1 && $0[1].split(separator: ",").contains("memory")
      }
      guard let mine, mine.count > 2, mine[2].count > 1 else { continue }
      // In a group that has processes the second version makes none with memory: beside it, then.
      parents.append((root + mine[2], isSecond))
      parents.append((root + mine[2].prefix(upTo: mine[2].lastIndex(of: "/")!), isSecond))
    }
    if parents.isEmpty { throw Unavailable(reason: "no control groups for memory are mounted") }
    return parents
  }

  /// A small file's text; nil when it cannot be read.
  static func read(_ path: String) -> String? {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 65536)
    let count = Glibc.read(file, &bytes, bytes.count)
    return count < 0 ? nil : String(decoding: bytes.prefix(count), as: UTF8.self)
  }

  static func write(_ text: String, to path: String) -> Bool {
    let file = open(path, O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return false }
    defer { close(file) }
    return Glibc.write(file, text, text.utf8.count) == text.utf8.count
  }
}
