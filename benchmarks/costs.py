"""How long a forward pass or a step takes, and teachers that cost as much as is wanted."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from benchmarks.in_process import Members
from benchmarks.workload import BATCH, NUM_CLASSES, Student, Workshop, from_memory
from distill.contracts.models import ZooArgs, ZooModel
from distill.science.models import build

LADDER = (
    *(ZooModel(name="cnn", args=ZooArgs(width=width)) for width in (12, 16, 24, 32, 40, 48)),
    *(ZooModel(name="resnet8", args=ZooArgs(width=width)) for width in (8, 12, 16, 20, 24, 28, 32)),
)
"""Nets of rising cost, some 50 to 5,000 microseconds a row on one core."""
SAMPLE_S = 0.3


@dataclass(frozen=True)
class Priced:
    """A net, and what a row of it costs."""

    spec: ZooModel
    row_us: float


def seconds_per_call(call: Callable[[], object], *, budget_s: float = SAMPLE_S) -> float:
    """Of the fastest half of the calls that fit the budget, after one that doesn't count: others may disturb."""
    call()
    taken: list[float] = []
    until = time.perf_counter() + budget_s
    while time.perf_counter() < until or len(taken) < 2:
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    fastest = sorted(taken)[: (len(taken) + 1) // 2]
    return sum(fastest) / len(fastest)


def student_row_us(workshop: Workshop, *, threads: int) -> float:
    """Microseconds of a row of a step with targets from memory."""
    torch.set_num_threads(threads)
    teacher = workshop.accelerator("for-costs", row_us=0.1)
    student: Student = workshop.student("costs", [teacher], rows=slice(None), epochs=1000)
    batch, said = next(student.told(from_memory(1)))
    return seconds_per_call(lambda: student.training.step(batch, said, number=0)) / BATCH * 1e6


def price(workshop: Workshop, specs: Iterable[ZooModel], *, threads: int) -> list[Priced]:
    """What a row of each net's forward pass costs, a step's rows at once."""
    torch.set_num_threads(threads)
    rows = workshop.dataset.inputs[:BATCH]
    priced = []
    for spec in specs:
        members = Members([build(spec, input=workshop.dataset.input, num_classes=NUM_CLASSES)])
        priced.append(Priced(spec, seconds_per_call(lambda: members(rows)) / BATCH * 1e6))  # noqa: B023 - called at once
    return priced


def nearest(priced: Iterable[Priced], row_us: float) -> Priced:
    """The net whose cost is nearest to what is wanted, as a factor."""
    return min(priced, key=lambda one: max(one.row_us / row_us, row_us / one.row_us))
