"""``hidden_teacher_ratio``: a student whose teacher runs elsewhere, over the same student with targets from memory.

The teacher behaves as a remote accelerator that can answer 1.25 times as many rows as the student takes.
"""

from collections.abc import Iterator

import torch

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.intervals import in_turns, interval_of, ratios
from benchmarks.workload import Student, from_memory, steady_rate
from distill.contracts.teachers import ResolvedTeacher
from student_worker.targets import Lesson
from teacher_server.client import TeacherPool

CAPACITY = 1.25
MEMBERS = 3
ENDLESS = 100_000
TRIES = 2


def measure(bench: Bench) -> list[Figure]:
    """One student, one thread, three members; nothing is remembered, so every row is asked for."""
    torch.set_num_threads(1)
    workshop, effort = bench.workshop, bench.effort
    waits: list[float] = []
    cpu_us: dict[str, list[float]] = {"served": [], "alone": []}
    instant = workshop.accelerator("instant", row_us=1.0, members=MEMBERS)

    def student(teacher: ResolvedTeacher) -> Student:
        return workshop.student("hidden", [teacher], rows=slice(None), epochs=ENDLESS, remember=False)

    def rate(side: str, one: Student, lessons: Iterator[Lesson]) -> float:
        found = steady_rate(one, lessons, warm_s=effort.warm_s, timed_s=effort.side_s)
        cpu_us[side].append(found.cpu_us_per_row)
        return found.rows_per_s

    def alone() -> float:
        one = student(instant)
        return rate("alone", one, one.told(from_memory(MEMBERS)))

    def served() -> float:
        one = student(teacher)
        pool = TeacherPool([teacher], team="default", job="hidden", answers=one.record.spec.answers)
        found = rate("served", one, one.served(pool))
        waits.append(pool.wait_s / (effort.warm_s + effort.side_s))
        return found

    demand = max(alone() for _ in range(TRIES))
    teacher = workshop.accelerator("remote", row_us=1e6 / (CAPACITY * demand), members=MEMBERS)
    with bench.house.served(teacher):
        served()
        measured = in_turns({"served": served, "alone": alone}, rounds=effort.rounds)
    details = {
        "threads": {"student": 1, "replica": "none: it sleeps"},
        "rows_per_s": measured,
        "demand_rows_per_s": demand,
        "capacity_over_demand": CAPACITY,
        "share_waited": waits[1:],
        "student_process_cpu_us_per_row": {"served": cpu_us["served"][1:], "alone": cpu_us["alone"][TRIES:]},
        "side_s": effort.side_s,
    }
    found = interval_of(ratios(measured["served"], measured["alone"]))
    return [Figure("hidden_teacher_ratio", found, Goal(at_least=0.97), details=details)]
