import Foundation

/// The folder of a study: `NAME.json`, `NAME.csv`, a script, an SVG and a PNG for each picture and layout, and `index.html`.
package struct StudyOutput {
  package let folder: URL
  /// Where gnuplot is; nil: there are no pictures.
  package let gnuplot: URL?

  package init(folder: URL, gnuplot: URL? = StudyOutput.findGnuplot()) {
    self.folder = folder
    self.gnuplot = gnuplot
  }

  package static func findGnuplot() -> URL? {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"
    return path.split(separator: ":").map { URL(fileURLWithPath: "\($0)/gnuplot") }
      .first { access($0.path, X_OK) == 0 }
  }

  /// Makes the folder, or says why it cannot: asked before anything is measured.
  package func prepare() throws(StudyError) {
    do {
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    } catch {
      throw StudyError("\(folder.path): no folder can be made there")
    }
    guard access(folder.path, W_OK) == 0 else {
      throw StudyError("\(folder.path): \(String(cString: strerror(errno)))")
    }
  }

  /// Writes everything. Returns what went wrong with the pictures, if something did: the data is written all the same.
  package func write(_ result: StudyResult) throws(StudyError) -> [String] {
    try put(orSay { try result.json() }, "\(result.preset).json")
    try put(Data(result.csv.utf8), "\(result.preset).csv")
    var pictures: [String: String] = [:]
    var complaints: [String] = []
    for plot in result.plots {
      for layout in Plot.Layout.allCases {
        let key = Page.key(plot, layout)
        for format in layout.formats {
          let script = format == "png" ? "\(key)-png.gp" : "\(key).gp"
          try put(Data(plot.script(layout, format: format, output: "\(key).\(format)").utf8), script)
          if let complaint = draw(script) { complaints.append(complaint) }
        }
        pictures[key] = try? String(contentsOf: folder.appendingPathComponent("\(key).svg"), encoding: .utf8)
      }
    }
    try put(Data(Page(result, pictures: pictures).html.utf8), "index.html")
    return complaints
  }

  /// What an earlier study left under these names would be taken for this one's. Other files are the user's.
  package func removeOld(_ result: StudyResult) {
    for plot in result.plots {
      for layout in Plot.Layout.allCases {
        for format in layout.formats {
          try? FileManager.default.removeItem(
            at: folder.appendingPathComponent("\(Page.key(plot, layout)).\(format)"))
        }
      }
    }
  }

  private func orSay(_ body: () throws -> Data) throws(StudyError) -> Data {
    do { return try body() } catch { throw StudyError("a figure of the result is no number: \(error)") }
  }

  private func put(_ data: Data, _ name: String) throws(StudyError) {
    do {
      try data.write(to: folder.appendingPathComponent(name), options: .atomic)
    } catch {
      throw StudyError("\(folder.appendingPathComponent(name).path): cannot be written")
    }
  }

  /// What gnuplot complained of; nil: it made the picture, or is not there.
  private func draw(_ script: String) -> String? {
    guard let gnuplot else { return nil }
    let process = Process()
    process.executableURL = gnuplot
    process.arguments = [script]
    process.currentDirectoryURL = folder
    let output = Pipe()
    process.standardError = output
    process.standardOutput = FileHandle.nullDevice
    do { try process.run() } catch { return "gnuplot cannot be started: \(error)" }
    let said = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus != 0 else { return nil }
    return "gnuplot made no picture of \(script): \(String(decoding: said.suffix(300), as: UTF8.self))"
  }
}
