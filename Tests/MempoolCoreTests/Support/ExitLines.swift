import Testing

/// What an exit test wrote to its standard error, line by line.
func lines(_ result: ExitTest.Result?) -> [String] {
  String(decoding: result?.standardErrorContent ?? [], as: UTF8.self).split(separator: "\n").map(String.init)
}
