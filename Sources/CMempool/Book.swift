import CMempoolHeaders
import CMempoolShims
import MempoolCore

// Books: mempool.h says what each does. An mp_book_t begins with the engine's record.

@c @implementation public func mp_book_init(
  _ handle: UnsafeMutablePointer<mp_book_t>!, _ pieceSize: Int, _ piecesPerPage: Int,
  _ pages: UnsafePointer<mp_allocator_t>!
) -> Int32 {
  let source = pages.map { RawAllocator(resize: $0.pointee.resize, state: $0.pointee.state) } ?? .system
  guard MemoryLayout<Book>.size <= MemoryLayout<mp_book_t>.size,
    let record = Book(
      pieceSize: UInt(bitPattern: pieceSize), piecesPerPage: UInt(bitPattern: piecesPerPage), from: source)
  else {
    mp_errno_set(Int32(MP_EINVAL))
    return -1
  }
  book(handle).initialize(to: record)
  return 0
}

@c @implementation public func mp_book_alloc(_ handle: UnsafeMutablePointer<mp_book_t>!) -> UnsafeMutableRawPointer! {
  do throws(BufferPoolError) {
    return try book(handle).allocate()
  } catch {
    mp_errno_set(error.number)
    return nil
  }
}

@c @implementation public func mp_book_free(
  _ handle: UnsafeMutablePointer<mp_book_t>!, _ piece: UnsafeMutableRawPointer!
) -> Int32 {
  status { () throws(BufferPoolError) in try book(handle).deallocate(piece) }
}

@c @implementation public func mp_book_add_page(_ handle: UnsafeMutablePointer<mp_book_t>!) -> Int32 {
  status { () throws(BufferPoolError) in try book(handle).addPage() }
}

// A book in C has no lock, so none is refused.

@c @implementation public func mp_book_vacuum(_ handle: UnsafeMutablePointer<mp_book_t>!) -> Int {
  do throws(BufferPoolError) { return Int(bitPattern: try book(handle).vacuum()) } catch { return 0 }
}

@c @implementation public func mp_book_vacuum_auto(_ handle: UnsafeMutablePointer<mp_book_t>!, _ on: Int32) -> Int32 {
  let old = book(handle).isVacuumedAlways
  book(handle).isVacuumedAlways = on != 0
  return old ? 1 : 0
}

@c @implementation public func mp_book_pieces(_ handle: UnsafePointer<mp_book_t>!) -> Int {
  Int(bitPattern: statistics(handle).pieces)
}

@c @implementation public func mp_book_pages(_ handle: UnsafePointer<mp_book_t>!) -> Int {
  Int(bitPattern: statistics(handle).pageCount)
}

@c @implementation public func mp_book_owns(
  _ handle: UnsafePointer<mp_book_t>!, _ pointer: UnsafeRawPointer!
) -> Int32 {
  do throws(BufferPoolError) {
    return try book(UnsafeMutablePointer(mutating: handle)).owns(pointer) ? 1 : 0
  } catch { return 0 }
}

@c @implementation public func mp_book_close(_ handle: UnsafeMutablePointer<mp_book_t>!) {
  do throws(BufferPoolError) { try book(handle).close() } catch {}
}

@inline(__always)
private func book(_ handle: UnsafeMutablePointer<mp_book_t>) -> BookPointer {
  UnsafeMutableRawPointer(handle).assumingMemoryBound(to: Book.self)
}

private func statistics(_ handle: UnsafePointer<mp_book_t>) -> BookStatistics {
  do throws(BufferPoolError) {
    return try book(UnsafeMutablePointer(mutating: handle)).statistics()
  } catch { return BookStatistics() }
}

private func status(_ body: () throws(BufferPoolError) -> Void) -> Int32 {
  do throws(BufferPoolError) {
    try body()
    return 0
  } catch {
    mp_errno_set(error.number)
    return -1
  }
}
