"""The programs of Tests/RealPrograms with their own work, as often as it takes to be measured."""

import hashlib
import math
import os
import re
import shutil
import subprocess
import tempfile
import pathlib

from . import allocators as known
from .paths import ROOT, Complaint
from .running import Failed, measure

SCRIPTS = ROOT / "Tests/RealPrograms/programs"
# How many times a script's work is done in one measurement, and whether a quick run has it too.
TIMES = {
    "bash": (4, False),
    "g++": (1, False),
    "gcc": (1, False),
    "git": (3, True),
    "memcached": (1, False),
    "perl": (10, True),
    "python3": (3, True),
    "redis-server": (1, False),
    "sqlite3": (2, True),
    "swift-dispatch": (12, False),
    "swiftc": (1, False),
}
# Where the client takes most of the time, what counts is the server's: the processor time of its threads, until it is told to end.
SERVERS = {"memcached": "memcached, processor time of the server"}
STAGE = """set -euo pipefail
source "$1"
stage=$2
shift 2
for box in "$@"; do (cd "$box" && "$stage"); done"""


class RealProgram:
    def __init__(self, script, times, work):
        self.name, self.script, self.times = SERVERS.get(script, script), SCRIPTS / f"{script}.sh", times
        self.is_server = script in SERVERS
        self.work = work / script
        self.outputs = {}
        words = 'source "$1"; printf "%s\\n" "$packages" "$executables" "$limit"'
        told = subprocess.run(["bash", "-c", words, "bash", self.script], capture_output=True, text=True, check=True).stdout.split("\n")
        self.packages, self.executables, self.limit = told[0].split(), told[1].split(), int(told[2])

    def environment(self, **more):
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.work / "prepared"),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "FIXTURES": str(ROOT / "Tests/RealPrograms/fixtures"),
            "SCRIPTS": str(ROOT / "scripts"),
            **more,
        }

    def prepare(self, allocators, note):
        """Prepares the work on the system's malloc, and runs it once on each allocator with the loader as witness."""
        known.need(*self.packages)
        prepared = self.work / "prepared"
        prepared.mkdir(parents=True)
        done = subprocess.run(
            ["bash", "-c", STAGE, "bash", self.script, "prepare", prepared], env=self.environment(), capture_output=True, text=True
        )
        if done.returncode:
            raise Failed(f"it cannot be prepared: {done.stderr[-300:]}")
        outputs = {}
        for allocator in allocators:
            note(f"{self.name}: is it on {allocator.name}?")
            loader = pathlib.Path(tempfile.mkdtemp(dir=self.work))
            try:
                outputs[allocator.name] = self.once(allocator, 1, LD_DEBUG="files", LD_DEBUG_OUTPUT=str(loader / "log"))[1]
            except Failed:
                continue  # It will fail again when it is measured, and be told of there.
            self.testify(allocator, [file.read_text(errors="replace") for file in loader.iterdir()])
            shutil.rmtree(loader)
        if len(set(outputs.values())) > 1:
            hashes = {name: hashlib.sha256(text.encode()).hexdigest()[:8] for name, text in outputs.items()}
            raise Failed(f"it does not print the same on all allocators: {hashes}")

    def preload(self, allocator):
        # Some programs are linked with an allocator of their own: the C library must be put in front of it.
        return allocator.library or "libc.so.6"

    def testify(self, allocator, logs):
        loaded = f"file={self.preload(allocator)} "
        for executable in self.executables:
            # A pattern, or a name like g++, which is none.
            ran = re.compile(rf"initialize program: (.*/)?(?:{executable}|{re.escape(executable)})$", re.MULTILINE)
            if not any(ran.search(log) and loaded in log for log in logs):
                raise Complaint(f"{self.name}: {executable} did not run on {allocator.name}")

    def once(self, allocator, times, limit=None, **more):
        boxes = [self.work / f"box{number}" for number in range(times)]
        for box in boxes:
            shutil.copytree(self.work / "prepared", box, symlinks=True)
        try:
            return measure(
                allocator,
                ["bash", "-c", STAGE, "bash", self.script, "run", *boxes],
                min(self.limit * times, limit or math.inf),
                self.work,
                self.environment(**more),
                self.preload(allocator),
            )
        finally:
            for box in boxes:
                shutil.rmtree(box, ignore_errors=True)

    def run(self, allocator, factor, limit=None):
        times = max(1, round(self.times * factor))
        told = {}
        if self.is_server:
            clock = self.work / "server-time"
            clock.unlink(missing_ok=True)
            figures, _ = self.once(allocator, times, limit, SERVER_TIME=str(clock))
            told = {"seconds": server_seconds(clock), "wall": figures["seconds"]}
        else:
            figures, _ = self.once(allocator, times, limit)
        return {"seconds": figures["seconds"], "cpu": figures["user"] + figures["system"], "peak_KiB": figures["peak_KiB"], **told}


def server_seconds(clock):
    try:
        return sum(int(line.split()[0]) for line in clock.read_text().splitlines()) / 1e9 or no_server_time()
    except OSError:
        return no_server_time()


def no_server_time():
    raise Failed("the server's processor time cannot be read: /proc/PID/task/*/schedstat")


def all_programs(work, quick):
    return [RealProgram(name, times, work) for name, (times, short) in TIMES.items() if short or not quick]
