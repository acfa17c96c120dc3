import CMempool
import CMempoolHeaders
import Testing

@testable import MempoolCore

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// mp_bitmap_*, called as C calls them, through mempool.h.
@Suite(.serialized) struct BitmapTests {
  private func withCells<Result>(_ values: [UInt], _ body: (UnsafeMutablePointer<UInt>) -> Result) -> Result {
    let cells = UnsafeMutablePointer<UInt>.allocate(capacity: values.count)
    cells.initialize(from: values, count: values.count)
    defer { cells.deallocate() }
    return body(cells)
  }

  private func cells(_ cells: UnsafeMutablePointer<UInt>, _ count: Int) -> [UInt] { (0..<count).map { cells[$0] } }

  @Test("T1: mp_bitmap_cell_alloc finds the run that the original missed")
  func oneCell() {
    withCells([0b10]) { cell in
      #expect(mp_bitmap_cell_alloc(cell, 4, 10) == 2)  // the original: none
      #expect(cell[0] == 0b111110)
      #expect(mp_bitmap_cell_alloc(cell, 5, 10) == -1)
      #expect(mp_bitmap_cell_alloc(cell, 4, 10) == 6)
      #expect(mp_bitmap_cell_alloc(cell, 1, 10) == 0)
      #expect(mp_bitmap_cell_alloc(cell, 1, 10) == -1)
      #expect(cell[0] == 0x3ff)
      mp_bitmap_free(cell, 4, 2)
      #expect(cell[0] == 0x3ff & ~0b111100)
    }
    withCells([0]) { cell in
      #expect(mp_bitmap_cell_alloc(cell, 64, 64) == 0)
      #expect(cell[0] == ~0)
      mp_bitmap_free(cell, 64, 0)
      #expect(cell[0] == 0)
    }
  }

  @Test(arguments: [(0, 64), (-1, 64), (65, 64), (1, 0), (1, -1), (1, 65), (11, 10), (Int32.min, Int32.max)])
  func oneCellOutOfRange(_ num: Int32, _ maxItems: Int32) {
    withCells([0]) { cell in
      #expect(mp_bitmap_cell_alloc(cell, num, maxItems) == -1)
      #expect(cell[0] == 0)
    }
  }

  @Test(arguments: [(0, 1), (-1, 1), (100, 0), (100, -1), (100, 101), (Int32.max, Int32.min)])
  func outOfRange(_ numItems: Int32, _ allocItems: Int32) {
    withCells([0, 0]) { bitmap in
      let sleeps = defaultBoundedWait.sleeps
      #expect(mp_bitmap_alloc(bitmap, numItems, allocItems) == -1)
      #expect(mp_bitmap_alloc_cells(bitmap, numItems, allocItems == 1 ? 0 : allocItems) == -1)
      #expect(cells(bitmap, 2) == [0, 0])
      #expect(defaultBoundedWait.sleeps == sleeps)
    }
  }

  /// Every length up to all of it, from a bitmap whose last cell has 36 items.
  @Test("T2: mp_bitmap_free leaves nothing taken, for every length")
  func everyLength() {
    withCells([0, 0, 0, 0]) { bitmap in
      for count in Int32(1)...228 {
        #expect(mp_bitmap_alloc(bitmap, 228, count) == 0)
        #expect(cells(bitmap, 4).reduce(0) { $0 + $1.nonzeroBitCount } == count)
        mp_bitmap_free(bitmap, count, 0)
        #expect(cells(bitmap, 4) == [0, 0, 0, 0])
      }
    }
  }

  @Test("T3, T4, T5: mp_bitmap_alloc_cells takes exactly n or nothing, mp_bitmap_free_cells clears exactly these")
  func wholeCellsAreExact() {
    withCells([1, 0, 0, 0, 0]) { bitmap in
      // The original's defects 3 and 5: two cells, not three; freed where they are, not at the start.
      #expect(mp_bitmap_alloc_cells(bitmap, 320, 2) == 64)
      #expect(cells(bitmap, 5) == [1, ~0, ~0, 0, 0])
      #expect(mp_bitmap_alloc_cells(bitmap, 320, 3) == -1)
      #expect(cells(bitmap, 5) == [1, ~0, ~0, 0, 0])
      #expect(mp_bitmap_alloc_cells(bitmap, 320, 2) == 192)
      mp_bitmap_free_cells(bitmap, 100, 64)
      #expect(cells(bitmap, 5) == [1, 0, 0, ~0, ~0])
      mp_bitmap_free_cells(bitmap, 128, 192)
      #expect(cells(bitmap, 5) == [1, 0, 0, 0, 0])
      // The last cell has 63 items: not a whole cell.
      #expect(mp_bitmap_alloc_cells(bitmap, 319, 4) == -1)
      #expect(mp_bitmap_alloc_cells(bitmap, 319, 3) == 64)
    }
  }

