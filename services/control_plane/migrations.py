"""From one version of what Redis holds to the next: steps that may be cut short at any point, and go on at the next start.

Whoever starts first migrates, under a lease; the others wait for it. A migration works in batches: each is one
transaction that also remembers how far it came, and that fails once the lease is another's. So a batch is done once or
not at all, whoever dies when; all the same a migration must be harmless to repeat.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import WatchError

from distill.contracts import names
from distill.contracts.errors import Conflict

log = logging.getLogger(__name__)

SCHEMA_VERSION = "1"
LEASE_S = 15.0
"""A batch takes much less; after so long without one whoever migrated is gone, and another one goes on."""
WAIT_S = 0.2

Change = Callable[[Any], Awaitable[None]]
"""Reads through the pipeline it is given, calls ``multi()``, and queues its writes."""


class Work:
    """What a migration is handed: Redis, how far it came before, and batches."""

    def __init__(self, redis: Redis, token: str, *, end: str, came_to: str) -> None:
        self.redis = redis
        self.came_to = came_to
        """What the newest batch left behind; empty at the beginning."""
        self._token = token
        self._end = end

    async def batch(self, came_to: str, change: Change, *, keys: Sequence[str] = ()) -> None:
        """Do ``change`` and remember ``came_to``, in one step; again where one of ``keys`` changed meanwhile.

        Raises:
            LeaseLost: another control plane migrates now.
        """

        async def change_and_remember(pipe: Any) -> None:
            await change(pipe)
            pipe.hset(names.MIGRATION_KEY, self._end, came_to)

        await _fenced(self.redis, self._token, change_and_remember, keys=keys)
        self.came_to = came_to


@dataclass(frozen=True)
class Migration:
    """From one schema version to the next one."""

    start: str
    end: str
    run: Callable[[Work], Awaitable[None]]


MIGRATIONS: tuple[Migration, ...] = ()
"""In order. A version that is not the newest stays here for as long as anybody may still have it."""


class LeaseLost(Exception):
    """Another control plane migrates now."""


def steps_between(found: str, wanted: str, migrations: Sequence[Migration]) -> list[Migration]:
    """The migrations that lead from the version found to the one wanted, in order; none if they are the same.

    Raises:
        Conflict: a newer Stillhouse wrote what was found, or nothing leads from there.
    """
    if not found.isdigit() or int(found) > int(wanted):
        raise Conflict(
            f"Redis holds records of schema {found}, and this Stillhouse knows {wanted}: a newer one wrote them",
            expected=f"schema {wanted} or older",
            got=f"schema {found}",
            hint="start the newer Stillhouse again, or restore a backup of before it (docs/operations.md)",
        )
    by_start = {one.start: one for one in migrations}
    steps: list[Migration] = []
    while found != wanted:
        if found not in by_start:
            raise Conflict(
                f"Redis holds records of schema {found}, and nothing leads from there to {wanted}",
                expected=f"schema {wanted}",
                got=f"schema {found}",
                hint="start a Stillhouse of a version in between first: it brings them forward",
            )
        steps.append(by_start[found])
        found = by_start[found].end
    return steps


async def bring_up_to_date(
    redis: Redis, *, wanted: str = SCHEMA_VERSION, migrations: Sequence[Migration] = MIGRATIONS
) -> None:
    """Mark a new Redis with our version, bring an older one forward, refuse a newer one.

    Safe beside others that start at the same time: one works, the others wait until it has done so.

    Raises:
        Conflict: as `steps_between`; or a restore was begun here and never finished.
    """
    token = uuid.uuid4().hex
    while steps := steps_between(await _found(redis, wanted), wanted, migrations):
        if not await redis.set(names.MIGRATING_KEY, token, nx=True, px=int(LEASE_S * 1000)):
            await asyncio.sleep(WAIT_S)
            continue
        try:
            await _migrate(redis, token, steps[0])
        except LeaseLost:
            log.warning("another control plane migrates what Redis holds: waiting for it")
        finally:
            await _give_up(redis, token)


async def _migrate(redis: Redis, token: str, step: Migration) -> None:
    if await redis.get(names.SCHEMA_KEY) != step.start:
        return  # the one before us did it between our look and our lease
    came_to = str(await redis.hget(names.MIGRATION_KEY, step.end) or "")
    log.warning("what Redis holds is brought from schema %s to %s%s", step.start, step.end, came_to and ", going on")
    await step.run(Work(redis, token, end=step.end, came_to=came_to))

    async def finish(pipe: Any) -> None:
        pipe.multi()
        pipe.set(names.SCHEMA_KEY, step.end)
        pipe.delete(names.MIGRATION_KEY)

    await _fenced(redis, token, finish)
    log.warning("what Redis holds is of schema %s now", step.end)


async def _fenced(redis: Redis, token: str, change: Change, *, keys: Sequence[str] = ()) -> None:
    """One transaction that happens only while the lease is ours, and that renews it."""
    async with redis.pipeline(transaction=True) as pipe:
        while True:
            await pipe.watch(names.MIGRATING_KEY, *keys)
            if await pipe.get(names.MIGRATING_KEY) != token:
                raise LeaseLost
            await change(pipe)
            pipe.pexpire(names.MIGRATING_KEY, int(LEASE_S * 1000))
            try:
                await pipe.execute()
            except WatchError:
                continue
            return


FOUND = """
-- The schema version of what is here; a Redis that holds nothing of ours yet is marked with ARGV[1].
-- A restore that was begun and not finished is no state to start from: its marker is returned with a '!' before it.
-- KEYS: schema, restoring
local restoring = redis.call('GET', KEYS[2])
if restoring then return '!' .. restoring end
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1])
"""


async def _found(redis: Redis, wanted: str) -> str:
    found = str(await redis.eval(FOUND, 2, names.SCHEMA_KEY, names.RESTORING_KEY, wanted))
    if found.startswith("!"):
        raise Conflict(
            f"a restore into this Redis was begun and not finished (backup {found[1:]})",
            hint="run `stillhouse restore` with the same backup again: it goes on, and then this starts",
        )
    return found


async def _give_up(redis: Redis, token: str) -> None:
    if await redis.get(names.MIGRATING_KEY) == token:
        await redis.delete(names.MIGRATING_KEY)
