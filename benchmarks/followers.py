"""``python -m benchmarks.followers``: how long an event takes from Redis to everyone who follows, and what they cost Redis.

A real control plane in a process of its own, on a Redis of its own and without a cluster; followers over HTTP in this
process, spread over the jobs. Each event carries the moment at which it was appended; a follower's delay ends when its
line is read here. So the time that this process takes to read 200 connections is part of it.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
from redis.asyncio import Redis

from benchmarks.machine import describe
from distill.contracts import names
from distill.contracts.events import Event
from distill.contracts.facts import QueueReason
from distill.contracts.keys import new_key, new_key_id
from services.stack import redis_server
from services.stack.home import StackHome
from services.stack.processes import free_ports
from tests.services.control_plane.processes import start_control_plane
from tests.services.control_plane.records import JOB

KEY = new_key(new_key_id())


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.followers", description=__doc__.splitlines()[0])
    parser.add_argument("--followers", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1, help="the followers are spread over so many (default: 1)")
    parser.add_argument("--events", type=int, default=200, help="one after the other, over all jobs (default: 200)")
    parser.add_argument("--pause-s", type=float, default=0.05, help="between two events (default: 0.05)")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, _house(Path(folder)) as (url, redis_url):
        found = asyncio.run(_measure(url, redis_url, given))
    print(json.dumps({"machine": describe(), **vars(given), **found}, indent=1))
    return 0


@contextmanager
def _house(folder: Path) -> Iterator[tuple[str, str]]:
    home = StackHome(folder)
    home.make()
    redis, state = redis_server.start_redis(home, environment=os.environ, last=None)
    try:
        port = free_ports(1)[0]
        child = start_control_plane(state.url, home.storage, port=port, key=KEY)
        try:
            yield f"http://127.0.0.1:{port}", state.url
        finally:
            child.stop(10.0)
    finally:
        redis.stop(10.0)


async def _measure(url: str, redis_url: str, given: argparse.Namespace) -> dict[str, Any]:
    redis: Redis = Redis.from_url(redis_url, decode_responses=True)
    headers = {"Authorization": f"Bearer {KEY}"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=60) as api:
        jobs = [(await api.post("/v1/jobs", json=JOB)).json()["id"] for _ in range(given.jobs)]
        delays: list[float] = []
        ready = asyncio.Semaphore(0)
        tasks = [
            asyncio.create_task(_follow(api, jobs[number % len(jobs)], delays, ready))
            for number in range(given.followers)
        ]
        for _ in tasks:
            await ready.acquire()
        await redis.config_resetstat()
        began = time.monotonic()
        for number in range(given.events):
            await _append(redis, jobs[number % len(jobs)], number)
            await asyncio.sleep(given.pause_s)
        seconds = time.monotonic() - began
        expected = sum(
            sum(one % len(jobs) == number % len(jobs) for one in range(given.events))
            for number in range(given.followers)
        )
        async with asyncio.timeout(60):
            while len(delays) < expected:  # noqa: ASYNC110 - other tasks fill it
                await asyncio.sleep(0.05)
        reads = (await redis.info("commandstats"))["cmdstat_xread"]["calls"]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    await redis.aclose()
    cuts = quantiles(delays, n=100)
    return {
        "delivered": len(delays), "delay_ms": {"p50": _ms(cuts[49]), "p99": _ms(cuts[98]), "max": _ms(max(delays))},
        "xreads_per_s": round(reads / seconds, 1), "seconds": round(seconds, 1),
    }  # fmt: skip


async def _follow(api: httpx.AsyncClient, job: str, delays: list[float], ready: asyncio.Semaphore) -> None:
    async with api.stream("GET", f"/v1/jobs/{job}/events") as stream:
        async for line in stream.aiter_lines():
            if line == "event: job_created":
                ready.release()
            elif line.startswith("data: ") and '"code":"followed"' in line:
                sent_at = json.loads(line.removeprefix("data: "))["fact"]["text"]
                delays.append(time.time() - float(sent_at))


async def _append(redis: Redis, job: str, number: int) -> None:
    fact = QueueReason(code="followed", text=repr(time.time()), at=datetime.now(UTC))
    event = Event(fact=fact, job=job, role="student", revision=number + 1)
    await redis.xadd(names.events_key("job", job), {"event": event.model_dump_json()})


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


if __name__ == "__main__":
    sys.exit(main())
