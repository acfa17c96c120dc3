/// Where talloc's own source makes a reference, steals or frees for another call: what its log and its reports of a use after free say, word for
/// word, in Debian's libtalloc 2.4.0.
enum Location {
  static var unlink: UnsafePointer<CChar> { literal("../../talloc.c:1435") }
  static var freeChildren: UnsafePointer<CChar> { literal("../../talloc.c:1715") }
  static var move: UnsafePointer<CChar> { literal("../../talloc.c:2094") }
  static var increase: UnsafePointer<CChar> { literal("../../talloc.c:946") }
}

/// A text that is there as long as the process, for C.
func literal(_ text: StaticString) -> UnsafePointer<CChar> {
  UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
}
