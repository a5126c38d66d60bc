"""Older entries move from Redis to files: written and on the disk first, then forgotten by Redis."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from redis.asyncio import Redis

from distill.contracts import names
from services.control_plane.audit import files
from services.control_plane.audit.chain import Link, entry_of
from services.control_plane.audit.reading import links_of

MOST_IN_REDIS = 100_000
"""Of more than so many entries the older half moves, however young."""
IN_ONE_FILE = 5000


def moved_before(now: datetime, days: float | None) -> datetime | None:
    """Entries of before this moment move: whole days, so that there is one file a day and not one an hour; None: none."""
    if days is None:
        return None
    moment = now - timedelta(days=days)
    return moment if days < 1 else moment.replace(hour=0, minute=0, second=0, microsecond=0)


def leaving(links: Sequence[Link], *, before: datetime | None, num_too_many: int, newest: int) -> list[Link]:
    """Those at the beginning that move, without a gap: the oldest ``num_too_many``, and what is of ``before`` that moment.

    The newest entry stays: the next one follows on it. What can't be read goes with what stands before it.
    """
    found: list[Link] = []
    for place, link in enumerate(links):
        entry = entry_of(link.text)
        is_old = not entry or (before is not None and datetime.fromisoformat(entry["at"]) < before)
        if link.number != links[0].number + place or link.number >= newest or not (place < num_too_many or is_old):
            break
        found.append(link)
    return found


class Mover:
    """Moves what has had its time in Redis; harmless beside another one's."""

    def __init__(self, redis: Redis, storage: Path, *, days: float | None) -> None:
        self._redis = redis
        self._storage = storage
        self._days = days

    async def move(self, now: datetime, *, dry_run: bool) -> int:
        """Move what is due, and return how many entries that is; with ``dry_run`` only count them.

        Raises:
            OSError: the storage doesn't take them: they stay in Redis.
            redis.RedisError: Redis doesn't answer.
        """
        newest = links_of(await self._redis.xrevrange(names.AUDIT_KEY, count=1))
        length = int(await self._redis.xlen(names.AUDIT_KEY))
        num_too_many = length - MOST_IN_REDIS // 2 if length > MOST_IN_REDIS else 0
        num_moved, start = 0, "-"
        while newest:
            links = links_of(await self._redis.xrange(names.AUDIT_KEY, min=start, count=IN_ONE_FILE))
            due = leaving(
                links, before=moved_before(now, self._days), num_too_many=num_too_many - num_moved,
                newest=newest[0].number,
            )  # fmt: skip
            if not due:
                break
            if not dry_run:
                await asyncio.to_thread(files.write, self._storage, due)
                await self._redis.xtrim(names.AUDIT_KEY, minid=f"{due[-1].number + 1}-0", approximate=False)
            num_moved += len(due)
            start = f"({due[-1].number}-0"
        return num_moved
