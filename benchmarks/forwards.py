"""``forwards_per_distinct_row``: how often a row goes through the teacher where four jobs need it at the same time.

Four processes ask for the same rows in orders of their own; replicas count what they compute, and the accounting says it.
"""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.house import ROOT
from benchmarks.intervals import counted
from distill.contracts import names
from distill.contracts.teachers import ResolvedTeacher

JOBS, NUM_ROWS, ROW_US = 4, 8192, 150.0
SETTLED_S = 2.0
"""Replicas say about once a second what they have counted."""


def measure(bench: Bench) -> list[Figure]:
    """With one replica and with two; each time a fresh teacher, so a fresh book."""
    return [_figure(bench, replicas) for replicas in (1, 2)]


def _figure(bench: Bench, replicas: int) -> Figure:
    teacher = bench.workshop.accelerator(f"shared-{replicas}", row_us=ROW_US + replicas)
    with bench.house.served(teacher, replicas=replicas):
        jobs = _at_once(bench, teacher)
        computed = _computed(bench, teacher)
    details = {
        "jobs": jobs,
        "replicas": replicas,
        "rows_computed": computed,
        "distinct_rows": NUM_ROWS,
        "views": 1,
        "threads": "1 of each job; replicas sleep",
    }
    key = f"forwards_per_distinct_row.{replicas}_replica{'s' if replicas > 1 else ''}"
    return Figure(key, counted(computed / NUM_ROWS), Goal(at_most=1.05), details=details)


def _at_once(bench: Bench, teacher: ResolvedTeacher) -> list[dict[str, int]]:
    file = Path(bench.house.settings.storage) / "teacher.json"
    file.write_text(teacher.model_dump_json())
    command = [sys.executable, "-m", "benchmarks.one_job", str(file), str(NUM_ROWS)]
    jobs = [
        subprocess.Popen(
            [*command, str(seed)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        for seed in range(JOBS)
    ]
    try:
        for job in jobs:
            assert job.stdout is not None
            if (said := job.stdout.readline().strip()) != "ready":
                raise RuntimeError(f"a job was to say that it is ready, and said '{said}'")
        for job in jobs:
            assert job.stdin is not None
            job.stdin.write("go\n")
            job.stdin.flush()
        return [json.loads(job.communicate()[0]) for job in jobs]
    finally:
        for job in jobs:
            job.kill()
            job.wait()


def _computed(bench: Bench, teacher: ResolvedTeacher) -> int:
    """Rows that replicas have computed, as they said once none of them said anything new."""
    before = -1
    while (said := _accounted(bench, teacher)) != before:
        before = said
        time.sleep(SETTLED_S)
    return said


def _accounted(bench: Bench, teacher: ResolvedTeacher) -> int:
    key = names.usage_key("default", f"{datetime.now(UTC):%Y-%m}")
    figure = bench.house.redis.hget(key, f"{teacher.reference}|rows_computed")
    return int(figure or 0)
