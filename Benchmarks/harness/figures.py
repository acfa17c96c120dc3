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
    """A figure that must not be above a bound, or, as a floor, not below it."""

    HEADING = ["bound", "figure", "to be", "verdict"]

    def __init__(self, what, figure, bound, unit="", floor=False, met=None):
        self.what, self.figure, self.bound, self.unit, self.floor = what, figure, bound, unit, floor
        self.met = met if met is not None else figure >= bound if floor else figure <= bound

    def verdict(self):
        if not self.met and not math.isfinite(self.figure):
            return "missed: it failed"
        return "met" if self.met else f"missed by {abs(self.figure / self.bound - 1) * 100:.0f} %"

    def row(self):
        most = f"{'≥' if self.floor else '≤'} {self.bound:.2f}{self.unit}"
        return [self.what, f"{self.figure:.2f}{self.unit}", most, self.verdict()]

    def as_json(self):
        return {"bound": self.what, "figure": self.figure, "at_least" if self.floor else "at_most": self.bound, "met": self.met}


class Comparison:
    """median[row][allocator] of one measure, only rows that every allocator has."""

    def __init__(self, medians, names, base):
        self.names, self.base = names, base
        self.rows = {row: cells for row, cells in medians.items() if all(cells.get(name) for name in names)}
        self.left_out = [row for row in medians if row not in self.rows]
        self.all = medians

    def ratio(self, row, name):
        return self.rows[row][name] / self.rows[row][self.base]

    def mean(self, name):
        return geometric_mean(self.ratio(row, name) for row in self.rows)

    def best_peer(self, ours):
        return min((name for name in self.names if name != ours), key=self.mean)

    def worst(self, ours):
        """The row in which ours is furthest behind the best peer of that row, and how far. A row that ours has not is the furthest."""
        behind = {}
        for row, cells in self.all.items():
            peers = [cells[name] for name in self.names if name != ours and cells.get(name)]
            if peers:
                behind[row] = cells[ours] / min(peers) if cells.get(ours) else math.inf
        return max(behind.items(), key=lambda item: item[1])


def bounds(time, memory, ours):
    """What the suite is to reach, of the allocator called ours."""
    if ours not in time.names or len(time.names) < 2 or not time.rows:
        return []
    found = []
    if "mimalloc" in time.names:
        found.append(Bound("time, geometric mean, to mimalloc", time.mean(ours) / time.mean("mimalloc"), 0.90))
    best = time.best_peer(ours)
    found.append(Bound(f"time, geometric mean, to the best peer ({best})", time.mean(ours) / time.mean(best), 0.95))
    row, behind = time.worst(ours)
    found.append(Bound(f"time, the worst workload to the best peer's ({row})", behind, 1.25))
    best = memory.best_peer(ours)
    found.append(Bound(f"peak memory, geometric mean, to the best peer ({best})", memory.mean(ours) / memory.mean(best), 1.0))
    return found