  @Test func aFullBitmapIsWaitedForAsTheDefaultsSay() {
    withCells([~0]) { bitmap in
      let wait = defaultBoundedWait
      let sleeps = wait.sleeps
      #expect(mp_bitmap_alloc(bitmap, 64, 1) == -1)
      #expect(wait.sleeps == sleeps + wait.maxRetries)
    }
  }

  /// Read from the environment at the first claim that may have to wait, once.
  @Test func theEnvironmentSaysHowToWait() async {
    await #expect(processExitsWith: .success) {
      setenv("MPMAXRETRIES", "7", 1)
      setenv("MPWAITTIME", "2000000", 1)
      let wait = defaultBoundedWait
      let cell = UnsafeMutablePointer<UInt>.allocate(capacity: 2)
      cell.initialize(repeating: ~0, count: 2)
      errno = 77
      #expect(mp_bitmap_alloc(cell, 128, 1) == -1)
      #expect(errno == 77)
      #expect(wait.sleeps == 7)
      #expect(wait.waitNanoseconds == 2_000_000)
      setenv("MPMAXRETRIES", "1", 1)
      #expect(mp_bitmap_alloc_cells(cell, 128, 1) == -1)
      #expect(wait.sleeps == 14)
      // Code may say otherwise at any time.
      wait.maxRetries = 0
      #expect(mp_bitmap_alloc(cell, 128, 65) == -1)
      #expect(wait.sleeps == 14)
    }
    await #expect(processExitsWith: .success) {
      setenv("MPMAXRETRIES", "0", 1)
      let cell = UnsafeMutablePointer<UInt>.allocate(capacity: 1)
      cell.initialize(to: ~0)
      #expect(mp_bitmap_alloc(cell, 64, 1) == -1)
      #expect(defaultBoundedWait.sleeps == 0)
      #expect(defaultBoundedWait.waitNanoseconds == 1000)
    }
    // What the program said before holds.
    await #expect(processExitsWith: .success) {
      setenv("MPMAXRETRIES", "7", 1)
      defaultBoundedWait.maxRetries = 2
      let cell = UnsafeMutablePointer<UInt>.allocate(capacity: 1)
      cell.initialize(to: ~0)
      #expect(mp_bitmap_alloc(cell, 64, 1) == -1)
      #expect(defaultBoundedWait.sleeps == 2)
    }
  }

  @Test("T24: mp_bitmap_free of what is free is reported")
  func freeingTwiceIsReported() async {
    let result = await #expect(
      processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent, \.standardOutputContent]
    ) {
      let bitmap = UnsafeMutablePointer<UInt>.allocate(capacity: 2)
      bitmap.initialize(repeating: 0, count: 2)
      guard mp_bitmap_alloc(bitmap, 128, 64) == 0, mp_bitmap_alloc(bitmap, 128, 20) == 64 else { exit(1) }
      mp_bitmap_free(bitmap, 3, 70)
      print("<0x" + String(UInt(bitPattern: bitmap + 1), radix: 16) + ">")
      fflush(nil)
      mp_bitmap_free(bitmap, 20, 64)
    }
    check(result, "mp_bitmap_free", "double free of item 70")
  }

  @Test func freeingCellsTwiceIsReported() async {
    let result = await #expect(
      processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent, \.standardOutputContent]
    ) {
      let bitmap = UnsafeMutablePointer<UInt>.allocate(capacity: 2)
      bitmap.initialize(repeating: 0, count: 2)
      guard mp_bitmap_alloc_cells(bitmap, 128, 2) == 0 else { exit(1) }
      print("<0x" + String(UInt(bitPattern: bitmap), radix: 16) + ">")
      fflush(nil)
      mp_bitmap_free_cells(bitmap, 128, 0)
      mp_bitmap_free_cells(bitmap, 128, 0)
    }
    check(result, "mp_bitmap_free_cells", "double free of item 0")
  }

  @Test func freeingCellsFromTheMiddleIsReported() async {
    let result = await #expect(
      processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent, \.standardOutputContent]
    ) {
      let bitmap = UnsafeMutablePointer<UInt>.allocate(capacity: 2)
      bitmap.initialize(repeating: ~0, count: 2)
      print("<0x" + String(UInt(bitPattern: bitmap), radix: 16) + ">")
      fflush(nil)
      mp_bitmap_free_cells(bitmap, 64, 1)
    }
    check(result, "mp_bitmap_free_cells", "not the first item of a cell")
  }

  /// The line on standard error, with the address that the process printed between angle brackets.
  private func check(_ result: ExitTest.Result?, _ call: String, _ what: String) {
    guard let result else { return }
    let output = String(decoding: result.standardOutputContent, as: UTF8.self)
    guard let open = output.lastIndex(of: "<"), let close = output.lastIndex(of: ">") else {
      Issue.record("no address in \(output)")
      return
    }
    let address = output[output.index(after: open)..<close]
    let errors = String(decoding: result.standardErrorContent, as: UTF8.self).split(separator: "\n")
    #expect(errors.filter { $0.hasPrefix("mempool: ") } == ["mempool: \(call)(\(address)): \(what)"])
  }
}
