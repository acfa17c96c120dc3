"""What an allocator costs a program that does nothing: after a burst, and from the start."""

import concurrent.futures
import pathlib
import random
import statistics

from . import figures, report
from .paths import PROGRAMS
from .running import Failed, measure, run_workload

MODES = {
    "own": "freed by its own threads",
    "exited": "freed by others after those exited",
    "blocked": "4 KiB and more, freed by others while those are blocked",
}
# How many threads take the burst: of the allocator that is judged each, of its peers PEERS_THREADS.
THREADS = [1, 2, 4]
PEERS_THREADS = 2
CASES = {(mode, threads): f"{what}, {threads} thread{'s' * (threads > 1)}" for mode, what in MODES.items() for threads in THREADS}
MOMENTS = {"before_KiB": "before", "burst_KiB": "burst", "freed_KiB": "freed", "after_KiB": "idle", "lazy_KiB": "idle, LazyFree beside it"}
# So many hold 140 MiB each, and sleep, at once.
AT_ONCE = 12
HUGE_PAGES = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


class Idle:
    def __init__(self, names, ours):
        self.names, self.ours = names, ours
        self.bursts = {case: {} for case in CASES}  # case → allocator → KiB before, at the peak, freed, after; None: it failed
        self.starts = {}  # setting of huge pages → allocator → median seconds and KiB
        self.note = ""

    def bounds(self):
        found = []
        for case, what in CASES.items():
            if self.ours not in self.bursts[case]:
                continue
            figure = self.bursts[case][self.ours]
            after, most = (figure["after_KiB"] / 1024, (1.2 * figure["before_KiB"] + 1024) / 1024) if figure else (None, None)
            found.append(figures.Bound(f"Private_Dirty after a burst {what}", after, most, " MiB"))
        for setting, by in self.starts.items():
            if self.ours in by and "glibc" in by and self.ours != "glibc":
                time, memory = (by[self.ours][key] - by["glibc"][key] for key in ("seconds", "peak_KiB"))
                found.append(figures.Bound(f"start-up above glibc's, time, huge pages {setting}", time * 1000, 1.0, " ms"))
                found.append(figures.Bound(f"start-up above glibc's, peak memory, huge pages {setting}", memory / 1024, 1.0, " MiB"))
        return found

    def text(self):
        rows = []
        for case, what in CASES.items():
            by = self.bursts[case]
            for key, moment in MOMENTS.items():
                if not by or key == "lazy_KiB" and not any(figure and key in figure for figure in by.values()):
                    continue
                rows.append([f"{what}: {moment}", *(self.cell(by, name, key) for name in self.names)])
        text = "\n## Memory after a burst, Private_Dirty, MiB\n\n"
        if rows:
            text += "Before a burst of 128 MiB, with it, when it is freed, and after 10 idle seconds in which the program calls nothing.\n"
            text += "LazyFree is what was given back in a way that the system takes it when it needs it: not dirty, but there until then.\n"
            text += f"The peers have {PEERS_THREADS} threads only.\n\n" + report.table(["burst", *self.names], rows)
        else:
            text += "Not measured.\n"
        rows = []
        for setting, by in self.starts.items():
            for key, unit, factor in (("seconds", "ms", 1000), ("peak_KiB", "MiB", 1 / 1024)):
                rows.append([f"{unit}, huge pages {setting}", *(f"{by[name][key] * factor:.2f}" if name in by else "failed" for name in self.names)])
        if rows:
            text += "\n## Start-up: a program that allocates nothing\n\n" + report.table(["medians", *self.names], rows)
        return text + self.note

    @staticmethod
    def cell(by, name, key):
        if name not in by:
            return "-"
        return "failed" if by[name] is None else f"{by[name][key] / 1024:.1f}" if key in by[name] else "-"

    def as_json(self):
        return {"after_burst": {f"{mode}, {threads}": by for (mode, threads), by in self.bursts.items() if by}, "start_up": self.starts}


def burst_runs(peers, ours):
    """Which case on which allocator."""
    return [(case, peer) for case in CASES for peer in peers if peer.name == ours or case[1] == PEERS_THREADS]


def after_bursts(found, peers, progress, limit=120):
    """Side by side: they hold memory and sleep, and nothing of it is timed."""
    progress.note("memory after a burst: 10 idle seconds")

    def one(case, peer):
        return run_workload(peer, "after-burst", ["--mode", case[0], "--threads", case[1]], limit)

    with concurrent.futures.ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        runs = [(case, peer.name, pool.submit(one, case, peer)) for case, peer in burst_runs(peers, found.ours)]
    for case, name, run in runs:
        try:
            found.bursts[case][name] = {key: value for key, value in run.result().items() if key in MOMENTS}
        except Failed as why:
            found.bursts[case][name] = None
            progress.say(f"after a burst ({CASES[case]}) on {name}: {why}")


def start_ups(peers, runs, progress, budget):
    progress.note("start-up")
    samples = {peer.name: [] for peer in peers}
    until = progress.elapsed() + budget
    for number in range(runs):
        if number >= 3 and progress.elapsed() > until:
            progress.say(f"start-up: {number} runs, no time for more")
            break
        for peer in random.Random(number).sample(peers, len(peers)):
            if peer.name not in samples:
                continue
            try:
                samples[peer.name].append(measure(peer, [PROGRAMS / "nothing"])[0])
            except Failed as why:
                del samples[peer.name]
                progress.say(f"start-up on {peer.name}: {why}")
    return {
        name: {key: statistics.median(figure[key] for figure in got) for key in ("seconds", "peak_KiB")} for name, got in samples.items()
    }


def huge_pages():
    try:
        text = HUGE_PAGES.read_text()
        return text[text.index("[") + 1 : text.index("]")]
    except (OSError, ValueError):
        return "unknown"


def measure_idle(peers, ours, chosen, progress, until):
    """until: when, by the clock of progress, all of it is to be done. What does not fit is left out, and said to be."""
    found = Idle([peer.name for peer in peers], ours)
    runs = 40 if chosen.quick else 200
    now = huge_pages()
    if until - progress.elapsed() > 5:
        found.starts[now] = start_ups(peers, runs, progress, min(10, until - progress.elapsed()) if chosen.quick else 600)
    else:
        found.note += "\nNo time for start-up.\n"
    if now != "always":
        if chosen.always_huge_pages:
            try:
                HUGE_PAGES.write_text("always")
                found.starts["always"] = start_ups(peers, runs, progress, 10 if chosen.quick else 600)
            except OSError as why:
                found.note += f"\nHuge pages cannot be set to always here: {why.strerror}.\n"
            finally:
                if huge_pages() != now:
                    HUGE_PAGES.write_text(now)
        else:
            found.note += f"\nHuge pages are on {now} here; --always-huge-pages measures this with always, too.\n"
    # Ten seconds of sleep, and on a loaded machine twice as many of work, for each so many that run at once.
    groups = -(-len(burst_runs(peers, ours)) // AT_ONCE)
    left = until - progress.elapsed()
    if left >= 13 * groups:
        after_bursts(found, peers, progress, limit=int(min(120, left / groups)))
    else:
        found.note += "\nNo time for memory after a burst.\n"
    return found
