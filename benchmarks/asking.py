"""Who only asks: students without a student, to load replicas."""

import threading
import time

import torch

from distill.contracts.job import AnswersSpec
from distill.contracts.teachers import ResolvedTeacher
from teacher_server.client import PendingAnswer, TeacherPool

IN_FLIGHT = 2


def ask_for(teacher: ResolvedTeacher, *, students: int, window_rows: int, seconds: float) -> list[float]:
    """Ask as so many students would who wait for nothing else; nothing is remembered.

    Returns:
        When each window was asked for, on the machine's monotonic clock, in order.
    """
    asked: list[float] = []
    failed: list[BaseException] = []
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=_ask, args=(teacher, number, window_rows, until, asked, failed))
        for number in range(students)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return sorted(asked)


def _ask(
    teacher: ResolvedTeacher,
    number: int,
    window_rows: int,
    until: float,
    asked: list[float],
    failed: list[BaseException],
) -> None:
    try:
        answers = AnswersSpec(remember=False)
        pool = TeacherPool([teacher], team="default", job=f"asking-{number}", answers=answers)
        shape = (window_rows, 1, 28, 28)
        rows = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(number))
        pending: list[PendingAnswer] = []
        while time.monotonic() < until:
            while len(pending) < IN_FLIGHT:
                asked.append(time.monotonic())
                pending.append(pool.ask(rows))
            pending.pop(0).result()
        for one in pending:
            one.result()
    except BaseException as error:
        failed.append(error)
