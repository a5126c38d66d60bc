"""``same_budget_first_epoch``: a first epoch with a served teacher over the same in one process, on the same two cores.

Nothing is gained by serving here but overlap: teacher and student want the same cores. So beside it stands the bound:
the same split into two bare processes (`two_processes`).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import torch

from benchmarks.bench import FULL, Bench
from benchmarks.costs import LADDER, Priced, nearest, price, student_row_us
from benchmarks.figures import Figure, Goal
from benchmarks.in_process import LOOPS, Members
from benchmarks.intervals import in_turns, interval_of, ratios
from benchmarks.two_processes import OtherProcess
from benchmarks.workload import BATCH, NUM_ROWS, Student, epochs_of
from distill.contracts import names
from distill.contracts.teachers import ResolvedTeacher
from distill.science.weights import load_model
from teacher_server.client import TeacherPool
from teacher_server.folder import member_folder

COSTS = (1, 3, 10)
BARE, KEEPING = "two bare processes", "two bare processes that keep freed memory"
"""The second, with ``--full`` alone, is the tighter bound: it has our replicas' own means against page faults."""
THREADS = (1, 2)
TRIED_S = 1.0


def measure(bench: Bench) -> list[Figure]:
    """With teachers that cost as much as the student's step, three and ten times as much."""
    student_us = student_row_us(bench.workshop, threads=1)
    ladder = price(bench.workshop, LADDER, threads=1)
    return [
        figure for cost in COSTS for figure in _figures(bench, cost, nearest(ladder, cost * student_us), student_us)
    ]


def _figures(bench: Bench, cost: int, teacher: Priced, student_us: float) -> list[Figure]:
    sides = _Sides(bench, f"same-{cost}", teacher, student_us)
    loop, loop_threads = sides.best_loop()
    split_threads = sides.best_split()
    sides.lengthen(bench.effort.side_s)

    @contextmanager
    def fresh() -> Iterator[dict[str, Callable[[], float]]]:
        with ExitStack() as stack:
            others = {
                name: stack.enter_context(sides.other_process(split_threads, keeps=keeps))
                for name, keeps in {BARE: False, KEEPING: True}.items()
                if not keeps or bench.effort is FULL
            }
            stack.enter_context(bench.house.served(sides.teacher, threads=split_threads))
            for other in others.values():
                other.wait_ready()
            yield {
                "served": sides.served,
                "in one process": lambda: sides.in_process(loop, loop_threads),
                **{name: partial(sides.split, other) for name, other in others.items()},
            }

    # anew in each round: of equal processes one may compute faster than the next for as long as it lives
    measured = in_turns(fresh, rounds=bench.effort.rounds)
    details = {
        "teacher": teacher.spec.model_dump(mode="json"),
        "row_us": {"student": student_us, "teacher": teacher.row_us, "ratio": teacher.row_us / student_us},
        "rows": sides.num_rows,
        "best_loop": loop,
        "threads": {"in one process": loop_threads, "student": 1, "teacher of its own process": split_threads},
        "seconds": measured,
        "tried": sides.tried,
    }
    ours = ratios(measured["in one process"], measured["served"])
    bound = ratios(measured["in one process"], measured[BARE])
    of_bound = ratios(measured[BARE], measured["served"])
    figures = [
        Figure(f"same_budget_first_epoch.{cost}_to_1", interval_of(ours), details=details),
        Figure(f"same_budget_bound.{cost}_to_1", interval_of(bound)),
        Figure(f"same_budget_first_epoch.{cost}_to_1_of_bound", interval_of(of_bound), Goal(at_least=0.9)),
    ]
    if KEEPING in measured:
        of_keeping = interval_of(ratios(measured[KEEPING], measured["served"]))
        figures.append(Figure(f"same_budget_first_epoch.{cost}_to_1_of_keeping_bound", of_keeping))
    return figures


class _Sides:
    """The same first epoch in three ways."""

    def __init__(self, bench: Bench, name: str, teacher: Priced, student_us: float) -> None:
        self._workshop = bench.workshop
        self.teacher: ResolvedTeacher = bench.workshop.teacher(name, [teacher.spec])
        folder = bench.house.settings.storage / names.teacher_folder(name, 1)
        self._members = [member_folder(folder, 0)]
        self._ensemble = Members([load_model(member)[0] for member in self._members])
        # at best student and teacher overlap without a loss
        row_us = max(student_us, teacher.row_us, (student_us + teacher.row_us) / 2)
        self.num_rows = _rows_of(TRIED_S * 1e6 / row_us)
        self.tried: dict[str, float] = {}
        self._shade = 0

    def lengthen(self, side_s: float) -> None:
        """From now on take as many rows as the fastest of what was tried has in that time."""
        self.num_rows = _rows_of(self.num_rows * side_s / min(self.tried.values()))

    def served(self) -> float:
        """With rows of a new shade, so that nothing is remembered."""
        torch.set_num_threads(1)
        self._shade += 1
        student = self._student()
        pool = TeacherPool([self.teacher], team="default", job="served", answers=student.record.spec.answers)
        pool.wait_ready(60)
        return epochs_of(student, student.served(pool))[0]

    def in_process(self, loop: str, threads: int) -> float:
        torch.set_num_threads(threads)
        student = self._student()
        return epochs_of(student, LOOPS[loop](student, self._ensemble))[0]

    def split(self, other: OtherProcess) -> float:
        torch.set_num_threads(1)
        student = self._student()
        return epochs_of(student, other.lessons(student))[0]

    def other_process(self, threads: int, *, keeps: bool = False) -> OtherProcess:
        return OtherProcess(self._members, threads=threads, keeps=keeps)

    def best_loop(self) -> tuple[str, int]:
        """The faster loop and number of threads, tried once each."""
        ways = [(loop, threads) for loop in LOOPS for threads in THREADS]
        return min(ways, key=lambda way: self._try(f"{way[0]}, {way[1]} threads", lambda: self.in_process(*way)))

    def best_split(self) -> int:
        """The teacher's threads beside a student of one, tried once each without Ray."""

        def seconds(threads: int) -> float:
            with self.other_process(threads) as other:
                other.wait_ready()
                return self._try(f"two processes, teacher of {threads} threads", lambda: self.split(other))

        return min(THREADS, key=seconds)

    def _try(self, what: str, side: Callable[[], float]) -> float:
        self.tried[what] = side()
        return self.tried[what]

    def _student(self) -> Student:
        rows = slice(0, self.num_rows)
        return self._workshop.student("same", [self.teacher], rows=rows, epochs=1, shade=self._shade)


def _rows_of(wanted: float) -> int:
    """Of whole steps, as many as there are at most."""
    return min(NUM_ROWS, max(4, round(wanted / BATCH)) * BATCH)
