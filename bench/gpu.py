"""The GPU behind a figure, as its driver describes it."""

from __future__ import annotations

import subprocess

# What nvidia-smi is asked, and what it is called in a result.
_FIELDS = {
    "name": "name",
    "driver_version": "driver",
    "clocks.sm": "sm_clock",
    "clocks.max.sm": "sm_clock_max",
    "clocks.mem": "memory_clock",
}


def describe_gpu() -> dict[str, str] | None:
    """Name, driver and clocks of the first GPU; None where there is no NVIDIA driver."""
    command = ["nvidia-smi", "-i", "0", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    values = [value.strip() for value in done.stdout.strip().split(",")]
    if done.returncode or len(values) != len(_FIELDS):
        return None
    return dict(zip(_FIELDS.values(), values))
