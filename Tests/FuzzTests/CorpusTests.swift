import Foundation
import FuzzDrivers
import Testing

/// The inputs that fuzzing has found to reach something new, and those that once showed a bug, on the ordinary build.
///
/// `corpus.txt` has one a line, as hexadecimal digits; `make fuzz KEEP=1` writes it.
@Suite(.serialized) struct CorpusTests {
  private static func inputs() throws -> [[UInt8]] {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "corpus.txt")
    let text = try String(contentsOf: file, encoding: .utf8)
    return try text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { line in
      // What it once broke may stand behind it.
      var bytes: [UInt8] = [], rest = line.prefix { $0 != " " }
      while !rest.isEmpty {
        bytes.append(try #require(UInt8(rest.prefix(2), radix: 16), "not a byte: \(line)"))
        rest = rest.dropFirst(2)
      }
      return bytes
    }
  }

  @Test(arguments: Fuzz.allCases) func replay(driver: Fuzz) throws {
    let inputs = try Self.inputs().filter { Fuzz(firstByte: $0[0]) == driver }
    #expect(inputs.count >= 10, "a corpus of next to nothing")
    if driver.hasLevels {
      for level in 0...3 {
        let count = inputs.count { Fuzz.level(firstByte: $0[0]) == level }
        #expect(count >= 10, "next to nothing for level \(level)")
      }
    }
    for input in inputs {
      let outcome = input.withUnsafeBufferPointer { Fuzz.run($0) }
      #expect(outcome == .agreed, "\(input.map { String(format: "%02x", $0) }.joined())")
    }
  }

  @Test func everyInputHasADriver() throws {
    for input in try Self.inputs() { #expect(Fuzz(firstByte: input[0]) != nil, "\(input[0])") }
  }

  /// Inputs of plain chance, others each time.
  @Test(arguments: Fuzz.allCases) func chance(driver: Fuzz) throws {
    var state = UInt64.random(in: 1...UInt64.max)
    for number in 0..<300 {
      let seed = state
      let input =
        [driver.firstByte(level: driver.hasLevels ? number % 4 : 0)]
        + (0..<400).map { _ in
          state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
          return UInt8(truncatingIfNeeded: state >> 40)
        }
      let outcome = input.withUnsafeBufferPointer { Fuzz.run($0) }
      #expect(outcome == .agreed, "\(driver), from seed \(seed) on")
    }
  }
}
