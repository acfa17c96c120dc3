"""What an allocator costs a program that does nothing: after a burst, and from the start."""

import concurrent.futures
import math
import pathlib
import statistics

from . import figures, report
from .paths import PROGRAMS
from .running import Failed, measure, run_workload

MODES = {
    "own": "freed by its own threads",
    "exited": "freed by others after those exited",
    "blocked": "4 KiB and more, freed by others while those are blocked",
}
HUGE_PAGES = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


class Idle:
    def __init__(self):
        self.bursts = {mode: {} for mode in MODES}  # mode → allocator → KiB before, at the peak, freed, after
        self.starts = {}  # setting of huge pages → allocator → median seconds and KiB
        self.names = []
        self.note = ""

    def bounds(self, ours):
        found = []
        for mode, what in MODES.items():
            figure = self.bursts[mode].get(ours)
            if figure is None and ours in self.names:
                found.append(figures.Bound(f"Private_Dirty after a burst {what}: failed", math.inf, math.inf, " MiB", met=False))
            elif figure:
                most = 1.2 * figure["before_KiB"] + 1024
                found.append(figures.Bound(f"Private_Dirty after a burst {what}", figure["after_KiB"] / 1024, most / 1024, " MiB"))
        for setting, by in self.starts.items():
            if ours in by and "glibc" in by and ours != "glibc":
                time, memory = (by[ours][key] - by["glibc"][key] for key in ("seconds", "peak_KiB"))
                found.append(figures.Bound(f"start-up above glibc's, time, huge pages {setting}", time * 1000, 1.0, " ms"))
                found.append(figures.Bound(f"start-up above glibc's, peak memory, huge pages {setting}", memory / 1024, 1.0, " MiB"))
        return found

    def text(self):
        rows = []
        for mode, what in MODES.items():
            for key, moment in (("before_KiB", "before"), ("burst_KiB", "burst"), ("freed_KiB", "freed"), ("after_KiB", "idle")):
                cells = [f"{by[key] / 1024:.1f}" if (by := self.bursts[mode].get(name)) else "failed" for name in self.names]
                rows.append([f"{what}: {moment}", *cells])
        text = "\n## Memory after a burst, Private_Dirty, MiB\n\n"
        text += "Before a burst of 128 MiB, with it, when it is freed, and after 10 idle seconds in which the program calls nothing.\n\n"
        text += report.table(["burst", *self.names], rows)
        rows = []
        for setting, by in self.starts.items():
            rows.append([f"ms, huge pages {setting}", *(f"{by[name]['seconds'] * 1000:.2f}" for name in self.names)])
            rows.append([f"MiB, huge pages {setting}", *(f"{by[name]['peak_KiB'] / 1024:.2f}" for name in self.names)])
        return text + "\n## Start-up: a program that allocates nothing\n\n" + report.table(["medians", *self.names], rows) + self.note

    def as_json(self):
        return {"after_burst": self.bursts, "start_up": self.starts}


def after_bursts(found, peers, progress):
    """All at once: they hold memory and sleep, and nothing of it is timed."""
    progress.note("memory after a burst: 10 idle seconds")

    def one(mode, peer):
        return run_workload(peer, "after-burst", ["--mode", mode])

    with concurrent.futures.ThreadPoolExecutor(max_workers=6) as pool:
        runs = {(mode, peer.name): pool.submit(one, mode, peer) for mode in MODES for peer in peers}
    for (mode, name), run in runs.items():
        try:
            found.bursts[mode][name] = {key: value for key, value in run.result().items() if key.endswith("_KiB")}
        except Failed as why:
            progress.say(f"after a burst ({mode}) on {name}: {why}")


def start_ups(peers, runs, progress):
    progress.note("start-up")
    samples = {peer.name: [] for peer in peers}
    for _ in range(runs):
        for peer in peers:
            samples[peer.name].append(measure(peer, [PROGRAMS / "nothing"])[0])
    return {
        name: {key: statistics.median(figure[key] for figure in got) for key in ("seconds", "peak_KiB")} for name, got in samples.items()
    }


def huge_pages():
    try:
        text = HUGE_PAGES.read_text()
        return text[text.index("[") + 1 : text.index("]")]
    except (OSError, ValueError):
        return "unknown"


def measure_idle(peers, chosen, progress):
    found = Idle()
    found.names = [peer.name for peer in peers]
    runs = 40 if chosen.quick else 200
    now = huge_pages()
    found.starts[now] = start_ups(peers, runs, progress)
    if now != "always":
        if chosen.always_huge_pages:
            try:
                HUGE_PAGES.write_text("always")
                found.starts["always"] = start_ups(peers, runs, progress)
            except OSError as why:
                found.note = f"\nHuge pages cannot be set to always here: {why.strerror}.\n"
            finally:
                if huge_pages() != now:
                    HUGE_PAGES.write_text(now)
        else:
            found.note = f"\nHuge pages are on {now} here; --always-huge-pages measures this with always, too.\n"
    after_bursts(found, peers, progress)
    return found
