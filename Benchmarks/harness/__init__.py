"""What Benchmarks/suite, curves and instructions have in common. Python's standard library and nothing else."""
