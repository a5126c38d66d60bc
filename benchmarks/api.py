"""``python -m benchmarks.api``: how long the control plane takes to submit and to list, at 10,000 jobs.

A control plane in a process of its own on a real Redis that flushes every write, asked over HTTP by one client after
another request is answered. Of the jobs most have ended, and 100 wait; half of them are children of studies.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from redis.asyncio import Redis

from benchmarks.machine import describe
from distill.contracts import names
from distill.contracts.keys import new_key, new_key_id
from distill.contracts.records import JobRecord, JobState, StudyRecord
from distill.contracts.study import Child, StudySpec
from services.control_plane.listing import Listing
from services.control_plane.store import Store
from services.stack import redis_server
from services.stack.home import StackHome
from services.stack.processes import free_ports
from tests.services.control_plane.processes import start_control_plane
from tests.services.control_plane.records import JOB, NOON, TAUGHT, a_queued_job, a_taught_job

KEY = new_key(new_key_id())
RESULTS = Path(__file__).parent / "results" / "api.json"
NUM_WAITING = 100
ENDED = (JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
NUM_OWNERS, NUM_RUNS = 10, 100
AT_ONCE = 200
GOAL_MS = 100.0


@dataclass(frozen=True)
class House:
    """What is measured."""

    url: str
    num_asked: int
    """How often each thing is asked for."""
    lists_made_s: float
    """How long it took to put every record into its lists anew."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    times_ms: Sequence[float]
    note: str = ""

    def percentile(self, share: float) -> float:
        """The least time that such a share of all doesn't exceed, in milliseconds."""
        return sorted(self.times_ms)[max(0, round(share * len(self.times_ms)) - 1)]


