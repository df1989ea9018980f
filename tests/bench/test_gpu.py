"""What a result says of the GPU, with a stand-in for nvidia-smi."""

import pytest

from bench.gpu import describe_gpu


@pytest.fixture
def answer(tmp_path, monkeypatch):
    """Makes an nvidia-smi that prints a text and ends with a status; the only program there is."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def make(text: str, status: int = 0):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\necho '{text}'\nexit {status}\n")
        program.chmod(0o755)

    return make


def test_name_driver_and_clocks(answer):
    answer("NVIDIA H200, 580.159.03, 345 MHz, 1980 MHz, 3201 MHz")
    assert describe_gpu() == {
        "name": "NVIDIA H200",
        "driver": "580.159.03",
        "sm_clock": "345 MHz",
        "sm_clock_max": "1980 MHz",
        "memory_clock": "3201 MHz",
    }


@pytest.mark.parametrize("text, status", [("No devices were found", 6), ("", 0), ("a, b", 0)])
def test_no_gpu_is_no_failure(answer, text, status):
    answer(text, status)
    assert describe_gpu() is None


def test_no_driver_is_no_failure(answer):
    assert describe_gpu() is None
