import CMempoolShims

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Zeroed memory that nobody has touched.
func mapPages(_ byteCount: Int) -> UnsafeMutableRawPointer? {
  mp_pages_map((byteCount + mp_system_page_size() - 1) / mp_system_page_size() * mp_system_page_size(), 1)
}

func unmapPages(_ memory: UnsafeMutableRawPointer, _ byteCount: Int) {
  _ = mp_pages_release(
    memory, (byteCount + mp_system_page_size() - 1) / mp_system_page_size() * mp_system_page_size())
}

/// Pages that have memory behind them.
func residentPages(_ memory: UnsafeMutableRawPointer, _ byteCount: Int) -> Int {
  let pageSize = mp_system_page_size()
  var states = [UInt8](repeating: 0, count: (byteCount + pageSize - 1) / pageSize)
  let error = mincore(memory, byteCount, &states)
  precondition(error == 0)
  return states.count { $0 & 1 == 1 }
}
