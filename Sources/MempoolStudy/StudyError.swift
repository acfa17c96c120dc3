/// Why a study cannot go on, in a sentence.
package struct StudyError: Error, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }
}
