import CMempoolHeaders
import CMempoolShims
import MempoolCore

// Books: mempool.h says what each does. An mp_book_t begins with the engine's record; its last word is a seal.

@c @implementation public func mp_book_init(
  _ handle: UnsafeMutablePointer<mp_book_t>!, _ pieceSize: Int, _ piecesPerPage: Int,
  _ pages: UnsafePointer<mp_allocator_t>!
) -> Int32 {
  let source = pages.map { RawAllocator(resize: $0.pointee.resize, state: $0.pointee.state) } ?? .system
  guard MemoryLayout<Book>.size <= sealOffset,
    let record = Book(
      pieceSize: UInt(bitPattern: pieceSize), piecesPerPage: UInt(bitPattern: piecesPerPage), from: source)
  else {
    mp_errno_set(Int32(MP_EINVAL))
    return -1
  }
  UnsafeMutableRawPointer(handle).storeBytes(of: seal(handle), toByteOffset: sealOffset, as: UInt.self)
  UnsafeMutableRawPointer(handle).assumingMemoryBound(to: Book.self).initialize(to: record)
  return 0
}

@c @implementation public func mp_book_alloc(_ handle: UnsafeMutablePointer<mp_book_t>!) -> UnsafeMutableRawPointer! {
  do throws(BufferPoolError) {
    return try book(handle, "mp_book_alloc").allocate()
  } catch {
    mp_errno_set(error.number)
    return nil
  }
}

@c @implementation public func mp_book_free(
  _ handle: UnsafeMutablePointer<mp_book_t>!, _ piece: UnsafeMutableRawPointer!
) -> Int32 {
  status { () throws(BufferPoolError) in try book(handle, "mp_book_free").deallocate(piece) }
}

@c @implementation public func mp_book_add_page(_ handle: UnsafeMutablePointer<mp_book_t>!) -> Int32 {
  status { () throws(BufferPoolError) in try book(handle, "mp_book_add_page").addPage() }
}

// A book in C has no lock, so none is refused.

@c @implementation public func mp_book_vacuum(_ handle: UnsafeMutablePointer<mp_book_t>!) -> Int {
  do throws(BufferPoolError) { return Int(bitPattern: try book(handle, "mp_book_vacuum").vacuum()) } catch { return 0 }
}

@c @implementation public func mp_book_vacuum_auto(_ handle: UnsafeMutablePointer<mp_book_t>!, _ on: Int32) -> Int32 {
  let book = book(handle, "mp_book_vacuum_auto"), old = book.isVacuumedAlways
  book.isVacuumedAlways = on != 0
  return old ? 1 : 0
}

@c @implementation public func mp_book_pieces(_ handle: UnsafePointer<mp_book_t>!) -> Int {
  Int(bitPattern: statistics(handle, "mp_book_pieces").pieces)
}

@c @implementation public func mp_book_pages(_ handle: UnsafePointer<mp_book_t>!) -> Int {
  Int(bitPattern: statistics(handle, "mp_book_pages").pageCount)
}

@c @implementation public func mp_book_owns(
  _ handle: UnsafePointer<mp_book_t>!, _ pointer: UnsafeRawPointer!
) -> Int32 {
  do throws(BufferPoolError) {
    return try book(UnsafeMutablePointer(mutating: handle), "mp_book_owns").owns(pointer) ? 1 : 0
  } catch { return 0 }
}

@c @implementation public func mp_book_close(_ handle: UnsafeMutablePointer<mp_book_t>!) {
  do throws(BufferPoolError) { try book(handle, "mp_book_close").close() } catch {}
}

private var sealOffset: Int { MemoryLayout<mp_book_t>.size - MemoryLayout<UInt>.size }

// What no memory but a book at this place bears, not even a copy of one elsewhere.
private func seal(_ handle: UnsafeMutablePointer<mp_book_t>) -> UInt {
  (UInt(bitPattern: handle) &* 0x9e37_79b9_7f4a_7c15) ^ 0x626f_6f6b_2e2e_2e2e
}

private func book(_ handle: UnsafeMutablePointer<mp_book_t>?, _ call: StaticString) -> BookPointer {
  if let handle {
    let bytes = UnsafeMutableRawPointer(handle)
    if bytes.load(fromByteOffset: sealOffset, as: UInt.self) == seal(handle) {
      return bytes.assumingMemoryBound(to: Book.self)
    }
  }
  misuse(call, UInt(bitPattern: handle), "not a book")
}

private func statistics(_ handle: UnsafePointer<mp_book_t>?, _ call: StaticString) -> BookStatistics {
  do throws(BufferPoolError) {
    return try book(UnsafeMutablePointer(mutating: handle), call).statistics()
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