def submits(house: House) -> Iterator[Row]:
    """One after the other, and from eight clients at once; each with a key."""
    with _client(house) as client:
        yield Row("submit a job", [_submit(client, f"one-{n}") for n in range(house.num_asked)])
        yield Row("the same key again", [_submit(client, f"one-{n}") for n in range(house.num_asked)])

    def some(thread: int) -> list[float]:
        with _client(house) as client:
            return [_submit(client, f"{thread}-{n}") for n in range(house.num_asked // 8)]

    began = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        times = [one for found in threads.map(some, range(8)) for one in found]
    yield Row("submit a job, 8 clients", times, f"{len(times) / (time.monotonic() - began):.0f} a second")


def lists(house: House) -> Iterator[Row]:
    """Page after page to the end, then from the beginning, narrowed in every way."""
    hour = {"created_after": (NOON + timedelta(hours=1)).isoformat()}
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "list jobs, 50 a page": ("/v1/jobs", {}),
        "list jobs, 200 a page": ("/v1/jobs", {"limit": 200}),
        "by state": ("/v1/jobs", {"state": "FAILED"}),
        "by label": ("/v1/jobs", {"label": "owner=o3"}),
        "by state and two labels": ("/v1/jobs", {"state": "SUCCEEDED", "label": ["owner=o3", "run=r13"]}),
        "by state and label, none there": ("/v1/jobs", {"state": "FAILED", "label": "owner=o1"}),
        "by time and state": ("/v1/jobs", {"state": "CANCELLED", **hour}),
        "list studies of 2 jobs, 50 a page": ("/v1/studies", {}),
        "studies by state": ("/v1/studies", {"state": "FAILED"}),
    }
    with _client(house) as client:
        for what, (path, query) in asked.items():
            yield _walk(client, what, path, query, num_asked=house.num_asked)


MEASUREMENTS: Sequence[Callable[[House], Iterator[Row]]] = (lists, submits)


def main() -> int:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--asked", type=int, default=400, help="how often each thing is asked for")
    given = parser.parse_args()
    # as Ctrl-C does: what is started here must not outlive this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    machine = describe()
    with _a_house(given.jobs, given.asked) as house:
        print(f"asking {house.url}", file=sys.stderr, flush=True)
        rows = [Row("make all lists anew, at a first start", [1000 * house.lists_made_s])]
        rows += [row for measure in MEASUREMENTS for row in measure(house)]
    print(f"\n{machine['cpu']}, {machine['cores']} cores, load before {machine['load_before']}, {machine['date']}\n")
    print(table(rows))
    RESULTS.parent.mkdir(exist_ok=True)
    found = {row.what: {"p50_ms": row.percentile(0.5), "p99_ms": row.percentile(0.99)} for row in rows}
    RESULTS.write_text(json.dumps({"machine": machine, "jobs": given.jobs, "figures": found}, indent=1))
    print(f"\n{RESULTS}")
    return 0


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | times | p50 | p99 | |", "|---|---|---|---|---|"]
    for row in rows:
        half, most = row.percentile(0.5), row.percentile(0.99)
        lines.append(f"| {row.what} | {len(row.times_ms)} | {half:.1f} ms | {most:.1f} ms | {row.note} |")
    return "\n".join(lines)


@contextmanager
def _a_house(num_jobs: int, num_asked: int) -> Iterator[House]:
    with tempfile.TemporaryDirectory(prefix="bench-api-") as folder:
        home = StackHome(Path(folder) / "redis")
        home.make()
        redis, state = redis_server.start_redis(home, environment=dict(os.environ), last=None)
        try:
            seconds = asyncio.run(_fill(state.url, num_jobs))
            port = free_ports(1)[0]
            child = start_control_plane(state.url, Path(folder), port=port, key=KEY)
            try:
                yield House(f"http://127.0.0.1:{port}", num_asked, seconds)
            finally:
                child.stop(10.0)
        finally:
            redis.stop(10.0)


async def _fill(redis_url: str, num_jobs: int) -> float:
    """Make the jobs, through the same steps as the control plane, as if they had been made one a second.

    Returns how many seconds the lists took that a control plane makes when it first finds records of before.
    """
    redis: Redis = Redis.from_url(redis_url, decode_responses=True)
    store = Store(redis)
    for number in range(0, num_jobs // 2, 2):
        student, baseline = _job(number, num_jobs), _job(number + 1, num_jobs)
        await store.create_jobs([student, baseline], _study(number, student, baseline))
    others = [_job(number, num_jobs) for number in range(num_jobs // 2, num_jobs)]
    for first in range(0, len(others), AT_ONCE):
        await store.create_jobs(others[first : first + AT_ONCE])
    ended = [_job(number, num_jobs).id for number in range(num_jobs - NUM_WAITING)]
    await redis.srem(names.active_key("job"), *ended)
    await redis.delete(names.active_key("study"))
    began = time.monotonic()
    await Listing(store, redis).make_lists()
    took_s = time.monotonic() - began
    await redis.aclose()
    return took_s


def _job(number: int, num_jobs: int) -> JobRecord:
    identity = f"bench-{number:06}"
    labels = {"owner": f"o{number % NUM_OWNERS}", "run": f"r{number % NUM_RUNS}"}
    is_child = number < num_jobs // 2
    job = a_taught_job(identity, labels=labels) if number % 2 == 0 else a_queued_job(identity, labels=labels)
    created = NOON + timedelta(seconds=number)
    state = JobState.QUEUED if number >= num_jobs - NUM_WAITING else ENDED[number % len(ENDED)]
    return job.model_copy(
        update={
            "state": state, "created_at": created, "updated_at": created,
            "study": f"bench-study-{number // 2 * 2:06}" if is_child else None,
            "role": ("student", "baseline")[number % 2] if is_child else "student",
        }
    )  # fmt: skip


def _study(number: int, student: JobRecord, baseline: JobRecord) -> StudyRecord:
    spec = StudySpec.model_validate({"name": "bench", "job": TAUGHT | {"labels": student.spec.labels}})
    children = {"student": Child(role="student", seed=0), "baseline": Child(role="baseline", seed=0)}
    return StudyRecord(
        id=f"bench-study-{number:06}", spec=spec, jobs={"student": student.id, "baseline": baseline.id},
        children=children, created_at=student.created_at, updated_at=student.created_at,
    )  # fmt: skip


def _client(house: House) -> httpx.Client:
    return httpx.Client(base_url=house.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)


def _submit(client: httpx.Client, key: str) -> float:
    began = time.perf_counter()
    answer = client.post("/v1/jobs", json=JOB | {"labels": {"key": key}}, headers={"Idempotency-Key": key})
    answer.raise_for_status()
    return 1000 * (time.perf_counter() - began)


def _walk(client: httpx.Client, what: str, path: str, query: dict[str, Any], *, num_asked: int) -> Row:
    times: list[float] = []
    seen: set[str] = set()
    cursor: str | None = None
    num_found = 0
    while len(times) < num_asked:
        began = time.perf_counter()
        answer = client.get(path, params=query | ({"cursor": cursor} if cursor else {}))
        times.append(1000 * (time.perf_counter() - began))
        page = answer.raise_for_status().json()
        found = {item["id"] if "id" in item else item["study"]["id"] for item in page["items"]}
        assert not found & seen, "a page showed something twice"
        seen |= found
        cursor = page["next"]
        if cursor is None:
            num_found, seen = len(seen), set()
    return Row(what, times, f"{num_found:,} found" if num_found or not seen else f"{len(seen):,} so far")


if __name__ == "__main__":
    sys.exit(main())
