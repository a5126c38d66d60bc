"""``ten_epoch_speedup``: a whole job over the same in one process that asks its teacher anew in every epoch.

The bound is what remembering can give at most where student and teacher take turns on the same cores:
E (Cs + Ct) / (E Cs + Ct), E epochs, Cs and Ct the student's and the teacher's cost of one. Overlap can exceed it. Both costs
are measured anew in each round, as the loops are: the machine's speed wavers from minute to minute.
"""

from collections.abc import Sequence
from time import perf_counter

import torch

from benchmarks.bench import Bench
from benchmarks.costs import student_row_us
from benchmarks.figures import Figure, Goal
from benchmarks.in_process import Loop, Members, per_step, remembering
from benchmarks.intervals import in_turns, interval_of, ratios
from benchmarks.workload import BATCH, epochs_of, from_memory
from distill.contracts import names
from distill.contracts.models import ZooArgs, ZooModel
from distill.science.weights import load_model
from teacher_server.client import TeacherPool
from teacher_server.folder import member_folder

EPOCHS, MEMBERS = 10, 3
MEMBER = ZooModel(name="cnn", args=ZooArgs(width=24))
"""Three of them cost about twice what a step of the student does."""
COST_EPOCHS = 2
"""Of the student alone, to know its cost."""
THREADS = 1
"""Of every process: as a worker has by default."""
SHARE = 0.1
"""Of a turn, for one epoch of the student alone: a whole job in one process takes some twenty times as long."""


def measure(bench: Bench) -> list[Figure]:
    """Three members, ten epochs."""
    workshop = bench.workshop
    teacher = workshop.teacher("ten-epochs", [MEMBER] * MEMBERS)
    folder = bench.house.settings.storage / names.teacher_folder(teacher.name, 1)
    members = Members([load_model(member_folder(folder, place))[0] for place in range(MEMBERS)])
    student_us = student_row_us(workshop, threads=THREADS)
    num_rows = max(8, int(SHARE * bench.effort.side_s * 1e6 / student_us / BATCH)) * BATCH
    shade = 0

    def served() -> float:
        nonlocal shade
        shade += 1
        torch.set_num_threads(THREADS)
        student = workshop.student("ten", [teacher], rows=slice(0, num_rows), epochs=EPOCHS, shade=shade)
        pool = TeacherPool([teacher], team="default", job="ten", answers=student.record.spec.answers)
        return sum(epochs_of(student, student.served(pool)))

    def in_process(loop: Loop) -> float:
        torch.set_num_threads(THREADS)
        student = workshop.student("ten", [teacher], rows=slice(0, num_rows), epochs=EPOCHS)
        return sum(epochs_of(student, loop(student, members)))

    def student_epoch() -> float:
        torch.set_num_threads(THREADS)
        student = workshop.student("ten", [teacher], rows=slice(0, num_rows), epochs=COST_EPOCHS)
        return sum(epochs_of(student, student.told(from_memory(MEMBERS)))) / COST_EPOCHS

    def teacher_epoch() -> float:
        torch.set_num_threads(THREADS)
        student = workshop.student("ten", [teacher], rows=slice(0, num_rows), epochs=1)
        began = perf_counter()
        for batch in student.batches():
            members(batch.inputs)
        return perf_counter() - began

    with bench.house.served(teacher):
        served()
        measured = in_turns(
            {
                "served": served,
                "asked anew": lambda: in_process(per_step),
                "remembering": lambda: in_process(remembering),
                "student": student_epoch,
                "teacher": teacher_epoch,
            },
            rounds=bench.effort.rounds,
        )
    bounds = bounds_of(measured["student"], measured["teacher"])
    details = {
        "threads": {"student": THREADS, "in one process": THREADS, "replica": 1},
        "rows": num_rows,
        "seconds": measured,
        "bounds": bounds,
    }
    speedups = {side: ratios(measured["asked anew"], measured[side]) for side in ("served", "remembering")}
    return [
        Figure("ten_epoch_speedup", interval_of(speedups["served"]), unit="times", details=details),
        Figure("ten_epoch_bound", interval_of(bounds), unit="times"),
        Figure("ten_epoch_speedup.of_bound", interval_of(ratios(speedups["served"], bounds)), Goal(at_least=0.9)),
        Figure("ten_epoch_speedup.one_process_that_remembers", interval_of(speedups["remembering"]), unit="times"),
    ]


def bounds_of(student_s: Sequence[float], teacher_s: Sequence[float]) -> list[float]:
    """Of each round, from what an epoch of the student and one of its teacher took."""
    pairs = zip(student_s, teacher_s, strict=True)
    return [EPOCHS * (student + teacher) / (EPOCHS * student + teacher) for student, teacher in pairs]
