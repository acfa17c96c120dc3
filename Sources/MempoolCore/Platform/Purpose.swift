/// What a call wants with an object: so its report says of one that was given back before what has been done to it.
public enum Purpose: Sendable {
  /// To give it back.
  case free
  /// To measure or to resize it.
  case use

  /// Of an object that was given back.
  var freed: StaticString { self == .free ? "double free" : "use after free" }

  /// The same where nothing tells it from memory that was never handed out.
  var freedOrNeverAllocated: StaticString {
    self == .free ? "double free, or never allocated" : "use after free, or never allocated"
  }
}
