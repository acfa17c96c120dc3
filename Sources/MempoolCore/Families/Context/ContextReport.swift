import CMempoolShims

// Reports of a tree: as text, as JSON, as a graph for Graphviz. In constant memory; what is written is in the order of a walk.
extension UnsafeMutablePointer where Pointee == ContextBlock {
  /// A line a block: its name, its bytes, and, with a star, that it is a pool.
  public func writeText<Sink: ByteSink>(to sink: inout Sink, depths: Int? = nil) {
    var depth = 0
    var next: ContextPointer? = self
    while let here = next {
      sink.write(byte: UInt8(ascii: " "), count: 2 * depth)
      if here.isReference { sink.write("-> ") }
      (here.isReference ? here.target ?? here : here).writeName(to: &sink, quotes: false)
      if !here.isReference {
        sink.write(" ")
        sink.write(decimal: here.size)
        if here.isPool { sink.write(" pool") }
        if here.referenceCount > 0 {
          sink.write(" references ")
          sink.write(decimal: here.referenceCount)
        }
      }
      sink.write("\n")
      let goesOn = depths.map { depth < $0 } ?? true
      next =
        goesOn ? here.following(below: self, depth: &depth) : here.followingBeside(below: self, depth: &depth)
    }
  }

  /// An array of objects with `id`, `parent`, `name`, `size`, and, of a pool, `pool`, of a reference, `reference`: the id that it stands for. Ids are
  /// addresses, and only say which block is which; parents come before their children.
  public func writeJSON<Sink: ByteSink>(to sink: inout Sink) {
    var depth = 0
    var next: ContextPointer? = self
    sink.write("[")
    while let here = next {
      if here != self { sink.write(",") }
      sink.write("\n{\"id\": ")
      sink.write(decimal: here.address)
      sink.write(", \"parent\": ")
      if here != self, let parent = here.parent { sink.write(decimal: parent.address) } else { sink.write("null") }
      sink.write(", \"name\": ")
      here.writeName(to: &sink, quotes: true)
      sink.write(", \"size\": ")
      sink.write(decimal: here.size)
      if here.isPool { sink.write(", \"pool\": true") }
      if let target = here.target {
        sink.write(", \"reference\": ")
        sink.write(decimal: target.address)
      }
      sink.write("}")
      next = here.following(below: self, depth: &depth)
    }
    sink.write("\n]\n")
  }

  /// A directed graph: an arrow to each child, a dashed one from a reference's parent to what it stands for.
  public func writeGraph<Sink: ByteSink>(to sink: inout Sink) {
    var depth = 0
    var next: ContextPointer? = self
    sink.write("digraph context {\n")
    while let here = next {
      if let target = here.target {
        if let parent = here.parent { Self.arrow(to: &sink, parent, target, " [style=dashed];\n") }
      } else {
        sink.write("  n")
        sink.write(decimal: here.address)
        sink.write(" [label=")
        here.writeName(to: &sink, quotes: true)
        sink.write(here.isPool ? ", shape=box];\n" : "];\n")
        if here != self, let parent = here.parent { Self.arrow(to: &sink, parent, here, ";\n") }
      }
      next = here.following(below: self, depth: &depth)
    }
    sink.write("}\n")
  }

  private static func arrow<Sink: ByteSink>(
    to sink: inout Sink, _ from: ContextPointer, _ block: ContextPointer, _ end: StaticString
  ) {
    sink.write("  n")
    sink.write(decimal: from.address)
    sink.write(" -> n")
    sink.write(decimal: block.address)
    sink.write(end)
  }

  // What could end a string, or is no character, is shown as `?`.
  private func writeName<Sink: ByteSink>(to sink: inout Sink, quotes: Bool) {
    if quotes { sink.write("\"") }
    if isReference {
      sink.write(".reference")
    } else if var next = name {
      while next.pointee != 0 {
        let byte = UInt8(bitPattern: next.pointee)
        let isPlain = byte >= 32 && byte != 127 && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\")
        sink.write(byte: isPlain ? byte : UInt8(ascii: "?"))
        next += 1
      }
    } else {
      sink.write("UNNAMED")
    }
    if quotes { sink.write("\"") }
  }
}
