"""``python -m benchmarks --profile``: where the student's process spends its CPU for its teachers, per window.

The case of `hidden_teacher`. Process and threads by the kernel's own clocks, with the teacher and without; what the main
thread does for a window, function by function, by Python's profiler, which itself makes many small calls look dearer.
"""

import cProfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.bench import Bench
from benchmarks.workload import Student, from_memory
from student_worker.targets import WINDOW_ROWS, Lesson
from teacher_server.client import TeacherPool

ENDLESS = 100_000
MEMBERS, ROW_US = 3, 170.0
SECONDS, WARM_S = 10.0, 2.0
MOST_FUNCTIONS = 25


def report(bench: Bench) -> str:
    """Markdown: threads with and without a teacher, then functions of the main thread."""
    torch.set_num_threads(1)
    teacher = bench.workshop.accelerator("profiled", row_us=ROW_US, members=MEMBERS)

    def student() -> Student:
        return bench.workshop.student("profiled", [teacher], rows=slice(None), epochs=ENDLESS, remember=False)

    def taught() -> tuple[Student, Iterator[Lesson]]:
        one = student()
        pool = TeacherPool([teacher], team="default", job="profiled", answers=one.record.spec.answers)
        return one, one.served(pool)

    alone = student()
    without = _cpu_ms_per_window(alone, alone.told(from_memory(MEMBERS)))
    with bench.house.served(teacher):
        served = _cpu_ms_per_window(*taught())
        functions = _functions(*taught())
    lines = ["| thread | with its teachers | targets from memory |", "|---|---|---|"]
    for name in sorted(served.keys() | without.keys(), key=lambda name: -served.get(name, 0.0)):
        lines.append(f"| {name} | {served.get(name, 0.0):.2f} | {without.get(name, 0.0):.2f} |")
    title = f"CPU milliseconds per window of {WINDOW_ROWS} rows, one torch thread:"
    return "\n".join([title, "", *lines, "", "Getting lessons, in the main thread, profiled:", "", functions])


def _cpu_ms_per_window(student: Student, lessons: Iterator[Lesson]) -> dict[str, float]:
    """By name of the thread, and of all together."""
    _learn(student, lessons, WARM_S)
    before, whole = _threads(), time.process_time()
    windows = _learn(student, lessons, SECONDS) / WINDOW_ROWS
    spent = {name: (seconds - before.get(name, 0.0)) * 1000 / windows for name, seconds in _threads().items()}
    spent["the whole process"] = (time.process_time() - whole) * 1000 / windows
    return {name: ms for name, ms in spent.items() if ms >= 0.005}


def _learn(student: Student, lessons: Iterator[Lesson], seconds: float) -> int:
    """Rows learned from in that time."""
    until, rows = time.monotonic() + seconds, 0
    for number, (batch, said) in enumerate(lessons):
        student.training.step(batch, said, number=number)
        rows += len(batch.inputs)
        if time.monotonic() > until:
            break
    return rows


def _threads() -> dict[str, float]:
    """CPU seconds so far by name of the thread; threads of one name count together."""
    spent: dict[str, float] = {}
    for task in Path("/proc/self/task").iterdir():
        name = (task / "comm").read_text().strip()
        # nanoseconds on a core: the clock of `stat` ticks a hundred times a second only
        seconds = int((task / "schedstat").read_text().split()[0]) / 1e9
        spent[name] = spent.get(name, 0.0) + seconds
    return spent


def _functions(student: Student, lessons: Iterator[Lesson]) -> str:
    _learn(student, lessons, WARM_S)
    # CPU of this thread: who else computes meanwhile doesn't count
    profile, rows, until = cProfile.Profile(time.thread_time), 0, time.monotonic() + SECONDS
    number = 0
    while time.monotonic() < until:
        profile.enable()
        batch, said = next(lessons)
        profile.disable()
        student.training.step(batch, said, number=number)
        rows, number = rows + len(batch.inputs), number + 1
    return _table(profile, rows / WINDOW_ROWS)


def _table(profile: cProfile.Profile, windows: float) -> str:
    profile.create_stats()
    found: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = profile.stats  # type: ignore[attr-defined]
    lines = ["| function | calls a window | own ms | with what it calls, ms |", "|---|---|---|---|"]
    dearest = sorted(found.items(), key=lambda item: -item[1][2])[:MOST_FUNCTIONS]
    for (file, line, name), (_, calls, own_s, whole_s, _) in dearest:
        where = f"{Path(file).name}:{line} {name}" if line else name
        lines.append(
            f"| {where} | {calls / windows:.1f} | {own_s * 1000 / windows:.3f} | {whole_s * 1000 / windows:.3f} |"
        )
    return "\n".join(lines)
