"""``python -m benchmarks.cancel``: how long a cancelled job takes until it is gone, from the answer to POST /cancel.

Gone is a job whose state is CANCELLED and that has no process any more. Each is cancelled at a random moment of its life.

By default a real control plane on a real Redis, with a stand-in for Ray that starts tiny real workers: they look at their
directive each second and hold their lease for 15 s, as real ones do, and have nothing to save or to shut down. With
``--real`` a whole stack, with a real Ray and students of digits, one after the other.
"""

import argparse
import asyncio
import json
import math
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.machine import describe
from distill.contracts.job import JobSpec
from distill.contracts.records import JobState
from services.client.client import StillhouseClient
from services.stack.processes import remains
from services.stack.settings import StackSettings
from services.stack.stack import Stack
from tests.chaos.jobs.house import House
from tests.chaos.victims import ranks

RESULTS = Path(__file__).parent / "results" / "cancel.json"
GOAL_P95_S, GOAL_MOST_S = 15.0, 75.0
LOOK_S = 0.05
PATIENCE_S = 300.0
NUM_CLIENTS = 8
TINY_WORKER = ("--step-s", "1.0", "--lease-s", "15", "--max-offline-s", "600")
JOB = {
    "name": "cancelled",
    "dataset": {"source": "digits"},
    "student": {"source": "zoo", "name": "mlp", "args": {"hidden": [64]}},
    "training": {"epochs": 10_000, "batch_size": 4},
}

HasProcesses = Callable[[str], bool]
"""Whether a job has a process that still lives."""


@dataclass(frozen=True)
class Cancelled:
    """One job."""

    was: JobState
    """Its state when it was cancelled."""
    state_s: float
    """Until its state was CANCELLED."""
    gone_s: float
    """Until no process was left either."""


def cancel_one(client: StillhouseClient, has_processes: HasProcesses, *, after_s: float) -> Cancelled:
    """Submit a job, and cancel it so long afterwards.

    Raises:
        TimeoutError: it isn't gone after `PATIENCE_S`.
    """
    job = client.submit_job(JobSpec.model_validate(JOB)).id
    time.sleep(after_s)
    was = client.job(job).state
    client.cancel_job(job)
    answered = time.monotonic()
    state_s: float | None = None
    while (since_s := time.monotonic() - answered) < PATIENCE_S:
        if state_s is None and client.job(job).state is JobState.CANCELLED:
            state_s = time.monotonic() - answered
        if state_s is not None and not has_processes(job):
            return Cancelled(was, state_s, max(state_s, since_s))
        time.sleep(LOOK_S)
    raise TimeoutError(f"{job}, which was {was} when it was cancelled, is not gone after {PATIENCE_S:.0f} s")


async def on_stand_in(folder: Path, *, num_jobs: int, seed: int) -> list[Cancelled]:
    """Jobs from eight clients at once; some wait in the queue when they are cancelled."""
    async with House.standing(folder, worker=TINY_WORKER) as house:

        def has_processes(job: str) -> bool:
            return any(worker.job == job and worker.ended is None for worker in list(house.ray.workers.values()))

        def some(first: int) -> list[Cancelled]:
            with StillhouseClient(house.first.url, key=house.key) as client:
                moments = [random.Random(f"{seed}-{n}").uniform(0, 8) for n in range(first, num_jobs, NUM_CLIENTS)]  # noqa: S311
                return [cancel_one(client, has_processes, after_s=moment) for moment in moments]

        with ThreadPoolExecutor(NUM_CLIENTS) as threads:
            loop = asyncio.get_running_loop()
            found = await asyncio.gather(*(loop.run_in_executor(threads, some, n) for n in range(NUM_CLIENTS)))
    return [one for part in found for one in part]


def on_real_stack(folder: Path, *, num_jobs: int, seed: int) -> Iterator[Cancelled]:
    """Jobs one after the other, so that every rank that lives is of the one that is looked at."""
    with (
        Stack(StackSettings(home=folder), port=0) as stack,
        StillhouseClient(stack.url, key=stack.key) as client,
    ):

        def has_processes(job: str) -> bool:
            return bool(ranks(stack)) or any(job in _command(process) for process in remains(stack.state.mark, []))

        for number in range(num_jobs):
            moment = random.Random(f"{seed}-{number}").uniform(0, 40)  # noqa: S311
            found = cancel_one(client, has_processes, after_s=moment)
            print(f"{found.was} after {moment:.0f} s: gone in {found.gone_s:.1f} s", file=sys.stderr, flush=True)
            yield found


def main() -> int:
    """Measure, print and keep; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cancel", description=__doc__)
    parser.add_argument("--jobs", type=int, help="100 by default, 10 on a real Ray")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", action="store_true", help="a whole stack, with a real Ray")
    given = parser.parse_args()
    # as Ctrl-C does: what is started here must not outlive this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    machine = describe()
    with tempfile.TemporaryDirectory(prefix="cancel-") as folder:
        if given.real:
            found = list(on_real_stack(Path(folder), num_jobs=given.jobs or 10, seed=given.seed))
        else:
            found = asyncio.run(on_stand_in(Path(folder), num_jobs=given.jobs or 100, seed=given.seed))
    where = "a real Ray, students of digits" if given.real else "a stand-in for Ray, tiny real workers"
    print(f"\n{machine['cpu']}, {machine['cores']} cores, load before {machine['load_before']}, {machine['date']}")
    print(f"{where}; {len(found)} jobs cancelled while {_states(found)}\n")
    print(table(found))
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    times = sorted(one.gone_s for one in found)
    kept[where] = {"machine": machine, "gone_s": times}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1))
    return int(percentile(times, 0.95) > GOAL_P95_S or times[-1] > GOAL_MOST_S)


def table(found: Sequence[Cancelled]) -> str:
    """As Markdown, against the goals."""
    rows = {
        "CANCELLED": [one.state_s for one in found],
        "and no process left": [one.gone_s for one in found],
        "of those that had an attempt": [one.gone_s for one in found if one.was.has_attempt],
    }
    lines = ["| from the answer of POST /cancel to | jobs | p50 | p95 | most |", "|---|---|---|---|---|"]
    for what, times in rows.items():
        if times:
            half, most = percentile(times, 0.5), percentile(times, 0.95)
            lines.append(f"| {what} | {len(times)} | {half:.2f} s | {most:.2f} s | {max(times):.2f} s |")
    lines.append(f"| the goal | | | {GOAL_P95_S:.0f} s | {GOAL_MOST_S:.0f} s |")
    return "\n".join(lines)


def percentile(times: Sequence[float], share: float) -> float:
    """The least time that such a share of all doesn't exceed."""
    return sorted(times)[max(0, math.ceil(share * len(times)) - 1)]


def _states(found: Sequence[Cancelled]) -> str:
    return ", ".join(f"{state.value} {count}" for state, count in sorted(Counter(one.was for one in found).items()))


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


if __name__ == "__main__":
    sys.exit(main())
