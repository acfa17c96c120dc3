import CMempoolMalloc
import MempoolCore

/// glibc: gives idle memory back to the system; 1 when some was, else 0. The pad that glibc would leave at the top of its heap
/// means nothing here.
#if Interposer
  @c(malloc_trim)
#endif
public func mempoolTrim(_ pad: UInt) -> Int32 {
  MemoryPoolPointer.shared.purge() > 0 ? 1 : 0
}

/// glibc: 1 for a parameter that only advises how glibc's own heap is laid out, which holds here whatever its value; 0 for
/// all others, as nothing is done about them (M_PERTURB, M_CHECK_ACTION). The environment is how this allocator is tuned.
#if Interposer
  @c(mallopt)
#endif
public func mempoolMallopt(_ parameter: Int32, _ value: Int32) -> Int32 {
  switch parameter {
  case M_MXFAST, M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_TEST, M_ARENA_MAX: 1
  default: 0
  }
}
