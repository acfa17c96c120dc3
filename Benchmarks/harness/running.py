"""Builds the C programs, and runs one under one allocator."""

import json
import os
import signal
import subprocess
import threading

from . import allocators
from .paths import BENCHMARKS, PROGRAMS, Complaint

# malloc and free are what is measured: the compiler must not do away with a pair of them.
FLAGS = ["-O2", "-Wall", "-Wextra", "-fno-builtin-malloc", "-fno-builtin-free", "-fno-builtin-realloc"]
COMPILER = os.environ.get("CC", "cc")


class Failed(Exception):
    """A program that did not do its work on an allocator."""


def build():
    allocators.need("gcc", "libc6-dev")
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    common = BENCHMARKS / "workloads/workload.c"
    headers = [common, *BENCHMARKS.glob("workloads/*.h")]
    compile_one(BENCHMARKS / "measure.c", ["-static"], [])
    for source in sorted(BENCHMARKS.glob("workloads/*.c")):
        if source != common:
            compile_one(source, [common, "-pthread", "-ldl"], headers)


def compile_one(source, more, also):
    program = PROGRAMS / source.stem
    if program.exists() and all(program.stat().st_mtime > file.stat().st_mtime for file in [source, *also]):
        return
    done = subprocess.run([COMPILER, *FLAGS, "-o", program, source, *more], capture_output=True, text=True)
    if done.returncode:
        raise Complaint(f"{source.name} does not compile:\n{done.stderr}")


def plain_environment():
    """What this process has, less what tunes an allocator: each is measured as it comes."""
    tunes = ("MEMPOOL_", "MPMAXRETRIES", "MPWAITTIME", "MALLOC_", "MIMALLOC_", "TCMALLOC_", "TBB_", "GLIBC_TUNABLES")
    return {name: value for name, value in os.environ.items() if not name.startswith(tunes)}


def measure(allocator, words, limit=120, folder=None, environment=None, library=None):
    """Runs a program; returns what measure.c says of it, and what it printed."""
    result = PROGRAMS / f"result.{os.getpid()}.{threading.get_ident()}"
    preload = allocator.library if library is None else library
    environment = {**(environment or plain_environment()), **allocator.settings}
    command = [PROGRAMS / "measure", result, str(limit), preload, *map(str, words)]
    child = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        output, errors = child.communicate()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    if child.returncode:
        raise Complaint(f"measure: {errors}")
    figures = json.loads(result.read_text())
    result.unlink()
    if figures["status"]:
        why = f"exit status {figures['status']}"
        if figures["signal"] == signal.SIGKILL and figures["seconds"] >= limit:
            why = f"not finished within {limit} seconds"
        elif figures["signal"]:
            why = signal.Signals(figures["signal"]).name
        last = errors.strip().splitlines()[-1:] or [""]
        raise Failed(f"{why} {last[0]}".strip())
    if "cannot be preloaded" in errors:
        raise Failed(errors.strip().splitlines()[0])
    return figures, output


def run_workload(allocator, program, arguments, limit=120):
    """Runs one of the C workloads; makes sure that it ran on this allocator."""
    figures, output = measure(allocator, [PROGRAMS / program, *arguments], limit)
    told = json.loads(output)
    if not allocator.owns(told["malloc"]):
        raise Complaint(f"{program} ran on the malloc of {told['malloc']}, not on {allocator.name}'s ({allocator.witness or 'libc.so.6'})")
    return {**told, "wall": figures["seconds"], "peak_KiB": figures["peak_KiB"], "cpu": figures["user"] + figures["system"]}
