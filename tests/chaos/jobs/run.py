"""One run: troubles as planned while users want things, then calm, until all has come to rest; and what is left of it."""

import asyncio
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from redis import Redis

from distill.contracts.records import JobState, Wish
from services.client.client import StillhouseClient
from tests.chaos.jobs.evidence import (
    Evidence,
    faults_of_lists,
    read_trail,
    records_of,
    stored_jobs,
    waiting_inboxes,
)
from tests.chaos.jobs.house import LEASE_S, House
from tests.chaos.jobs.plan import plan
from tests.chaos.jobs.users import Ledger, User
from tests.keys import for_ever

NUM_USERS = 5
PATIENCE_S = 60.0
"""For the answer to a submit, once nothing troubles any more."""
REST_S = 400.0
"""In which all must come to rest after the troubles: longer than any back-off, and than any stop takes."""


@dataclass(frozen=True)
class Outcome:
    """What became of a run."""

    seed: int
    seconds: float
    rest_s: float
    """From the last trouble until all had come to rest; `REST_S` where that never was."""
    befell: dict[str, int]
    acts: dict[str, int]
    unanswered: dict[str, int]
    """Why wishes of users were not answered at first -> how many."""
    evidence: Evidence


async def rage(folder: Path, *, seed: int, seconds: float, say: Callable[[str], None]) -> Outcome:
    """Let the troubles of this seed befall a house of its own below ``folder``."""
    async with House.standing(folder) as house:
        ledger, over = Ledger(), threading.Event()
        urls = [house.first.url, house.second.url]
        users = [
            User(f"user{n}", urls, house.key, house.redis.url, ledger, seed=seed) for n in range(NUM_USERS)
        ]  # fmt: skip
        lives = [asyncio.create_task(asyncio.to_thread(user.live, over)) for user in users]
        try:
            await _troubled(house, seed=seed, seconds=seconds, say=say)
        finally:
            over.set()
            await asyncio.gather(*lives)
        say("the troubles are over")
        redis = Redis.from_url(house.redis.url, decode_responses=True)
        rest_s = await _at_rest(house, users[0], ledger, redis)
        say(f"{'all has come to rest' if rest_s < REST_S else 'it never comes to rest'}, after {rest_s:.0f} s")
        audit_faults = await asyncio.to_thread(_audit_faults, house)
        for one in (house.first, house.second):
            one.is_wanted = False
            one.signal(signal.SIGTERM)
            await one.ended(20)
        evidence = replace(_evidence(house, ledger, redis), audit_faults=audit_faults)
        for user in users:
            user.close()
        redis.close()
        return Outcome(seed, seconds, rest_s, dict(house.befell), dict(ledger.acts), dict(ledger.troubles), evidence)


async def _troubled(house: House, *, seed: int, seconds: float, say: Callable[[str], None]) -> None:
    began = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as happening:
        for trouble in plan(seed, seconds):
            await asyncio.sleep(began + trouble.at_s - asyncio.get_running_loop().time())
            say(f"{trouble.kind}, for {trouble.lasts_s:.1f} s" if trouble.lasts_s else trouble.kind)
            happening.create_task(house.befall(trouble))
        await asyncio.sleep(began + seconds - asyncio.get_running_loop().time())


async def _at_rest(house: House, user: User, ledger: Ledger, redis: Redis) -> float:
    """Answer what was never answered, and wait until nothing is to be done any more; seconds that it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    house.calm_workers()
    await house.is_up()
    for key in [key for key in ledger.specs if not ledger.answers.get(key)]:
        await asyncio.to_thread(user.submit_until_answered, key, patience_s=PATIENCE_S)
    while loop.time() - began < REST_S:
        if not await asyncio.to_thread(_is_busy, house, redis):
            return loop.time() - began
        await asyncio.sleep(1.0)
    return REST_S


def _is_busy(house: House, redis: Redis) -> bool:
    if any(worker.ended is None for worker in list(house.ray.workers.values())):
        return True
    at_rest = (
        job.state.is_final or (job.state is JobState.PAUSED and job.wish is Wish.PAUSE) for job in records_of(redis)
    )
    return not all(at_rest) or bool(waiting_inboxes(redis))


def _evidence(house: House, ledger: Ledger, redis: Redis) -> Evidence:
    stored = stored_jobs(redis)
    trails = {job: trail for job in stored if (trail := read_trail(redis, job)) is not None}
    deleted = sorted(ledger.archive.keys() - trails.keys())
    return Evidence(
        trails=trails | {job: ledger.archive[job] for job in deleted},
        stored=frozenset(trails),
        submits=ledger.submits(),
        deleted=frozenset(ledger.deleted),
        gone=frozenset(ledger.gone),
        cancelled=frozenset(ledger.cancelled),
        runs=[worker.as_run() for worker in house.ray.workers.values()],
        redis_away=house.redis_away,
        lease_s=LEASE_S,
        unlisted=list(faults_of_lists(redis, [trail.record for trail in trails.values()])),
        waiting=waiting_inboxes(redis),
        keys_for_ever=for_ever(redis),
        keys_of_deleted=_keys_of(redis, deleted),
        tracebacks=list(house.tracebacks()),
        surprises=ledger.surprises,
    )


def _audit_faults(house: House) -> list[str]:
    with StillhouseClient(house.first.url, key=house.key) as client:
        found = client.verify_audit()
    return [] if found.whole else [f"broken at {found.broken_at}: {found.what}"]


def _keys_of(redis: Redis, jobs: Sequence[str]) -> list[str]:
    gone = set(jobs)
    keys = (str(key) for key in redis.scan_iter("stillhouse:job:*", count=1000))
    return sorted(key for key in keys if key.split(":")[2] in gone)
