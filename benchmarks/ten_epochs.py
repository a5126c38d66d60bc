"""``ten_epoch_speedup``: a whole job over the same in one process that asks its teacher anew in every epoch.

The bound is what remembering can give at most where student and teacher take turns on the same cores:
E (Cs + Ct) / (E Cs + Ct), E epochs, Cs and Ct the student's and the teacher's cost of one. Overlap can exceed it.
"""

import torch

from benchmarks.bench import Bench
from benchmarks.costs import seconds_per_call, student_row_us
from benchmarks.figures import Figure, Goal
from benchmarks.in_process import Loop, Members, per_step, remembering
from benchmarks.intervals import counted, in_turns, interval_of, ratios
from benchmarks.workload import BATCH, epochs_of
from distill.contracts import names
from distill.contracts.models import ZooArgs, ZooModel
from distill.science.weights import load_model
from teacher_server.client import TeacherPool
from teacher_server.folder import member_folder

EPOCHS, MEMBERS = 10, 3
MEMBER = ZooModel(name="cnn", args=ZooArgs(width=24))
"""Three of them cost about twice what a step of the student does."""
THREADS = 1
"""Of every process: as a worker has by default."""
SHARE = 0.12
"""Of a turn, for one epoch of the student alone: a whole job in one process takes some twenty times as long."""


def measure(bench: Bench) -> list[Figure]:
    """Three members, ten epochs."""
    workshop = bench.workshop
    teacher = workshop.teacher("ten-epochs", [MEMBER] * MEMBERS)
    folder = bench.house.settings.storage / names.teacher_folder(teacher.name, 1)
    members = Members([load_model(member_folder(folder, place))[0] for place in range(MEMBERS)])
    rows = workshop.dataset.inputs[:BATCH]
    student_us = student_row_us(workshop, threads=THREADS)
    teacher_us = seconds_per_call(lambda: members(rows)) / BATCH * 1e6
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

    with bench.house.served(teacher, max_batch_rows=BATCH):
        served()
        measured = in_turns(
            {
                "served": served,
                "asked anew": lambda: in_process(per_step),
                "remembering": lambda: in_process(remembering),
            },
            rounds=bench.effort.rounds,
        )
    bound = EPOCHS * (student_us + teacher_us) / (EPOCHS * student_us + teacher_us)
    details = {
        "row_us": {"student": student_us, "teacher": teacher_us},
        "threads": {"student": THREADS, "in one process": THREADS, "replica": 1},
        "rows": num_rows,
        "seconds": measured,
        "bound": bound,
    }
    speedups = {side: ratios(measured["asked anew"], measured[side]) for side in ("served", "remembering")}
    return [
        Figure("ten_epoch_speedup", interval_of(speedups["served"]), Goal(at_least=0.9 * bound), "times", details),
        Figure("ten_epoch_bound", counted(bound), unit="times"),
        Figure("ten_epoch_speedup.one_process_that_remembers", interval_of(speedups["remembering"]), unit="times"),
    ]
