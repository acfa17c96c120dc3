"""Where things are, and the one kind of error that a reader of the terminal can do something about."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "Benchmarks"
PROGRAMS = ROOT / ".build-bench/programs"


class Complaint(Exception):
    """Says what is wrong and what to do about it. Printed without a trace."""
