"""Writes a table in Markdown, the figures as JSON, and a chart."""

import json
import subprocess

from . import allocators
from .paths import Complaint


def table(heading, rows):
    """A table in Markdown, its columns aligned: the first to the left, the others to the right."""
    cells = [heading, *rows]
    widths = [max(len(str(row[column])) for row in cells) for column in range(len(heading))]

    def line(row):
        first, *others = (str(cell) for cell in row)
        return "| " + " | ".join([first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:]))]) + " |"

    rule = "| " + " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]) + " |"
    return "\n".join([line(heading), rule, *map(line, rows)]) + "\n"


def write_json(path, content):
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


OURS = "'#d62728'"
COLOURS = ["'#7f7f7f'", "'#1f77b4'", "'#2ca02c'", "'#9467bd'", "'#e08214'", "'#17becf'", "'#8c564b'", "'#000000'"]


def plot(path, title, width, height, panels, script):
    allocators.need("gnuplot-nox")
    path.unlink(missing_ok=True)  # An older chart is not this one's success.
    head = [
        f"set terminal svg size {width},{height} dynamic background '#ffffff' font 'sans-serif,11'",
        f"set output {json.dumps(str(path))}",
        f"set multiplot layout {panels},1 title {json.dumps(title)}",
        "set key outside right top",
        "set grid ytics xtics lc rgb '#e4e4e4'",
        "set border 3",
        "set tics nomirror",
    ]
    done = subprocess.run(["gnuplot"], input="\n".join([*head, *script, "unset multiplot", ""]), capture_output=True, text=True)
    if done.returncode or not path.exists() or not path.stat().st_size:
        raise Complaint(f"gnuplot made no chart: {done.stderr[-500:]}")


def chart(path, title, panels, names, ours):
    """Points on a logarithmic scale: a panel for each comparison, a column for each row, a mark for each allocator."""
    width = max(len(comparison.rows) for _, comparison in panels)
    script = ["set xtics rotate by 55 right nomirror", "set logscale y 2"]
    for label, comparison in panels:
        rows = list(comparison.rows)
        if not rows:
            continue
        script.append(f"set ylabel {json.dumps(label)}")
        script.append("set xtics (" + ", ".join(f"{json.dumps(row)} {number}" for number, row in enumerate(rows)) + ")")
        script.append(f"set xrange [-1:{len(rows)}]")
        plots = ["1 with lines lc rgb '#888888' notitle"]
        for number, name in enumerate(names):
            data = f"$data{number}"
            script.append(f"{data} << END")
            script += [f"{place} {comparison.ratio(row, name):.4f}" for place, row in enumerate(rows)]
            script.append("END")
            mark, colour = [4, 6, 8, 10, 12, 1, 2, 3][number % 8], COLOURS[number % 8]
            style = f"pt 7 ps 0.9 lc rgb {OURS}" if name == ours else f"pt {mark} ps 0.6 lc rgb {colour}"
            plots.append(f"{data} with points {style} title {json.dumps(name)} noenhanced")
        script.append("plot " + ", ".join(plots))
    plot(path, title, 260 + 26 * width, 470 * len(panels), len(panels), script)


def curves_chart(path, title, panels, names, ours):
    """Lines: panels of (title, x label, y label, base of the logarithm of x, {name: [(x, y)…]})."""
    script = []
    for heading, x_label, y_label, base, lines in panels:
        script += [f"set title {json.dumps(heading)}", f"set xlabel {json.dumps(x_label)}", f"set ylabel {json.dumps(y_label)}"]
        script += [f"set logscale x {base}", "set autoscale xfix", "set yrange [0:*]"]
        plots = []
        for number, name in enumerate(names):
            script.append(f"$data{number} << END")
            script += [f"{x} {y}" for x, y in lines.get(name, [])]
            script.append("END")
            colour = COLOURS[number % 8]
            style = f"lw 2.5 pt 7 ps 0.6 lc rgb {OURS}" if name == ours else f"lw 1 pt {number + 1} ps 0.5 lc rgb {colour}"
            plots.append(f"$data{number} with linespoints {style} title {json.dumps(name)} noenhanced")
        script.append("plot " + ", ".join(plots))
    plot(path, title, 900, 400 * len(panels), len(panels), script)
