"""What the suite makes of samples that are not all there: failures in a later round, rows that were not run, an older chart. Nothing is measured."""

import importlib.machinery
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import types
import unittest
from unittest import mock

sys.dont_write_bytecode = True
BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "Benchmarks"


def load(name):
    loader = importlib.machinery.SourceFileLoader(name, str(BENCHMARKS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


suite, curves = load("suite"), load("curves")
from harness import allocators, idle, paths, real, report, running  # noqa: E402

NAMES = ["glibc", "mimalloc", "mempool"]
PEERS = [types.SimpleNamespace(name=name, library="", version="") for name in NAMES]
MACHINE = {key: "" for key in ("processor", "processors", "memory", "kernel", "date")}


def sample(seconds):
    return {"seconds": seconds, "peak_KiB": 1024}


def samples_of(**rows):
    """One round: seconds of glibc, mimalloc, mempool; None where nothing was measured."""
    return {row: {name: [sample(s)] if s else [] for name, s in zip(NAMES, seconds)} for row, seconds in rows.items()}


class Clock:
    """Progress whose time is set by the test."""

    def __init__(self):
        self.time, self.said = 0, []

    def elapsed(self):
        return self.time

    def note(self, text):
        pass

    def say(self, text):
        self.said.append(text)


class Telling(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.chosen = types.SimpleNamespace(rounds=1, quick=False, output=pathlib.Path(folder.name), no_idle=False)

    def tell(self, samples, failures=None, resting=None):
        text, content = suite.tell(self.chosen, MACHINE, PEERS, samples, failures or {}, resting)
        report.write_json(self.chosen.output / "suite.json", content)  # Refuses what JSON has no word for.
        written = (self.chosen.output / "suite.json").read_text()
        self.assertNotIn("Infinity", written)
        return text, json.loads(written)

    def test_a_failure_in_a_later_round_takes_the_row_out_of_the_means(self):
        text, told = self.tell(samples_of(one=(1, 1, 2), two=(1, 1, 0.5)), {"one": {"mempool": "SIGSEGV"}})
        self.assertEqual(told["geometric_means"]["seconds"]["mempool"], 0.5)
        row = next(line for line in text.splitlines() if line.startswith("| one"))
        self.assertIn("failed", row)
        self.assertNotIn("2.000", row)
        worst = next(bound for bound in told["bounds"] if "worst workload" in bound["bound"])
        self.assertEqual((worst["figure"], worst["met"]), (None, False))

    def test_ours_failed_in_every_row(self):
        text, told = self.tell(samples_of(one=(1, 1, None), two=(1, 1, None)), {row: {"mempool": "SIGSEGV"} for row in ("one", "two")})
        self.assertIn("mempool failed in every row", text)
        self.assertEqual(len(told["bounds"]), 5)
        self.assertFalse(any(bound["met"] for bound in told["bounds"]))
        self.assertEqual(told["geometric_means"]["seconds"]["glibc"], 1)

    def test_all_failed_everywhere(self):
        _, told = self.tell(samples_of(one=(None, None, None)), {"one": {name: "SIGSEGV" for name in NAMES}})
        self.assertTrue(told["bounds"] and not any(bound["met"] for bound in told["bounds"]))

    def test_a_peer_that_failed_everywhere_leaves_the_others_their_means(self):
        _, told = self.tell(samples_of(one=(1, None, 2)), {"one": {"mimalloc": "SIGSEGV"}})
        self.assertEqual(told["geometric_means"]["seconds"], {"glibc": 1, "mempool": 2})

    def test_what_was_not_run_has_not_failed(self):
        text, told = self.tell(samples_of(one=(1, 1, 1), two=(1, None, None)))
        row = next(line for line in text.splitlines() if line.startswith("| two"))
        self.assertEqual((row.count("not run"), row.count("failed")), (2, 0))
        self.assertEqual(told["not_run"], ["two"])
        self.assertTrue(next(bound for bound in told["bounds"] if "worst workload" in bound["bound"])["met"])

    def test_each_workload_that_is_far_behind_is_named(self):
        _, told = self.tell(samples_of(one=(1, 1, 1), two=(1, 2, 1.3), three=(1, 1, 3)))
        bound = next(bound for bound in told["bounds"] if "workloads above 1.25" in bound["bound"])
        self.assertEqual((bound["figure"], bound["met"]), (2, False))
        self.assertIn("three: 3.00; two: 1.30", bound["bound"])

    def test_the_mean_without_large_blocks(self):
        rows = {"one": (1, 1, 1), "large blocks, 2 threads": (1, 1, 0.25)}
        text, told = self.tell(samples_of(**rows))
        self.assertEqual(told["geometric_means"]["seconds"]["mempool"], 0.5)
        self.assertIn("1.000", next(line for line in text.splitlines() if line.startswith("| without large blocks")))

    def test_a_chart_of_a_run_before_does_not_stay(self):
        (self.chosen.output / "suite.svg").write_text("<svg/>")
        self.tell(samples_of(one=(None, None, None)))
        self.assertFalse((self.chosen.output / "suite.svg").exists())

    def test_an_older_chart_is_not_success(self):
        chart = self.chosen.output / "chart.svg"
        chart.write_text("<svg/>")
        done = types.SimpleNamespace(returncode=0, stderr="")
        with mock.patch.object(report.subprocess, "run", return_value=done), self.assertRaises(paths.Complaint):
            report.plot(chart, "title", 100, 100, 1, [])


class Row:
    def __init__(self, name, run):
        self.name, self.run = name, run

    def prepare(self, peers, note):
        pass


class Measuring(unittest.TestCase):
    def setUp(self):
        self.chosen = types.SimpleNamespace(rounds=3, quick=False, no_idle=False)

    def test_an_interrupt_in_the_middle_of_a_row(self):
        ran = []

        def run(peer, factor, limit):
            ran.append(peer.name)
            if len(ran) == 2:
                raise KeyboardInterrupt
            return sample(1)

        samples, failures = suite.measure([Row("one", run)], PEERS, self.chosen, Clock())
        self.assertEqual(({name: len(got) for name, got in samples["one"].items() if got}, failures), ({ran[0]: 1}, {}))
        self.assertEqual((self.chosen.rounds, self.chosen.no_idle), (1, True))

    def test_the_first_quick_round_ends_in_time(self):
        self.chosen.quick = True
        clock = Clock()

        def run(peer, factor, limit):
            clock.time += limit  # Each program takes as long as it may.
            return sample(1)

        samples, failures = suite.measure([Row(f"row {n}", run) for n in range(40)], PEERS, self.chosen, clock)
        self.assertLess(clock.time, suite.QUICK_ROW + suite.QUICK_CELL + 1)
        self.assertTrue(samples["row 0"]["mempool"] and not samples["row 39"]["glibc"] and not failures)
        self.assertIn("no time for round 1 from row", clock.said[-1])


class AtRest(unittest.TestCase):
    def test_ours_with_each_number_of_threads_and_a_bound_for_each(self):
        runs = idle.burst_runs(PEERS, "mempool")
        self.assertEqual(len(runs), len(set((case, peer.name) for case, peer in runs)))
        self.assertEqual(sorted(case[1] for case, peer in runs if peer.name == "mempool"), sorted(3 * [1, 2, 4]))
        self.assertEqual({case[1] for case, peer in runs if peer.name != "mempool"}, {2})
        found = idle.Idle(NAMES, "mempool")
        for case, peer in runs:
            found.bursts[case][peer.name] = {"before_KiB": 1024, "burst_KiB": 4096, "freed_KiB": 2048, "after_KiB": 1024 * case[1], "lazy_KiB": 512}
        found.bursts[("own", 1)]["mempool"] = None
        bounds = {bound.what.removeprefix("Private_Dirty after a burst "): (bound.figure, bound.met) for bound in found.bounds()}
        self.assertEqual(len(bounds), 9)
        self.assertEqual(bounds["freed by its own threads, 1 thread"], (None, False))
        self.assertEqual(bounds["freed by others after those exited, 2 threads"], (2.0, True))
        self.assertEqual(bounds["freed by others after those exited, 4 threads"], (4.0, False))
        self.assertRegex(found.text(), r"1 thread: idle, LazyFree beside it +\| +- \| +- \| +0\.5 \|")
        json.dumps([bound.as_json() for bound in found.bounds()], allow_nan=False)

    def test_what_there_is_no_time_for_is_named(self):
        found = idle.measure_idle(PEERS, "mempool", types.SimpleNamespace(quick=True, always_huge_pages=False), Clock(), until=1)
        self.assertIn("No time for memory after a burst", found.text())
        self.assertFalse(found.starts)

    def test_a_program_of_one_thread_has_no_other(self):
        running.build()
        glibc = types.SimpleNamespace(name="glibc", library="", witness=None, owns=lambda path: True, settings={})
        for mode, threads, most in (("own", 1, 1), ("own", 2, 3), ("exited", 1, 2), ("blocked", 1, 2)):
            told = running.run_workload(glibc, "after-burst", ["--mode", mode, "--threads", threads, "--scale", 0.001])
            self.assertEqual(told["threads"], threads)
            if mode != "exited":  # They may be gone already.
                self.assertEqual(told["threads_at_work"], most)
            self.assertGreater(told["burst_KiB"], told["before_KiB"] + 128 * 1024)


class Servers(unittest.TestCase):
    def test_the_processor_time_is_the_server_s(self):
        script = """source "$1/scripts/server.sh"
        start_server python3 -m http.server --bind 127.0.0.1 PORT
        stop_server || true"""
        with tempfile.TemporaryDirectory() as folder:
            clock = pathlib.Path(folder) / "server-time"
            environment = {**os.environ, "SERVER_TIME": str(clock)}
            subprocess.run(["bash", "-c", script, "bash", BENCHMARKS.parent], cwd=folder, env=environment, check=True)
            self.assertTrue(0.001 < real.server_seconds(clock) < 60)
            clock.write_text("250000000 1 2\n750000000 3 4\n")
            self.assertEqual(real.server_seconds(clock), 1)
            clock.unlink()
            with self.assertRaises(running.Failed):
                real.server_seconds(clock)


class Settings(unittest.TestCase):
    def test_ours_with_a_setting(self):
        ours, hardened = allocators.find("mempool"), allocators.find("level-2=MEMPOOL_HARDEN=2")
        self.assertEqual((hardened.name, hardened.library, hardened.settings), ("level-2", ours.library, {"MEMPOOL_HARDEN": "2"}))
        self.assertEqual(ours.settings, {})
        told = {}
        for one in ours, hardened:
            told[one.name] = running.measure(one, ["sh", "-c", "echo $MEMPOOL_HARDEN"])[1].strip()
        self.assertEqual(told, {"mempool": "", "level-2": "2"})


class Growth(unittest.TestCase):
    def test_a_step_at_a_few_threads_is_a_bound_of_its_own(self):
        memory = {n: {"mempool": {"peak_KiB": 10_000 + (400 if n > 1 else 0)}} for n in curves.THREADS}
        flat = {n: {"mempool": {"peak_KiB": 10_000}} for n in curves.THREADS}
        threads = {n: {"mempool": {"ns": 1}} for n in (2, 64)}
        for curve, other in (("memory", "mixed"), ("mixed", "memory")):
            cells = {"objects": {}, "threads": threads, curve: memory, other: flat}
            steps = [bound for bound in curves.bounds(cells, ["mempool"], "mempool") if bound.figure == 400]
            self.assertEqual([(bound.met, "worst: 2" in bound.what) for bound in steps], [(False, True)])


if __name__ == "__main__":
    unittest.main()
