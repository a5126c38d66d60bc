"""``warm_epoch_ratio``: an epoch whose answers are all remembered, over the same epoch with targets from memory.

Remembered by the student itself, since its second epoch; and by the answer book, for the first epoch of another job.
"""

import torch

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.intervals import in_turns, interval_of, ratios
from benchmarks.workload import BATCH, epochs_of, from_memory
from teacher_server.client import TeacherPool

MEMBERS = 3
GOAL = Goal(at_most=1.02)


def measure(bench: Bench) -> list[Figure]:
    """One student, one thread, three members."""
    torch.set_num_threads(1)
    workshop = bench.workshop
    teacher = workshop.accelerator("remembered", row_us=20.0, members=MEMBERS)
    recalled: list[float] = []
    asked: list[int] = []

    def taught() -> float:
        """Two epochs of a job that nobody has to compute anything for; the second one's seconds."""
        student = workshop.student("warm", [teacher], rows=rows, epochs=2, remember=True)
        pool = TeacherPool([teacher], team="default", job="warm", answers=student.record.spec.answers)
        first_s, second_s = epochs_of(student, student.served(pool))
        recalled.append(first_s)
        asked.append(pool.rows_asked - pool.rows_recalled)
        return second_s

    def alone() -> float:
        student = workshop.student("alone", [teacher], rows=rows, epochs=1)
        return epochs_of(student, student.told(from_memory(MEMBERS)))[0]

    rows = slice(0, BATCH * 32)
    rows = slice(0, int(bench.effort.side_s / alone() * 32) * BATCH)
    with bench.house.served(teacher):
        for _ in range(2):  # to fill the book, and to have its answers used
            taught()
        recalled.clear()
        asked.clear()
        measured = in_turns({"own": taught, "alone": alone}, rounds=bench.effort.rounds)
    details = {
        "threads": {"student": 1},
        "rows": rows.stop,
        "seconds": {**measured, "another job's first epoch": recalled},
        "rows_computed_for_it": asked,
    }
    return [
        Figure("warm_epoch_ratio", interval_of(ratios(measured["own"], measured["alone"])), GOAL, details=details),
        Figure(
            "warm_epoch_ratio.from_the_book", interval_of(ratios(recalled, measured["alone"])), GOAL, details=details
        ),
    ]
