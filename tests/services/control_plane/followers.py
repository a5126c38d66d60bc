"""Followers for tests: what they are sent, and how they come back until they have seen the end."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.events import Event, Snapshot
from distill.contracts.facts import CancelAsked, QueueReason
from services.control_plane.hub import Hub
from services.control_plane.store import Store
from services.control_plane.streams import follow
from tests.services.control_plane.records import a_queued_job

JOB = "digits-abc234"
EVENTS = names.events_key("job", JOB)


@dataclass
class House:
    """A job that others follow."""

    redis: Redis
    store: Store
    hub: Hub

    async def queue(self) -> None:
        """Make the job."""
        await self.store.create_jobs([a_queued_job(JOB)])

    async def publish(self, count: int = 1) -> None:
        """So many events, all in one step."""
        event = Event(fact=QueueReason(code="x", text="waits", at=now()), job=JOB, role="student", revision=1)
        async with self.redis.pipeline() as together:
            for _ in range(count):
                together.xadd(EVENTS, {"event": event.model_dump_json()})
            await together.execute()

    async def is_read(self) -> bool:
        """Whether the hub has given out all that was published, if anybody follows."""
        newest = (await self.ids())[-1:]
        return all(key(one) <= key(self.hub.read_until(EVENTS) or one) for one in newest)

    async def end(self) -> None:
        """The job is cancelled: its last event."""
        await self.store.append("job", JOB, CancelAsked(at=now()))

    async def ids(self) -> list[str]:
        """All that was published and is kept."""
        return [entry for entry, _ in await self.redis.xrange(EVENTS)]


@dataclass
class Follower:
    """Keeps what it is sent, and where it would go on."""

    house: House
    last: str = "0-0"
    ids: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    gaps: list[tuple[str, str]] = field(default_factory=list)
    """After which id the history was missing, and from which id it goes on."""

    async def connect(self, *, leave_after: int | None = None, keep_alive_s: float = 15.0) -> None:
        """Follow until the stream ends, or until so many parts have come."""
        house = self.house
        stream = follow(
            house.hub, house.store, house.redis, "job", JOB, after=self.last, keep_alive_s=keep_alive_s
        )  # fmt: skip
        async with aclosing(stream) as parts:
            async for part in parts:
                for sent in frames(part):
                    self._note(sent)
                leave_after = None if leave_after is None else leave_after - 1
                if leave_after == 0:
                    return

    async def until_the_end(self, rng: random.Random | None = None) -> None:
        """Come back, each time with the last id, until ``end``; with ``rng`` leave at random points too."""
        in_vain = 0
        while "end" not in self.names:
            num_seen = len(self.names)
            await self.connect(leave_after=rng.randint(1, 4) if rng and rng.random() < 0.7 else None)
            in_vain = 0 if len(self.names) > num_seen else in_vain + 1
            assert in_vain < 50, "it is let go again and again, and gets nowhere"

    def _note(self, sent: dict[str, str]) -> None:
        name = sent.get("event", "alive")
        self.names.append(name)
        if name == "snapshot":
            snapshot = Snapshot.model_validate_json(sent["data"])
            assert sent["id"] == snapshot.after
            self.gaps.append((self.last, snapshot.after))
        elif "id" in sent:
            self.ids.append(sent["id"])
        self.last = sent.get("id", self.last)


async def wait_for(holds: Callable[[], Any]) -> None:
    """Until it holds; a test that waits in vain runs into its own time-out."""
    while True:
        found = holds()
        if (await found) if asyncio.iscoroutine(found) else found:
            return
        await asyncio.sleep(0.01)


def frames(part: bytes) -> list[dict[str, str]]:
    """What a part of a stream says; a comment is an empty frame."""
    blocks = [block for block in part.decode().split("\n\n") if block]
    return [dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":")) for block in blocks]


def key(identity: str) -> tuple[int, int]:
    """A stream id, to be put in order."""
    milliseconds, _, sequence = identity.partition("-")
    return int(milliseconds), int(sequence)


def unseen(published: Sequence[str], follower: Follower) -> list[str]:
    """What a follower neither saw nor was told to be part of a snapshot."""
    seen = set(follower.ids)
    return [
        one
        for one in published
        if one not in seen and not any(key(after) < key(one) <= key(until) for after, until in follower.gaps)
    ]
