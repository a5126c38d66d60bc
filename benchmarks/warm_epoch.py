"""``warm_epoch_ratio``: an epoch whose answers are all remembered, over the same epoch with targets from memory.

Remembered by the student itself, since its second epoch; and by the answer book, for the first epoch of another job. Of
the first both are learned from side by side, a few steps of one and a few of the other: nobody else is asked in it, so
neither gains by the other's turn, and both meet the same machine.
"""

from typing import NamedTuple

import torch

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.intervals import interval_of, ratios
from benchmarks.workload import BATCH, Learning, from_memory, side_by_side
from teacher_server.client import TeacherPool

MEMBERS = 3
GOAL = Goal(at_most=1.02)
SAMPLE_STEPS = 32


class Round(NamedTuple):
    """Seconds of an epoch: remembered by the book, by the student itself, and with targets from memory."""

    book_s: float
    own_s: float
    alone_s: float
    rows_computed: int
    """For the first two."""


def measure(bench: Bench) -> list[Figure]:
    """One student, one thread, three members."""
    torch.set_num_threads(1)
    workshop, effort = bench.workshop, bench.effort
    teacher = workshop.accelerator("remembered", row_us=20.0, members=MEMBERS)

    def alone(num_steps: int) -> Learning:
        student = workshop.student("alone", [teacher], rows=slice(0, num_steps * BATCH), epochs=1)
        return Learning(student, student.told(from_memory(MEMBERS)))

    def taught(num_steps: int) -> tuple[Learning, TeacherPool]:
        student = workshop.student("warm", [teacher], rows=slice(0, num_steps * BATCH), epochs=2, remember=True)
        pool = TeacherPool([teacher], team="default", job="warm", answers=student.record.spec.answers)
        return Learning(student, student.served(pool)), pool

    def round_of(num_steps: int) -> Round:
        learning, pool = taught(num_steps)
        book_s = learning.seconds_of(num_steps)
        own_s, alone_s = side_by_side(learning, alone(num_steps), num_steps=num_steps)
        return Round(book_s, own_s, alone_s, pool.rows_asked - pool.rows_recalled)

    num_steps = int(effort.side_s / alone(SAMPLE_STEPS).seconds_of(SAMPLE_STEPS) * SAMPLE_STEPS)
    with bench.house.served(teacher):
        for _ in range(2):  # to fill the book, and to have its answers used
            taught(num_steps)[0].seconds_of(num_steps)
        rounds = [round_of(num_steps) for _ in range(effort.rounds)]
    book_s, own_s, alone_s, rows_computed = (list(column) for column in zip(*rounds, strict=True))
    details = {
        "threads": {"student": 1},
        "rows": num_steps * BATCH,
        "seconds": {"own": own_s, "alone": alone_s, "another job's first epoch": book_s},
        "rows_computed_for_it": rows_computed,
    }
    return [
        Figure("warm_epoch_ratio", interval_of(ratios(own_s, alone_s)), GOAL, details=details),
        Figure("warm_epoch_ratio.from_the_book", interval_of(ratios(book_s, alone_s)), GOAL, details=details),
    ]
