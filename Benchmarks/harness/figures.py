"""Medians, spreads, ratios, and the bounds that are reached or not."""

import math
import statistics


def summary(values):
    """The median, and the middle half around it; all of it while there are fewer than four values."""
    values = sorted(values)
    if len(values) < 4:
        low, high = values[0], values[-1]
    else:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": statistics.median(values), "low": low, "high": high, "all": values}


def geometric_mean(values):
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float("nan")


class Bound:
    """A figure that must not be above a bound, or, as a floor, not below it. None for a figure: there is none because it failed."""

    HEADING = ["bound", "figure", "to be", "verdict"]

    def __init__(self, what, figure, bound, unit="", floor=False):
        self.what, self.figure, self.bound, self.unit, self.floor = what, figure, bound, unit, floor
        self.met = figure is not None and (figure >= bound if floor else figure <= bound)

    def verdict(self):
        if self.met:
            return "met"
        if self.figure is None:
            return "missed: it failed"
        if self.bound == 0:
            return f"missed by {self.shown(self.figure)}"
        return f"missed by {abs(self.figure / self.bound - 1) * 100:.0f} %"

    def shown(self, number):
        return "failed" if number is None else (str(number) if isinstance(number, int) else f"{number:.2f}") + self.unit

    def row(self):
        most = "-" if self.bound is None else f"{'≥' if self.floor else '≤'} {self.shown(self.bound)}"
        return [self.what, self.shown(self.figure), most, self.verdict()]

    def as_json(self):
        return {"bound": self.what, "figure": self.figure, "at_least" if self.floor else "at_most": self.bound, "met": self.met}


class Comparison:
    """median[row][allocator] of one measure, only rows that every allocator has. One that has no row at all is no part of it.

    failures[row][allocator]: where a median is missing because that allocator failed, and not because it was not run.
    """

    def __init__(self, medians, names, base, failures):
        self.names = [name for name in names if any(cells.get(name) for cells in medians.values())]
        self.base = base if base in self.names else next(iter(self.names), base)
        self.rows = {row: cells for row, cells in medians.items() if all(cells.get(name) for name in self.names)}
        if not self.names:
            self.rows = {}
        self.left_out = [row for row in medians if row not in self.rows]
        self.all, self.failures = medians, failures

    def without(self, word):
        """The same without the rows whose name begins so."""
        kept = {row: cells for row, cells in self.all.items() if not row.startswith(word)}
        return Comparison(kept, self.names, self.base, self.failures)

    def ratio(self, row, name):
        return self.rows[row][name] / self.rows[row][self.base]

    def mean(self, name):
        return geometric_mean(self.ratio(row, name) for row in self.rows)

    def best_peer(self, ours):
        return min((name for name in self.names if name != ours), key=self.mean)

    def behind(self, ours):
        """How far ours is behind the best peer of each row, the furthest first: its figure to theirs, None where it failed."""
        found = []
        for row, cells in self.all.items():
            peers = [cells[name] for name in self.names if name != ours and cells.get(name)]
            if ours in self.failures.get(row, {}):
                found.append((row, None))
            elif peers and cells.get(ours):
                found.append((row, cells[ours] / min(peers)))
        return sorted(found, key=lambda item: math.inf if item[1] is None else item[1], reverse=True)


MOST_BEHIND = 1.25


def bounds(time, memory, ours, names):
    """What the suite is to reach, of the allocator called ours. Where it failed in every row, each bound is missed."""
    if ours not in names or len(names) < 2:
        return []
    failed = any(ours in by for by in time.failures.values())
    if ours not in time.names and not failed:
        return []  # Nothing of it was run.

    def mean(comparison, peer):
        there = comparison.rows and ours in comparison.names and peer in comparison.names
        return comparison.mean(ours) / comparison.mean(peer) if there else None

    def best(comparison):
        return comparison.best_peer(ours) if comparison.rows and len(set(comparison.names) - {ours}) else None

    found = []
    if ours not in time.names or time.rows:
        if "mimalloc" in time.names and ours != "mimalloc":
            found.append(Bound("time, geometric mean, to mimalloc", mean(time, "mimalloc"), 0.90))
        for what, comparison, bound in (("time", time, 0.95), ("peak memory", memory, 1.0)):
            peer = best(comparison)
            if peer or ours not in comparison.names:
                found.append(Bound(f"{what}, geometric mean, to the best peer ({peer or 'any'})", mean(comparison, peer), bound))
    behind = time.behind(ours)
    if behind:
        row, furthest = behind[0]
        found.insert(2, Bound(f"time, the worst workload to the best peer's ({row})", furthest, MOST_BEHIND))
        beyond = [f"{row}: {'failed' if ratio is None else f'{ratio:.2f}'}" for row, ratio in behind if ratio is None or ratio > MOST_BEHIND]
        what = f"workloads above {MOST_BEHIND} of the best peer's time, of {len(behind)}"
        found.insert(3, Bound(what + (f" ({'; '.join(beyond)})" if beyond else ""), len(beyond), 0))
    return found
