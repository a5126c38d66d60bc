"""A process that keeps what torch frees."""

import ctypes
import resource
import threading

import pytest
import torch

from distill.contracts.models import ImageInput, ZooArgs, ZooModel
from distill.science.allocator import OWN_SETTINGS, keep_freed_memory
from distill.science.models import build

BATCH, PASSES = 128, 5
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Of malloc.h."""


def faults_a_row() -> float:
    """Of forward passes in a thread, as a replica computes them, once they have been there before."""
    images = ImageInput(channels=1, height=28, width=28, mean=(0.5,), std=(0.5,))
    net = build(ZooModel(name="cnn", args=ZooArgs(width=24)), input=images, num_classes=10).eval()
    rows = torch.zeros(BATCH, 1, 28, 28, dtype=torch.uint8)
    faults: list[int] = []

    def compute() -> None:
        with torch.inference_mode():
            for _ in range(2 * PASSES):
                net(rows)
                faults.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt)

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    return (faults[-1] - faults[PASSES - 1]) / (PASSES * BATCH)


def test_a_forward_pass_takes_its_memory_from_what_the_one_before_freed(monkeypatch: pytest.MonkeyPatch):
    for name in OWN_SETTINGS:
        monkeypatch.delenv(name, raising=False)
    for parameter in (MMAP_THRESHOLD, TRIM_THRESHOLD):  # from now on it gives back, whatever its heap was like
        ctypes.CDLL(None).mallopt(parameter, 128 << 10)
    assert faults_a_row() > 5
    assert keep_freed_memory()
    assert faults_a_row() < 1


def test_what_the_operator_has_set_stands(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_freed_memory()
