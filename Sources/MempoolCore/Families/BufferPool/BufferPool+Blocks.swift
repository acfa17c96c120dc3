// Blocks and objects. All of it with the pool's lock held, if it has one.

/// Where an object is.
enum BufferPoolPlace {
  /// In the pool's blocks: the index of its first one.
  case blocks(UInt)
  /// In memory of the fallback: its address, a node of ``FallbackTree``.
  case fallback(UInt)
}

extension UnsafeMutablePointer where Pointee == BufferPool {
  func pointer(_ index: UInt) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(bitPattern: pointee.blocks + index * pointee.blockSize).unsafelyUnwrapped
  }

  /// Blocks for so many bytes: at least one.
  func blocks(for byteCount: UInt) -> UInt {
    let size = pointee.blockSize
    if byteCount <= size { return 1 }
    return byteCount / size + (byteCount % size == 0 ? 0 : 1)
  }

  /// Where the live object that a pointer points to is. In the blocks first: a foreign pointer costs more, not an own one.
  func locate(_ pointer: UnsafeRawPointer) throws(BufferPoolError) -> BufferPoolPlace {
    do throws(BufferPoolError) {
      return .blocks(try find(pointer))
    } catch {
      if let node = fallbackNode(pointer) { return .fallback(node) }
      throw error
    }
  }

  /// The first block of the live object that a pointer points to.
  private func find(_ pointer: UnsafeRawPointer) throws(BufferPoolError) -> UInt {
    guard owns(pointer) else { throw .foreign }
    let (index, rest) = (UInt(bitPattern: pointer) - pointee.blocks).quotientAndRemainder(
      dividingBy: pointee.blockSize)
    guard used.isSet(index) else { throw .free }
    guard rest == 0, !continued.isSet(index) else { throw .interior }
    return index
  }

  /// The blocks of the object that begins with a block.
  func length(_ index: UInt) -> UInt {
    continued.firstClear(index + 1, pointee.blockCount) - index
  }

  /// Makes an object; the index of its first block.
  func take(_ byteCount: UInt, _ alignment: UInt) -> UInt? {
    let length = blocks(for: byteCount)
    guard let index = firstRoom(length, alignment) else {
      pointee.misses &+= 1
      return nil
    }
    occupy(index, length)
    pointee.objects += 1
    pointee.requestedBytes &+= byteCount
    pointee.grantedBlocks &+= length
    return index
  }

  /// The first block of the lowest `length` free ones that lie side by side, where an object may begin.
  func firstRoom(_ length: UInt, _ alignment: UInt) -> UInt? {
    let count = pointee.blockCount
    guard length <= count - pointee.usedBlocks else { return nil }
    var index = used.firstClear(pointee.firstFree, count)
    pointee.firstFree = index
    while length <= count - index {
      guard let aligned = firstAligned(index, alignment) else { return nil }
      index = aligned
      guard length <= count - index else { return nil }
      // The first as well as the last of the range.
      let taken = used.firstSet(index, index + length)
      if taken == index + length { return index }
      index = used.firstClear(taken, count)
    }
    return nil
  }

  /// The first block from one on that begins at a multiple of `alignment`.
  private func firstAligned(_ index: UInt, _ alignment: UInt) -> UInt? {
    if alignment <= 1 { return index }
    var index = index
    while index < pointee.blockCount {
      if (pointee.blocks + index * pointee.blockSize) & (alignment - 1) == 0 { return index }
      index += 1
    }
    return nil
  }

  /// Marks free blocks as one object's.
  func occupy(_ index: UInt, _ length: UInt) {
    used.set(index, length)
    continued.set(index + 1, length - 1)
    pointee.usedBlocks += length
    pointee.peakBlocks = max(pointee.peakBlocks, pointee.usedBlocks)
    if index == pointee.firstFree { pointee.firstFree = index + length }
  }

  /// Frees blocks: of an object all, or the last ones.
  func vacate(_ index: UInt, _ length: UInt) {
    used.clear(index, length)
    continued.clear(index, length)
    pointee.usedBlocks -= length
    pointee.firstFree = min(pointee.firstFree, index)
  }
}
