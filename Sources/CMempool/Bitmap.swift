import MempoolCore

// Bitmaps in C: bare cells in the caller's memory, no hints; waiting as MPMAXRETRIES and MPWAITTIME say.

@inline(__always)
private func bareBitmap(_ cells: UnsafeMutablePointer<UInt>, _ itemCount: Int32) -> AtomicBitmap {
  if !defaultBoundedWait.isSet { readEnvironment() }
  return AtomicBitmap(bareCells: AtomicPointer(cells), itemCount: Int(itemCount), wait: defaultBoundedWait)
}

@inline(never)
private func readEnvironment() {
  let settings = EnvironmentSettings.process
  defaultBoundedWait.setIfUnset(
    maxRetries: settings.pointee.maxRetries, waitNanoseconds: settings.pointee.waitNanoseconds)
}

@inline(__always)
private func cIndex(_ index: Int?) -> Int32 { index.map(Int32.init(truncatingIfNeeded:)) ?? -1 }

@c(mp_bitmap_cell_alloc)
public func bitmapCellAlloc(_ cell: UnsafeMutablePointer<UInt>, _ num: Int32, _ maxItems: Int32) -> Int32 {
  guard num >= 1, maxItems <= Cell.itemCount else { return -1 }
  return cIndex(AtomicBitmap.claimInCell(AtomicPointer(cell), count: Int(num), limit: Int(maxItems))?.bit)
}

@c(mp_bitmap_alloc)
public func bitmapAlloc(_ bitmap: UnsafeMutablePointer<UInt>, _ numItems: Int32, _ allocItems: Int32) -> Int32 {
  guard allocItems >= 1, allocItems <= numItems else { return -1 }
  let count = Int(allocItems)
  if count <= Cell.itemCount { return cIndex(bareBitmap(bitmap, numItems).claim(run: count)?.index) }
  return cIndex(bareBitmap(bitmap, numItems).claimCells(Cell.count(forItems: count), trimmedTo: count))
}

@c(mp_bitmap_alloc_cells)
public func bitmapAllocCells(_ bitmap: UnsafeMutablePointer<UInt>, _ numItems: Int32, _ allocCells: Int32) -> Int32 {
  guard allocCells >= 1, numItems >= 1 else { return -1 }
  return cIndex(bareBitmap(bitmap, numItems).claimCells(Int(allocCells)))
}

@c(mp_bitmap_free)
public func bitmapFree(_ bitmap: UnsafeMutablePointer<UInt>, _ num: Int32, _ idx: Int32) {
  guard num >= 1, idx >= 0 else { misuse("mp_bitmap_free", UInt(bitPattern: bitmap), "no such items") }
  release("mp_bitmap_free", bitmap, from: Int(idx), to: Int(idx) + Int(num))
}

@c(mp_bitmap_free_cells)
public func bitmapFreeCells(_ bitmap: UnsafeMutablePointer<UInt>, _ num: Int32, _ idx: Int32) {
  guard num >= 1, idx >= 0 else { misuse("mp_bitmap_free_cells", UInt(bitPattern: bitmap), "no such items") }
  guard Int(idx) % Cell.itemCount == 0 else {
    misuse("mp_bitmap_free_cells", UInt(bitPattern: bitmap), "not the first item of a cell")
  }
  let count = Cell.count(forItems: Int(num)) * Cell.itemCount
  release("mp_bitmap_free_cells", bitmap, from: Int(idx), to: Int(idx) + count)
}

/// Gives back the items `[start, end)`, which may begin and end inside a cell. The size of the bitmap is not known here.
@inline(__always)
private func release(_ call: StaticString, _ cells: UnsafeMutablePointer<UInt>, from start: Int, to end: Int) {
  var item = start
  while item < end {
    let cell = cells + item / Cell.itemCount
    let bit = item % Cell.itemCount
    let count = min(Cell.itemCount - bit, end - item)
    let mask = Cell.mask(count, at: bit)
    let old = AtomicPointer(cell).fetchAndRelease(~mask)  // release: pairs with a claim
    let free = ~old & mask
    if free != 0 {
      misuse(call, UInt(bitPattern: cell), "double free of item ", UInt(item - bit + free.trailingZeroBitCount))
    }
    item += count
  }
}
