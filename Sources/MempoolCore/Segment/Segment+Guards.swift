import CMempoolShims

/// Pages that nobody may access, behind slabs of a hardened pool.
extension UnsafeMutablePointer where Pointee == Segment {
  /// Whether pages may be guarded: fixed memory makes no system call, a caller's buffer is the caller's, and a page of the
  /// system's must not be larger than one of ours.
  var mayGuard: Bool { pointee.backing == .elastic && UInt(mp_system_page_size()) <= Page.byteCount }

  /// Makes a page that the caller has claimed inaccessible; false when the system refuses, and it is a page like others.
  func guardPage(_ address: UInt) -> Bool {
    entry(of: address).setKind(.guardPage)
    return mp_pages_guard(UnsafeMutableRawPointer(bitPattern: address).unsafelyUnwrapped, Int(Page.byteCount)) == 0
  }

  /// Gives back `count` pages and the guard behind them. Where the system refuses to make that accessible again, it stays as it is.
  func releaseGuardedPages(_ address: UInt, _ count: UInt) {
    let last = address + count << Page.shift
    let saved = mp_errno_get()
    if mp_pages_commit(UnsafeMutableRawPointer(bitPattern: last).unsafelyUnwrapped, Int(Page.byteCount)) == 0 {
      releasePages(address, count + 1)
    } else {
      mp_errno_set(saved)
      releasePages(address, count)
    }
  }
}
