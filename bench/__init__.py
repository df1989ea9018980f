"""Benchmarks: performance figures come from here and from nowhere else."""
