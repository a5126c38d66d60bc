"""A process that keeps what torch frees."""

import json
import subprocess
import sys

import pytest

from distill.science.allocator import keep_freed_memory


def faults_of_a_forward_pass(*options: str) -> float:
    """Page faults a row, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.freed_memory", "forward", *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["faults"])


@pytest.mark.long
@pytest.mark.skipif(not keep_freed_memory(), reason="this C library has no such setting")
def test_a_forward_pass_takes_its_memory_from_what_the_one_before_freed():
    assert faults_of_a_forward_pass("keep") < 1


def test_what_the_operator_has_set_stands(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_freed_memory()
