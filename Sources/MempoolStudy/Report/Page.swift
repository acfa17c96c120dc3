import Foundation

/// One page with everything in it: question, pictures, table, and how to make it again. Needs nothing from elsewhere.
package struct Page {
  package let result: StudyResult
  /// The SVG of each plot by its name and layout; what gnuplot did not make is not there.
  package let pictures: [String: String]

  package init(_ result: StudyResult, pictures: [String: String]) {
    self.result = result
    self.pictures = pictures
  }

  package static func key(_ plot: Plot, _ layout: Plot.Layout) -> String { "\(plot.name)-\(layout.rawValue)" }

  static func escaped(_ text: String) -> String {
    text.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;")
      .replacingOccurrences(of: ">", with: "&gt;").replacingOccurrences(of: "\"", with: "&quot;")
  }

  /// An SVG as a part of the page: without what makes it a file, and in the page's colours.
  static func inlined(_ svg: String, label: String) -> String {
    var body = svg
    if let start = body.range(of: "<svg") { body.removeSubrange(body.startIndex..<start.lowerBound) }
    func replace(_ colour: String, _ variable: String) {
      let components = stride(from: 1, to: 7, by: 2).map { place -> String in
        let start = colour.index(colour.startIndex, offsetBy: place)
        return String(Int(colour[start..<colour.index(start, offsetBy: 2)], radix: 16) ?? 0)
      }
      // gnuplot writes strokes as #rrggbb or by their components, with spaces of its own.
      let decimal = components.joined(separator: ", *")
      body = body.replacingOccurrences(
        of: "(?i)\(colour)|rgb\\( *\(decimal) *\\)", with: "var(\(variable))", options: .regularExpression)
    }
    replace(Plot.textColour, "--ink")
    replace(Plot.faintColour, "--faint")
    for (index, colour) in Plot.curveColours.enumerated() { replace(colour, "--c\(index)") }
    // In an attribute a variable means nothing; in a style it does.
    for attribute in ["stroke", "fill", "color"] {
      body = body.replacingOccurrences(
        of: "(\\s)\(attribute)\\s*=\\s*(['\"])(\\s*)(var\\(--[a-z0-9]+\\))\\s*\\2", with: "$1style=$2\(attribute):$4$2",
        options: .regularExpression)
    }
    if let end = body.range(of: "<svg") {
      body.replaceSubrange(end, with: "<svg role=\"img\" aria-label=\"\(escaped(label))\"")
    }
    return body
  }

  package var html: String {
    let plots = result.plots
    let sections = plots.enumerated().map { index, plot -> String in
      let drawn = Plot.Layout.allCases.compactMap { layout in
        pictures[Self.key(plot, layout)].map {
          "<div class=\"\(layout.rawValue)\">\(Self.inlined($0, label: plot.title))</div>"
        }
      }
      let picture =
        drawn.isEmpty
        ? "<p class=\"missing\">No picture: gnuplot was not there. The script \(Self.escaped(plot.name)).gp beside this page makes it.</p>"
        : drawn.joined(separator: "\n")
      return "<figure\(index == 0 ? " class=\"first\"" : "")>\(picture)</figure>"
    }
    let notes = result.caveats.map { "<li>\(Self.escaped($0))</li>" }.joined(separator: "\n")
    return """
      <!doctype html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta name="color-scheme" content="light dark">
      <link rel="icon" href="data:,">
      <title>\(Self.escaped(result.title))</title>
      <style>\(Self.style)</style>
      </head>
      <body>
      <main>
      <header>
      <p class="kicker">mempool study \(Self.escaped(result.preset))</p>
      <h1>\(Self.escaped(result.question))</h1>
      <p class="lead">\(Self.escaped(lead))</p>
      </header>
      \(sections.joined(separator: "\n"))
      \(simulation)
      <section>
      <h2>How far to trust it</h2>
      <ul>
      \(notes)
      </ul>
      <p class="machine">\(Self.escaped(machine))</p>
      </section>
      <section>
      <h2>Again</h2>
      <pre><code>\(Self.escaped(result.command))</code></pre>
      </section>
      <section>
      <h2>Figures</h2>
      \(tables)
      </section>
      </main>
      </body>
      </html>

      """
  }

  /// The best and the worst of what was measured, so that the answer need not be looked for.
  private var lead: String {
    let sorted = result.rows.sorted { $0.operationsPerSecond.median > $1.operationsPerSecond.median }
    guard let best = sorted.first, let worst = sorted.last else { return "" }
    let coverage = Int(100 * best.operationsPerSecond.medianInterval().coverage)
    func text(_ row: StudyResult.Row) -> String {
      "\(row.series) at \(result.axis.title) \(result.axis.labels[row.position])"
    }
    return
      "Fastest: \(text(best)), \(best.operationsPerSecond.median.short) operations a second. "
      + "Slowest: \(text(worst)), \(worst.operationsPerSecond.median.short). "
      + "Medians of \(best.operationsPerSecond.count) interleaved rounds of \(result.millisecondsPerRun) ms; bars hold the median with \(coverage) %."
  }

  private var machine: String {
    let machine = result.machine
    return "\(machine.processor), \(machine.processors) processors, "
      + "\(Double(machine.memoryBytes >> 20).short) MiB, \(machine.kernel) on \(machine.architecture). Seed \(result.seed)."
  }

  private var simulation: String {
    guard let simulated = result.simulated else { return "" }
    let costs = simulated.costs
    let lines = simulated.checks.map { check in
      "<tr><th>\(Self.escaped(check.series)), \(check.threads)</th><td>\(check.measured.short)</td>"
        + "<td>\(check.simulated.short)</td><td>\(String(format: "%.2f", check.ratio))</td></tr>"
    }
    let machine = String(
      format:
        "It has one thread a core, a hit of %.1f ns, a transfer of %.0f ns and an overhead of %.1f ns, as measured here; "
        + "one access to a line at a time, in order, and no scheduler.",
      costs.hit, costs.transfer, costs.overhead)
    var error =
      simulated.checks.isEmpty
      ? "It could not be compared with the real one."
      : String(
        format: "Where both could be run it is off by a factor of %.2f in half of the points, %.2f at worst.",
        simulated.typicalFactor, simulated.worstFactor)
    if simulated.unfit > 0 {
      error += " \(simulated.unfit) points were measured while others had the processors, and compare nothing."
    }
    let table =
      simulated.checks.isEmpty
      ? ""
      : """
      <div class="scroll"><table>
      <tr><th>series, threads</th><th>measured</th><th>simulated</th><th>ratio</th></tr>
      \(lines.joined(separator: "\n"))
      </table></div>
      """
    return """
      <section>
      <h2>What the simulation is worth</h2>
      <p>\(Self.escaped("\(error) \(machine)"))</p>
      \(table)
      </section>
      """
  }

  private var tables: String {
    result.axis.labels.enumerated().map { position, label -> String in
      let rows = result.rows.filter { $0.position == position }
      guard !rows.isEmpty else { return "" }
      let head = result.tableHead.map { "<th>\(Self.escaped($0))</th>" }.joined()
      let body = rows.map { row -> String in
        let cells = result.tableLine(row)
        return "<tr><th>\(Self.escaped(cells[0]))</th>"
          + cells.dropFirst().map { "<td>\(Self.escaped($0))</td>" }.joined() + "</tr>"
      }
      return """
        <details\(position == 0 ? " open" : "")><summary>\(Self.escaped("\(result.axis.title): \(label)"))</summary>
        <div class="scroll"><table><tr>\(head)</tr>
        \(body.joined(separator: "\n"))
        </table></div></details>
        """
    }.joined(separator: "\n")
  }

  private static let style = """
    :root { --paper: #fcfcfb; --ink: #26262c; --soft: #62626c; --faint: #c4c4cc; --card: #ffffff; --accent: #2f6fde;
      --c0: #2f6fde; --c1: #cc5522; --c2: #1f8455; --c3: #a044bb; --c4: #977208; --c5: #c93663; --c6: #2b8498; --c7: #75634c; --c8: #5862cf; }
    @media (prefers-color-scheme: dark) {
      :root { --paper: #16171b; --ink: #e6e6ea; --soft: #a4a4b0; --faint: #4a4a54; --card: #1d1f25; --accent: #85aefc;
        --c0: #85aefc; --c1: #ff9a63; --c2: #5fd09a; --c3: #d694ec; --c4: #e2bd55; --c5: #ff87ab; --c6: #74d0e4; --c7: #c9b496; --c8: #a9b0ff; }
    }
    * { box-sizing: border-box; }
    body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
    main { max-width: 960px; margin: 0 auto; padding: 24px 20px 64px; }
    h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 8px; text-wrap: balance; }
    h2 { font-size: 1.1rem; margin: 36px 0 8px; }
    .kicker { color: var(--accent); font: 600 .8rem ui-monospace, monospace; margin: 0 0 6px; }
    .lead, .machine { color: var(--soft); margin: 0 0 16px; }
    figure { background: var(--card); border: 1px solid var(--faint); border-radius: 10px; margin: 0 0 16px; padding: 10px; }
    figure svg { display: block; width: 100%; height: auto; }
    .narrow { display: none; }
    @media (max-width: 640px) { .wide { display: none; } .narrow { display: block; } h1 { font-size: 1.3rem; } main { padding: 16px 12px 48px; } figure { padding: 4px; } }
    .missing { color: var(--soft); padding: 16px; margin: 0; }
    pre { background: var(--card); border: 1px solid var(--faint); border-radius: 8px; padding: 12px; overflow-x: auto; }
    details { border-top: 1px solid var(--faint); padding: 8px 0; }
    summary { cursor: pointer; font-weight: 600; }
    .scroll { overflow-x: auto; }
    table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; margin: 8px 0; }
    th, td { padding: 4px 10px; white-space: nowrap; text-align: right; }
    th:first-child { text-align: left; }
    tr + tr { border-top: 1px solid var(--faint); }
    tr th { font-weight: 500; color: var(--soft); }
    """
}
