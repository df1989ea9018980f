"""Targets for tests that run what they compile: what this machine's processor can run."""

from bench.machine import list_runnable_targets

RUNNABLE = tuple(list_runnable_targets())
WIDEST = RUNNABLE[-1]
