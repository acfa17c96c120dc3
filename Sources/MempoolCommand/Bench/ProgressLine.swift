import Foundation

/// A line on standard error that overwrites itself, when somebody is looking.
struct ProgressLine {
  private let isShown = isatty(FileHandle.standardError.fileDescriptor) == 1

  func show(_ text: String) {
    if isShown { FileHandle.standardError.write(Data("\r\u{1b}[K\(text)".utf8)) }
  }

  func clear() { show("") }
}
