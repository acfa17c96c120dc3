"""The suite: which program, with which arguments, on how many threads, and how often its basic amount of work."""

from .running import run_workload


class Workload:
    """One row of the table: a C program, its arguments, a number of threads."""

    def __init__(self, name, program, arguments=(), threads=2, scale=1.0):
        self.name, self.program, self.arguments = f"{name}, {threads} threads", program, list(arguments)
        self.threads, self.scale = threads, scale

    def prepare(self, allocators, note):
        pass

    def run(self, allocator, factor, limit=None):
        scale = round(self.scale * factor, 5)
        told = run_workload(allocator, self.program, [*self.arguments, "--threads", self.threads, "--scale", scale], limit or 120)
        return {key: told[key] for key in ("seconds", "cpu", "peak_KiB", "operations", "after_rest_KiB") if key in told}


def full_slabs(count):
    """Objects of 64 bytes that fill so many slabs of this project's to the last item: a thread's first four hold 256 each, then four 512, others 1024."""

    def arguments(threads):
        own = max(count // threads, 1)
        return f"--objects {threads * (256 if own == 1 else 1024 * own - 5120)} --sizes 64-64"

    return arguments


# Name, program, arguments, scale: so that most of the allocators take between one and five seconds. (With large blocks the fastest take a tenth of
# a second, and the slowest four.)
TABLE = [
    ("larson", "larson", "", 1),
    ("producer-consumer", "producer-consumer", "", 2.6),
    ("asymmetric", "asymmetric", "", 1.2),
    ("threadtest", "threadtest", "", 1.25),
    ("cache-scratch", "cache", "--mode scratch", 1),
    ("cache-thrash", "cache", "--mode thrash", 1),
    ("table of 10^3", "replace", "--objects 1000", 6),
    ("table of 10^4", "replace", "--objects 10000", 6),
    ("table of 10^5", "replace", "--objects 100000", 4),
    ("table of 10^6", "replace", "--objects 1000000", 0.8),
    ("LIFO", "order", "--mode lifo", 2.5),
    ("FIFO", "order", "--mode fifo", 2.5),
    ("thread churn", "churn", "", 1),
    ("realloc growth", "realloc", "", 1.6),
    ("objects of 4 to 32 KiB", "replace", "--objects 1000 --sizes 4096-32768", 1.5),
    ("large blocks", "large", "", 2),
    ("fragmentation", "fragmentation", "", 1.9),
    ("2 full slabs", "replace", full_slabs(2), 7),
    ("32 full slabs", "replace", full_slabs(32), 7),
    ("128 full slabs", "replace", full_slabs(128), 4),
    ("1024 full slabs", "replace", full_slabs(1024), 0.8),
    ("bursts", "bursts", "", 1),
]


def all_workloads():
    return [
        Workload(name, program, (arguments(threads) if callable(arguments) else arguments).split(), threads, scale)
        for name, program, arguments, scale in TABLE
        for threads in (2, 4)
    ]
