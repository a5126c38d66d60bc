"""``idle_share``: replicas that do nothing while more than one batch waits somewhere.

Worst over 1 to 8 students and 1 to 8 replicas in simulated time (`simulation`), with the real queue and the real choice
between replicas; and three uneven ratios for real, with replicas that behave as remote accelerators.
"""

import math
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.intervals import counted

if TYPE_CHECKING:
    from benchmarks.simulation import Case

UP_TO = 8
LOADS = (math.inf, 1.0, 0.8)
"""Students that only ask, and students that together can take all, or four fifths, of what replicas can answer."""
SEEDS = (0, 1)
REAL_RATIOS = ((3, 2), (2, 3), (5, 3))
WINDOW_ROWS, ROW_US = 1024, 250.0
GOAL = Goal(at_most=0.05)


def measure(bench: Bench) -> list[Figure]:
    """By simulation and for real; a window is one device batch, as it is by default."""
    return [_simulated(), _measured(bench)]


def _simulated() -> Figure:
    # nothing is timed here, so it may have all cores
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        found = {
            load: processes.map(partial(_share_of, load), *zip(*_counts(), strict=True), chunksize=8) for load in LOADS
        }
        worst = {load: max(shares, key=lambda share: share[0]) for load, shares in found.items()}
    details = {
        f"load {load:g}": {"worst": share, "students": case.students, "replicas": case.replicas}
        for load, (share, case) in worst.items()
    }
    return Figure("idle_share.simulated", counted(max(share for share, _ in worst.values())), GOAL, details=details)


def _counts() -> Iterator[tuple[int, int]]:
    return product(range(1, UP_TO + 1), range(1, UP_TO + 1))


def _share_of(load: float, students: int, replicas: int) -> "tuple[float, Case]":
    from benchmarks.simulation import Case, idle_share

    case = Case(students, replicas, load)
    return max(idle_share(case, seed=seed) for seed in SEEDS), case


def _measured(bench: Bench) -> Figure:
    shares = {ratio: _real(bench, *ratio) for ratio in REAL_RATIOS}
    details = {
        "students:replicas": {f"{students}:{replicas}": share for (students, replicas), share in shares.items()},
        "window_rows": WINDOW_ROWS,
        "row_us": ROW_US,
        "seconds": _seconds(bench),
        "threads": "students only ask; replicas sleep",
    }
    return Figure("idle_share.real", counted(max(shares.values())), GOAL, details=details)


def _seconds(bench: Bench) -> float:
    return 8 * bench.effort.counted_s


def _real(bench: Bench, students: int, replicas: int) -> float:
    from benchmarks.asking import ask_for
    from benchmarks.timeline import idle_while_waiting, read_notes

    with tempfile.TemporaryDirectory() as folder:
        name = f"uneven-{students}-{replicas}"
        teacher = bench.workshop.accelerator(name, row_us=ROW_US, note_to=folder)
        with bench.house.served(teacher, replicas=replicas):
            for file in Path(folder).glob("*"):  # of the check, and of the first batches of an earlier replica
                file.unlink()
            asked = ask_for(teacher, students=students, window_rows=WINDOW_ROWS, seconds=_seconds(bench) + 1)
        notes = read_notes(Path(folder))
    since = asked[0] + 1
    return idle_while_waiting(notes, asked, batch_rows=WINDOW_ROWS, num_replicas=replicas, since=since, until=asked[-1])
