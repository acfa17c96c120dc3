internal import MempoolCore

/// Pieces of one size, in pages that come from an allocator one by one: what a ``BufferPool`` is when its memory may grow.
///
/// A page is a buffer pool; pages with room come first. From whom they come is a choice: the system, another pool, a region.
///
/// **Lifetime.** The last reference gives all pages back, with the pieces that are out. **Threads.** One at a time, unless it has a
/// lock. **Misuse.** As with a ``BufferPool``.
@safe
public final class Book {
  // In memory of its own: it must not move.
  private let core: BookPointer

  /// Makes an empty book. It takes its first page with its first piece.
  ///
  /// - Parameters:
  ///   - pieceSize: Bytes of a piece, at least 1.
  ///   - piecesPerPage: Pieces that a page has room for, at least.
  ///   - source: Where pages come from; it must outlive the book.
  ///   - lock: What each call holds.
  /// - Throws: ``PoolError/invalidArgument`` for sizes that no page can have.
  public init(
    pieceSize: Int, piecesPerPage: Int, from source: RawAllocator = .system, lock: LockHook? = nil
  ) throws(PoolError) {
    guard pieceSize > 0, piecesPerPage > 0,
      let record = MempoolCore.Book(
        pieceSize: UInt(pieceSize), piecesPerPage: UInt(piecesPerPage), from: source.core, lock: lock?.core)
    else { throw .invalidArgument }
    unsafe core = .allocate(capacity: 1)
    unsafe core.initialize(to: record)
  }

  deinit {
    // Nobody else has it any more: a lock that is refused now is refused for ever, and the pages stay.
    do throws(BufferPoolError) { try unsafe core.close() } catch {}
    unsafe core.deallocate()
  }

  /// Takes a piece. Its content is whatever was there before.
  ///
  /// - Throws: ``PoolError/outOfMemory`` when there is no page to be had, or ``PoolError/lockRefused``.
  /// - Complexity: O(1), but for the page that it may take.
  public func allocate() throws(PoolError) -> UnsafeMutableRawPointer {
    do throws(BufferPoolError) { return try unsafe core.allocate() } catch { throw PoolError(error) }
  }

  /// Gives a piece back. Nothing may use it afterwards.
  ///
  /// - Parameter piece: One of this book that is out; nil is nothing to do. Anything else, and a lock that is refused, is reported
  ///   and ends the process.
  /// - Complexity: O(pages).
  @unsafe
  public func deallocate(_ piece: UnsafeMutableRawPointer?) {
    do throws(BufferPoolError) { try unsafe core.deallocate(piece) } catch {
      misuse("Book.deallocate", UInt(bitPattern: piece), error.text(.free))
    }
  }

  /// Takes a page ahead of need.
  ///
  /// - Throws: As ``allocate()``.
  public func addPage() throws(PoolError) {
    do throws(BufferPoolError) { try unsafe core.addPage() } catch { throw PoolError(error) }
  }

  /// Gives pages without a piece back.
  ///
  /// - Returns: Their number.
  @discardableResult
  public func vacuum() throws(PoolError) -> Int {
    do throws(BufferPoolError) { return Int(try unsafe core.vacuum()) } catch { throw PoolError(error) }
  }

  /// Whether pages go back as soon as they are empty: not at first.
  public var isVacuumedAlways: Bool {
    get { unsafe core.isVacuumedAlways }
    set { unsafe core.isVacuumedAlways = newValue }
  }

  /// Pieces that are out, and pages.
  public func count() throws(PoolError) -> (pieces: Int, pages: Int) {
    do throws(BufferPoolError) {
      let now = try unsafe core.statistics()
      return (Int(now.pieces), Int(now.pageCount))
    } catch { throw PoolError(error) }
  }

  /// Whether an address lies in one of its pages' pieces, out or not.
  public func owns(_ pointer: UnsafeRawPointer?) throws(PoolError) -> Bool {
    do throws(BufferPoolError) { return try unsafe core.owns(pointer) } catch { throw PoolError(error) }
  }
}

/// It is for one thread at a time; who has given it a lock says so with `nonisolated(unsafe)`.
@available(*, unavailable)
extension Book: Sendable {}
