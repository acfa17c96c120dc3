"""The suite: which program, with which arguments, on how many threads, and how often its basic amount of work."""

from .running import run_workload


class Workload:
    """One row of the table: a C program, its arguments, a number of threads."""

    def __init__(self, name, program, arguments=(), threads=2, scale=1.0):
        self.name, self.program, self.arguments = f"{name}, {threads} threads", program, list(arguments)
        self.threads, self.scale = threads, scale

    def prepare(self, allocators, note):
        pass

    def run(self, allocator, factor):
        told = run_workload(
            allocator, self.program, [*self.arguments, "--threads", self.threads, "--scale", round(self.scale * factor, 5)]
        )
        return {key: told[key] for key in ("seconds", "cpu", "peak_KiB", "operations", "after_rest_KiB") if key in told}


# Name, program, arguments, scale: so that it takes between one and five seconds on two quiet processors. (By processor time; glibc, the fastest
# with large blocks, takes half a second of those.)
TABLE = [
    ("larson", "larson", "", 1),
    ("producer-consumer", "producer-consumer", "", 1),
    ("asymmetric", "asymmetric", "", 1),
    ("threadtest", "threadtest", "", 1),
    ("cache-scratch", "cache", "--mode scratch", 1),
    ("cache-thrash", "cache", "--mode thrash", 1),
    ("table of 10^3", "replace", "--objects 1000", 5),
    ("table of 10^4", "replace", "--objects 10000", 4),
    ("table of 10^5", "replace", "--objects 100000", 2.5),
    ("table of 10^6", "replace", "--objects 1000000", 0.8),
    ("LIFO", "order", "--mode lifo", 1),
    ("FIFO", "order", "--mode fifo", 1),
    ("thread churn", "churn", "", 1),
    ("realloc growth", "realloc", "", 1),
    ("large blocks", "large", "", 1),
    ("fragmentation", "fragmentation", "", 1),
    # Slabs of 64 KiB with items of 64 bytes, 1024 each.
    ("2 full slabs", "replace", "--objects 2048 --sizes 64-64", 6),
    ("128 full slabs", "replace", "--objects 131072 --sizes 64-64", 3),
    ("1024 full slabs", "replace", "--objects 1048576 --sizes 64-64", 0.8),
    ("bursts", "bursts", "", 1),
]


def all_workloads():
    return [
        Workload(name, program, arguments.split(), threads, scale) for name, program, arguments, scale in TABLE for threads in (2, 4)
    ]
