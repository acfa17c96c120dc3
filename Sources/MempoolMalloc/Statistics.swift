public import CMempoolMalloc
import CMempoolShims
import MempoolCore

/// Runs once, before the program's own code: reads the environment, if no allocation did so before; and starts sampled guards, which
/// cannot start inside an allocation.
@c(mempool_malloc_start) public func mempoolMallocStart() {
  MemoryPoolPointer.shared.startGuards()
}

/// Runs once, when the process exits: writes the statistics that the environment asked for.
@c(mempool_malloc_report) public func mempoolMallocReport() {
  EnvironmentSettings.process.pointee.report(.shared)
}

/// glibc: statistics as text on standard error.
#if Interposer
  @c(malloc_stats)
#endif
public func mempoolMallocStats() {
  MemoryPoolPointer.shared.statistics().write(.text, to: 2)
}

#if os(Linux)
  /// glibc 2.33: the same in glibc's terms. `uordblks + fordblks == arena`, as there; `keepcost` is what malloc_trim may
  /// give back.
  #if Interposer
    @c(mallinfo2)
  #endif
  public func mempoolMallinfo2() -> mallinfo2 {
    let statistics = MemoryPoolPointer.shared.statistics()
    // A snapshot while threads run need not add up: no difference goes below zero.
    let arena = statistics.committedBytes.minus(statistics.spanBytes)
    let live = min(statistics.allocatedBytes.minus(statistics.spanBytes), arena)
    var info: mallinfo2 = .init()  // mallinfo2() would be the function
    info.arena = Int(clamping: arena)
    info.ordblks = Int(clamping: statistics.freeItemCount)
    info.hblks = Int(clamping: statistics.spanCount)
    info.hblkhd = Int(clamping: statistics.spanBytes)
    info.uordblks = Int(clamping: live)
    info.fordblks = Int(clamping: arena - live)
    info.keepcost = Int(clamping: statistics.committedBytes.minus(statistics.activeBytes))
    return info
  }

  /// SVID: mallinfo2 in ints. What does not fit is shown as INT_MAX; glibc's would wrap.
  #if Interposer
    @c(mallinfo)
  #endif
  public func mempoolMallinfo() -> mallinfo {
    let info = mempoolMallinfo2()
    var small: mallinfo = .init()
    small.arena = Int32(clamping: info.arena)
    small.ordblks = Int32(clamping: info.ordblks)
    small.hblks = Int32(clamping: info.hblks)
    small.hblkhd = Int32(clamping: info.hblkhd)
    small.uordblks = Int32(clamping: info.uordblks)
    small.fordblks = Int32(clamping: info.fordblks)
    small.keepcost = Int32(clamping: info.keepcost)
    return small
  }

  /// glibc: statistics as XML, in the form of glibc's. 0, or EINVAL when `options` is not 0. This one uses stdio, and stdio
  /// may allocate.
  #if Interposer
    @c(malloc_info)
  #endif
  public func mempoolMallocInfo(_ options: Int32, _ stream: UnsafeMutablePointer<FILE>) -> Int32 {
    guard options == 0 else { return Int32(MP_EINVAL) }
    MemoryPoolPointer.shared.statistics().writeXML(to: stream)
    return 0
  }

  /// A stream of stdio. Its own buffer is the only one.
  private struct StreamSink: ByteSink {
    let stream: UnsafeMutablePointer<FILE>

    mutating func write(_ bytes: UnsafeRawBufferPointer) {
      guard let start = bytes.baseAddress else { return }
      _ = fwrite(start, 1, bytes.count, stream)
    }

    mutating func attribute(_ opening: StaticString, _ value: UInt) {
      write(opening)
      write(decimal: value)
    }
  }

  extension PoolStatistics {
    fileprivate func writeXML(to stream: UnsafeMutablePointer<FILE>) {
      var sink = StreamSink(stream: stream)
      sink.write("<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n")
      var freeBytes: UInt = 0
      for index in 0..<min(Int(classCount), classes.count) where classes[index].freeItems > 0 {
        let row = classes[index]
        sink.attribute("  <size from=\"", index == 0 ? 1 : classes[index - 1].itemSize &+ 1)
        sink.attribute("\" to=\"", row.itemSize)
        sink.attribute("\" total=\"", row.freeItems &* row.itemSize)
        sink.attribute("\" count=\"", row.freeItems)
        sink.write("\"/>\n")
        freeBytes &+= row.freeItems &* row.itemSize
      }
      sink.write("</sizes>\n")
      writeTotals(&sink, freeBytes: freeBytes)
      sink.write("</heap>\n")
      writeTotals(&sink, freeBytes: freeBytes)
      sink.write("</malloc>\n")
    }

    private func writeTotals(_ sink: inout StreamSink, freeBytes: UInt) {
      sink.write("<total type=\"fast\" count=\"0\" size=\"0\"/>\n")
      sink.attribute("<total type=\"rest\" count=\"", freeItemCount)
      sink.attribute("\" size=\"", freeBytes)
      sink.attribute("\"/>\n<total type=\"mmap\" count=\"", spanCount)
      sink.attribute("\" size=\"", spanBytes)
      sink.attribute("\"/>\n<system type=\"current\" size=\"", committedBytes)
      sink.attribute("\"/>\n<system type=\"max\" size=\"", peakCommittedBytes)
      sink.attribute("\"/>\n<aspace type=\"total\" size=\"", mappedBytes)
      sink.attribute("\"/>\n<aspace type=\"mprotect\" size=\"", committedBytes)
      sink.write("\"/>\n")
    }

    fileprivate var freeItemCount: UInt {
      var count: UInt = 0
      for index in 0..<min(Int(classCount), classes.count) { count &+= classes[index].freeItems }
      return count
    }
  }

  extension ClassStatistics {
    fileprivate var freeItems: UInt { capacity.minus(liveItems) }
  }

  extension UInt {
    /// The difference, or 0.
    fileprivate func minus(_ other: UInt) -> UInt { self > other ? self - other : 0 }
  }
#endif
