import Foundation

/// One picture, as a script for gnuplot with the data in it, which makes SVG and PNG.
///
/// Colours stand for roles: the page replaces them in the SVG by its own, light and dark. By themselves they are seen on
/// white and, lines at least, on black.
package struct Plot {
  package struct Curve {
    package var title: String
    /// x, y, and from where to where y lies; nil where it is not known.
    package var points: [(x: Double, y: Double, lower: Double?, upper: Double?)]
    /// Simulated: drawn as a line without points.
    package var isDashed = false
  }

  package var name: String
  package var title: String
  package var xTitle: String
  /// Marks of the axis, or none: then it is logarithmic with base 2.
  package var xLabels: [String]
  package var yIsLogarithmic: Bool
  package var curves: [Curve]
  /// From this mark on there are more threads than processors.
  package var overloadedFrom: Double?

  package static let textColour = "#404048"
  package static let faintColour = "#b0b0b8"
  package static let curveColours = [
    "#2f6fde", "#d9612b", "#2a9463", "#a64fc0", "#b58a12", "#cf3f6b", "#3c98ad", "#7a6a55", "#6470d8",
  ]

  /// How a picture is laid out: wide for a laptop, narrow for a phone.
  package enum Layout: String, CaseIterable {
    case wide, narrow

    var size: (width: Int, height: Int) { self == .wide ? (860, 400) : (400, 460) }
    var formats: [String] { self == .wide ? ["svg", "png"] : ["svg"] }
    var key: String {
      self == .wide ? "set key outside right center" : "set key outside bottom center maxcols 2"
    }
  }

  /// - Parameters:
  ///   - format: `svg` or `png`.
  ///   - output: The file that gnuplot writes, beside the script.
  package func script(_ layout: Layout, format: String, output: String) -> String {
    let size = layout.size
    var lines = ["# Makes \(output): gnuplot \(output.replacingOccurrences(of: ".\(format)", with: ".gp"))"]
    if format == "svg" {
      lines.append(
        "set terminal svg size \(size.width),\(size.height) dynamic font 'sans-serif,13' name '\(identifier)\(layout.rawValue)'"
      )
    } else {
      lines.append("set terminal pngcairo size \(size.width * 3 / 2),\(size.height * 3 / 2) font 'sans-serif,15'")
    }
    lines += ["set output \(quoted(output))", "set encoding utf8"]
    for (index, curve) in curves.enumerated() {
      lines.append("$curve\(index) << END")
      lines += curve.points.map { point in
        String(format: "%.6g %.6g %.6g %.6g", point.x, point.y, point.lower ?? point.y, point.upper ?? point.y)
      }
      lines.append("END")
    }
    lines += [
      "set title \(quoted(title)) textcolor rgb '\(Plot.textColour)'",
      "set xlabel \(quoted(xTitle)) textcolor rgb '\(Plot.textColour)'",
      "set border 3 linecolor rgb '\(Plot.textColour)'",
      "set tics nomirror textcolor rgb '\(Plot.textColour)'",
      "set grid ytics linecolor rgb '\(Plot.faintColour)' linewidth 0.5 dashtype 3",
      "\(layout.key) textcolor rgb '\(Plot.textColour)' samplen 1.5 noenhanced",
    ]
    if xLabels.isEmpty {
      lines += ["set logscale x 2", "set xrange [0.9:300]"]
    } else {
      let marks = xLabels.enumerated().map { "\(quoted($1)) \($0)" }.joined(separator: ", ")
      // Words do not fit beside each other.
      let slant = xLabels.contains { $0.count > 8 } ? "rotate by -30 " : ""
      lines += ["set xtics \(slant)(\(marks))", "set xrange [-0.3:\(Double(xLabels.count) - 0.7)]"]
    }
    lines += yIsLogarithmic ? ["set logscale y", "set format y '%g'"] : ["set yrange [0:*]"]
    if let overloadedFrom {
      lines += [
        "set object 1 rectangle from \(overloadedFrom), graph 0 to graph 1, graph 1 behind fillcolor rgb '\(Plot.faintColour)' "
          + "fillstyle solid 0.25 noborder",
        "set label 1 'more threads than processors' at \(overloadedFrom + 0.05), graph 0.97 left "
          + "textcolor rgb '\(Plot.textColour)' font ',10'",
      ]
    }
    let drawn = curves.enumerated().map { index, curve -> String in
      let colour = Plot.curveColours[index % Plot.curveColours.count]
      if curve.isDashed {
        return "$curve\(index) using 1:2 with lines linecolor rgb '\(colour)' linewidth 2 title \(quoted(curve.title))"
      }
      return "$curve\(index) using 1:2:3:4 with yerrorlines linecolor rgb '\(colour)' linewidth 1.6 pointtype 7 "
        + "pointsize 0.5 title \(quoted(curve.title))"
    }
    lines.append("plot \(drawn.joined(separator: ", \\\n  "))")
    return lines.joined(separator: "\n") + "\n"
  }

  private var identifier: String { name.filter { $0.isLetter || $0.isNumber } }

  /// In gnuplot's quotes, in which only they themselves mean something; what would be one of its marks is not used.
  private func quoted(_ text: String) -> String { "'\(text.replacingOccurrences(of: "'", with: "''"))'" }
}

extension StudyResult {
  /// The pictures of the preset, and of the simulated machine.
  package var plots: [Plot] {
    let charts = Preset.named(preset)?.charts ?? [.throughput, .latency, .memory]
    var plots = charts.map(plot)
    if let simulated { plots.append(Self.plot(simulated, of: preset)) }
    return plots
  }

  private func plot(_ chart: Preset.Chart) -> Plot {
    let curves = seriesNames.map { name in
      Plot.Curve(
        title: name,
        points: rows.filter { $0.series == name }.sorted { $0.position < $1.position }.map { row in
          let x = Double(row.position)
          func sampled(_ sample: Sample, by unit: Double = 1) -> (x: Double, y: Double, lower: Double?, upper: Double?)
          {
            let interval = sample.medianInterval()
            return (x, sample.median / unit, interval.lower / unit, interval.upper / unit)
          }
          switch chart {
          case .throughput: return sampled(row.operationsPerSecond, by: 1e6)
          case .failures: return sampled(row.claims?.failuresPerThousand ?? Sample([0]))
          case .latency: return (x, Double(max(1, row.latency?.p99 ?? 1)), nil, nil)
          case .fairness: return sampled(row.claims?.fairness ?? Sample([1]))
          case .waiting: return sampled(row.claims?.waitingPercent ?? Sample([0]))
          case .memory: return sampled(row.peakMebibytes ?? Sample([0]))
          }
        })
    }
    let first = rows.filter { $0.threads > machine.processors }.map(\.position).min()
    let isOfThreads = axis.title == "threads"
    return Plot(
      name: "\(preset)-\(chart.rawValue)", title: chart.title, xTitle: axis.title, xLabels: axis.labels,
      yIsLogarithmic: chart == .latency, curves: curves,
      overloadedFrom: isOfThreads ? first.map { Double($0) - 0.5 } : nil)
  }

  private static func plot(_ simulated: Simulated, of preset: String) -> Plot {
    var names: [String] = []
    for row in simulated.rows where !names.contains(row.series) { names.append(row.series) }
    return Plot(
      name: "\(preset)-simulated", title: "Million operations a second on the simulated machine", xTitle: "cores",
      xLabels: [], yIsLogarithmic: true,
      curves: names.map { name in
        Plot.Curve(
          title: name,
          points: simulated.rows.filter { $0.series == name }.map {
            (Double($0.cores), $0.operationsPerSecond / 1e6, nil, nil)
          },
          isDashed: true)
      }, overloadedFrom: nil)
  }
}
