"""``recover_s`` and ``failed_steps``: the only replica of a teacher is killed in the middle of an epoch.

The student's steps go on as long as it has answers, then it waits, and goes on once the next replica has answered. How
long a replica needs to start is measured beside it: that time nobody can give back.
"""

import os
import signal
import time
from collections.abc import Iterator
from itertools import pairwise

import torch

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.intervals import counted, interval_of
from benchmarks.workload import BATCH, NUM_CLASSES, NUM_ROWS, Student
from distill.contracts import names
from distill.contracts.teachers import ResolvedTeacher
from student_worker.batches import Batch
from student_worker.targets import Lesson
from teacher_server.client import TeacherPool

ROW_US = 170.0
BEFORE_S, AFTER_S = 1.5, 1.0
"""The student learns so long before its replica is killed, and after it has gone on."""


def measure(bench: Bench) -> list[Figure]:
    """One student; nothing is remembered."""
    torch.set_num_threads(1)
    workshop = bench.workshop
    teacher = workshop.accelerator("killed", row_us=ROW_US)
    starts, recoveries, failed = [], [], 0
    for _ in range(bench.effort.rounds):
        began = time.monotonic()
        with bench.house.served(teacher):
            student = workshop.student("killed", [teacher], rows=slice(None), epochs=1, remember=False)
            pool = TeacherPool([teacher], team="default", job="killed", answers=student.record.spec.answers)
            pool.wait_ready(60)
            starts.append(time.monotonic() - began)
            recovered_s, wrong = _killed_once(student, student.served(pool), teacher)
            recoveries.append(recovered_s)
            failed += wrong
    start = interval_of(starts)
    details = {"replica_start_s": starts, "recover_s": recoveries, "threads": {"student": 1}, "row_us": ROW_US}
    return [
        Figure("recover_s", interval_of(recoveries), Goal(at_most=start.median + 3), "s", details),
        Figure("recover_s.replica_start_s", start, unit="s"),
        Figure("failed_steps", counted(failed), Goal(at_most=0), "steps"),
    ]


def _killed_once(student: Student, lessons: Iterator[Lesson], teacher: ResolvedTeacher) -> tuple[float, int]:
    """Seconds from the kill until the student goes on, and steps with other answers than its rows have."""
    at: list[float] = []
    wrong = 0
    killed_at: float | None = None
    for number, (batch, said) in enumerate(lessons):
        assert said is not None
        student.training.step(batch, said, number=number)
        wrong += not torch.equal(said.logits_NMC[:, 0].half(), _expected(student, batch))
        at.append(time.monotonic())
        if killed_at is None and at[-1] - at[0] > BEFORE_S:
            killed_at = at[-1]
            os.kill(_pid_of(teacher), signal.SIGKILL)
        if killed_at is not None and (gap := _gap(at, killed_at)) and at[-1] - gap[1] > AFTER_S:
            return gap[1] - killed_at, wrong
    raise RuntimeError(f"the student stopped after {len(at)} of {NUM_ROWS // BATCH} steps")


def _gap(at: list[float], since: float) -> tuple[float, float] | None:
    """The longest pause between two steps after ``since``, if it is one."""
    pauses = [(one, next_one) for one, next_one in pairwise(at) if one >= since]
    longest = max(pauses, key=lambda pause: pause[1] - pause[0], default=None)
    return longest if longest is not None and longest[1] - longest[0] > AFTER_S else None


def _expected(student: Student, batch: Batch) -> torch.Tensor:
    """What the accelerator says: the first pixels, normalised, in half precision."""
    return student.training.model.normalise(batch.inputs).flatten(1)[:, :NUM_CLASSES].half()


def _pid_of(teacher: ResolvedTeacher) -> int:
    from ray.serve.handle import DeploymentHandle

    handle = DeploymentHandle(names.DEPLOYMENT, names.application(teacher.name, teacher.version))
    return int(handle.describe.remote().result(timeout_s=10)["pid"])
