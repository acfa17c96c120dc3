import CMempoolTalloc
import MempoolCore

// Making blocks and giving them other sizes: talloc's names, whose documentation holds. NULL when there is no memory, or a limit forbids it, or
// for 256 MiB and more.

/// Requests of this size are refused, as the original does. Contexts in Swift know no such bound.
private var refused: UInt { 0x1000_0000 }

/// The block of a payload; what is none ends the process by the abort hook.
@inline(__always)
func block(_ payload: UnsafeRawPointer?) -> ContextPointer? {
  guard let payload else { return nil }
  return ContextPointer(payload: payload)
}

@inline(__always)
func make(_ context: UnsafeRawPointer?, _ size: UInt, _ name: UnsafePointer<CChar>?) -> UnsafeMutableRawPointer? {
  guard size < refused else { return ContextPointer.refuse()?.payload }
  return ContextPointer.allocate(size, under: block(context), name: name, isStrict: true)?.payload
}

/// `count` times `size`, nil when that is refused. No bytes an element are allowed.
private func product(_ size: UInt, _ count: UInt32) -> UInt? {
  guard size > 0 else { return 0 }
  return UInt(count) >= refused / size ? nil : size * UInt(count)
}

private func zeroed(_ payload: UnsafeMutableRawPointer?, _ size: UInt) -> UnsafeMutableRawPointer? {
  if let payload { memset(payload, 0, Int(size)) }
  return payload
}

@c(_talloc) public func tallocUnnamed(_ context: UnsafeRawPointer?, _ size: UInt) -> UnsafeMutableRawPointer? {
  make(context, size, nil)
}

@c(talloc_named_const) public func tallocNamedConst(
  _ context: UnsafeRawPointer?, _ size: UInt, _ name: UnsafePointer<CChar>?
) -> UnsafeMutableRawPointer? {
  make(context, size, name)
}

@c(_talloc_zero) public func tallocZero(
  _ context: UnsafeRawPointer?, _ size: UInt, _ name: UnsafePointer<CChar>?
) -> UnsafeMutableRawPointer? {
  zeroed(make(context, size, name), size)
}

@c(_talloc_array) public func tallocArray(
  _ context: UnsafeRawPointer?, _ size: UInt, _ count: UInt32, _ name: UnsafePointer<CChar>?
) -> UnsafeMutableRawPointer? {
  product(size, count).flatMap { make(context, $0, name) }
}

@c(_talloc_zero_array) public func tallocZeroArray(
  _ context: UnsafeRawPointer?, _ size: UInt, _ count: UInt32, _ name: UnsafePointer<CChar>?
) -> UnsafeMutableRawPointer? {
  product(size, count).flatMap { zeroed(make(context, $0, name), $0) }
}

@c(_talloc_memdup) public func tallocMemdup(
  _ context: UnsafeRawPointer?, _ source: UnsafeRawPointer?, _ size: UInt, _ name: UnsafePointer<CChar>?
) -> UnsafeMutableRawPointer? {
  if size > 0, source == nil { return nil }
  let payload = make(context, size, name)
  if let payload, let source { memcpy(payload, source, Int(size)) }
  return payload
}

@c(talloc_pool) public func tallocPool(_ context: UnsafeRawPointer?, _ size: UInt) -> UnsafeMutableRawPointer? {
  guard size < refused else { return nil }
  return ContextPointer.allocatePool(0, capacity: size, under: block(context), isStrict: true)?.payload
}

/// An object with a pool behind it. `count` objects of `bytes` in all fit into it, whatever their sizes, if none of them is a pool. As in the original
/// 143 bytes are counted for each beside its own: of these one takes its header's 64 and up to 15 for rounding, a pool 80 more.
@c(_talloc_pooled_object) public func tallocPooledObject(
  _ context: UnsafeRawPointer?, _ size: UInt, _ name: UnsafePointer<CChar>?, _ count: UInt32, _ bytes: UInt
) -> UnsafeMutableRawPointer? {
  let (content, overflow) = size.addingReportingOverflow(bytes)
  guard !overflow, count < .max else { return nil }
  let (sum, sumOverflow) = content.addingReportingOverflow((96 + 32 + 15) * (UInt(count) + 1))
  guard !sumOverflow, sum < refused else { return nil }
  let own = (size + 15) & ~15
  return ContextPointer.allocatePool(size, capacity: sum - own, under: block(context), name: name, isStrict: true)?
    .payload
}

@c(_talloc_realloc) public func tallocRealloc(
  _ context: UnsafeRawPointer?, _ pointer: UnsafeMutableRawPointer?, _ size: UInt, _ name: UnsafePointer<CChar>?
) -> UnsafeMutableRawPointer? {
  if size == 0 {
    _ = tallocUnlink(context, pointer)
    return nil
  }
  guard size < refused else { return ContextPointer.refuse()?.payload }
  guard let pointer else { return make(context, size, name) }
  return ContextPointer(payload: pointer).reallocate(size, name: name)?.payload
}

@c(_talloc_realloc_array) public func tallocReallocArray(
  _ context: UnsafeRawPointer?, _ pointer: UnsafeMutableRawPointer?, _ size: UInt, _ count: UInt32,
  _ name: UnsafePointer<CChar>?
) -> UnsafeMutableRawPointer? {
  guard let bytes = product(size, count) else { return nil }
  return tallocRealloc(context, pointer, bytes, name)
}

@c(talloc_realloc_fn) public func tallocReallocFunction(
  _ context: UnsafeRawPointer?, _ pointer: UnsafeMutableRawPointer?, _ size: UInt
) -> UnsafeMutableRawPointer? {
  tallocRealloc(context, pointer, size, nil)
}

@c(talloc_get_size) public func tallocGetSize(_ pointer: UnsafeRawPointer?) -> UInt { block(pointer)?.size ?? 0 }
