import CMempoolTalloc
import MempoolCore

// Names, types and strings: talloc's names, whose documentation holds. The functions with a format are in System/variadic.c.

private func name(of block: ContextPointer) -> UnsafePointer<CChar> {
  if block.isReference { return literal(".reference") }
  return block.name ?? literal("UNNAMED")
}

@c(talloc_set_name_const) public func tallocSetNameConst(_ pointer: UnsafeRawPointer?, _ name: UnsafePointer<CChar>?) {
  block(pointer)?.name = name
}

@c(talloc_get_name) public func tallocGetName(_ pointer: UnsafeRawPointer?) -> UnsafePointer<CChar>? {
  block(pointer).map { name(of: $0) }
}

@c(talloc_parent_name) public func tallocParentName(_ pointer: UnsafeRawPointer?) -> UnsafePointer<CChar>? {
  block(pointer)?.parent?.name
}

private func isNamed(_ block: ContextPointer, _ text: UnsafePointer<CChar>) -> Bool {
  let own = name(of: block)
  return own == text || strcmp(own, text) == 0
}

@c(talloc_check_name) public func tallocCheckName(
  _ pointer: UnsafeRawPointer?, _ name: UnsafePointer<CChar>
) -> UnsafeMutableRawPointer? {
  guard let checked = block(pointer), isNamed(checked, name) else { return nil }
  return checked.payload
}

@c(_talloc_get_type_abort) public func tallocGetTypeAbort(
  _ pointer: UnsafeRawPointer?, _ expected: UnsafePointer<CChar>, _ location: UnsafePointer<CChar>?
) -> UnsafeMutableRawPointer? {
  guard let checked = block(pointer) else {
    mempool_talloc_mismatch(location, nil, expected)
    return nil
  }
  if isNamed(checked, expected) { return checked.payload }
  mempool_talloc_mismatch(location, name(of: checked), expected)
  return nil
}

@c(talloc_find_parent_byname) public func tallocFindParentByName(
  _ pointer: UnsafeRawPointer?, _ name: UnsafePointer<CChar>
) -> UnsafeMutableRawPointer? {
  var next = block(pointer)
  while let here = next {
    if let own = here.name, strcmp(own, name) == 0 { return here.payload }
    next = here.parent
  }
  return nil
}

// MARK: Strings

private func text(_ payload: UnsafeMutableRawPointer) -> UnsafeMutablePointer<CChar> {
  payload.assumingMemoryBound(to: CChar.self)
}

// A string is its own name.
private func makeString(
  _ context: UnsafeRawPointer?, _ source: UnsafePointer<CChar>, _ length: Int
) -> UnsafeMutablePointer<CChar>? {
  guard let payload = make(context, UInt(length) + 1, nil) else { return nil }
  let string = text(payload)
  memcpy(payload, source, length)
  string[length] = 0
  ContextPointer(payload: payload).name = UnsafePointer(string)
  return string
}

private func append(
  _ string: UnsafeMutablePointer<CChar>, _ length: Int, _ source: UnsafePointer<CChar>, _ count: Int
) -> UnsafeMutablePointer<CChar>? {
  guard let payload = tallocRealloc(nil, string, UInt(length) + UInt(count) + 1, literal("char")) else { return nil }
  let longer = text(payload)
  memcpy(longer + length, source, count)
  longer[length + count] = 0
  ContextPointer(payload: payload).name = UnsafePointer(longer)
  return longer
}

// Where the buffer of a string ends: at the last byte of its block, whatever is in it.
private func bufferLength(_ string: UnsafeMutablePointer<CChar>) -> Int {
  max(Int(ContextPointer(payload: UnsafeRawPointer(string)).size) - 1, 0)
}

@c(talloc_strdup) public func tallocStrdup(
  _ context: UnsafeRawPointer?, _ source: UnsafePointer<CChar>?
) -> UnsafeMutablePointer<CChar>? {
  source.flatMap { makeString(context, $0, strlen($0)) }
}

@c(talloc_strndup) public func tallocStrndup(
  _ context: UnsafeRawPointer?, _ source: UnsafePointer<CChar>?, _ count: Int
) -> UnsafeMutablePointer<CChar>? {
  source.flatMap { makeString(context, $0, strnlen($0, count)) }
}

@c(talloc_strdup_append) public func tallocStrdupAppend(
  _ string: UnsafeMutablePointer<CChar>?, _ source: UnsafePointer<CChar>?
) -> UnsafeMutablePointer<CChar>? {
  guard let string else { return tallocStrdup(nil, source) }
  guard let source else { return string }
  return append(string, strlen(string), source, strlen(source))
}

@c(talloc_strdup_append_buffer) public func tallocStrdupAppendBuffer(
  _ string: UnsafeMutablePointer<CChar>?, _ source: UnsafePointer<CChar>?
) -> UnsafeMutablePointer<CChar>? {
  guard let string else { return tallocStrdup(nil, source) }
  guard let source else { return string }
  return append(string, bufferLength(string), source, strlen(source))
}

@c(talloc_strndup_append) public func tallocStrndupAppend(
  _ string: UnsafeMutablePointer<CChar>?, _ source: UnsafePointer<CChar>?, _ count: Int
) -> UnsafeMutablePointer<CChar>? {
  guard let string else { return tallocStrndup(nil, source, count) }
  guard let source else { return string }
  return append(string, strlen(string), source, strnlen(source, count))
}

@c(talloc_strndup_append_buffer) public func tallocStrndupAppendBuffer(
  _ string: UnsafeMutablePointer<CChar>?, _ source: UnsafePointer<CChar>?, _ count: Int
) -> UnsafeMutablePointer<CChar>? {
  guard let string else { return tallocStrndup(nil, source, count) }
  guard let source else { return string }
  return append(string, bufferLength(string), source, strnlen(source, count))
}
