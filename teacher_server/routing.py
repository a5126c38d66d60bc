"""Which replica a window goes to: the one with the fewest windows of all.

Serve's own router compares two replicas drawn at random, by what it last heard of them within ten seconds: with three
replicas or more, one of them is idle while windows wait at another. Here a caller asks the replica that it thinks best;
if that one is not idle it asks the others too, and joins the shortest queue. So it costs one question where replicas are
idle, and many only where the caller must wait for its teacher anyway.

Serve pickles this module by value and sends it to every process that holds a handle, so it may use nothing but Ray and
the standard library.
"""

import asyncio
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, TypeVar

from ray.exceptions import ActorDiedError, RayError
from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

ROUTER = "teacher_server.routing.LeastLoaded"
"""What a deployment names in its `RequestRouterConfig`."""

STALE_S = 0.005
"""What was heard of a replica so long ago must be asked again: less than a window takes, so that windows which are sent
together share what is heard."""
MAX_ASKED = 8
"""Replicas that are asked at most: of more than that, so many drawn at random do as well."""

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Known:
    """What a caller knows of a replica."""

    num_windows: int
    """Taken and not yet answered, whoever sent them."""
    at: float
    """When that was so: seconds of a clock that never goes back."""


def to_ask(
    replicas: Sequence[K],
    known: Mapping[K, Known],
    *,
    now: float,
    draw: Random,
    is_first: bool,
    stale_s: float = STALE_S,
) -> list[K]:
    """The replicas to ask how many windows they have; called twice, before and after the answer of the first one.

    Args:
        replicas: all that there are.
        known: what was heard of them.
        now: when this window's turn came, on the clock of `Known.at`; the same both times.
        draw: where chance comes from.
        is_first: whether this is the first time for this window.
        stale_s: what was heard so long ago must be asked again.

    Returns:
        None if one is idle, as was heard lately. Else, the first time, the one that seems best; then all others of which
        nothing was heard lately.
    """
    stale = [replica for replica in replicas if replica not in known or now - known[replica].at > stale_s]
    if any(known[replica].num_windows == 0 for replica in replicas if replica not in stale):
        return []
    drawn = draw.sample(stale, min(len(stale), MAX_ASKED - 1))
    # of an unknown one, which may be new, the best is assumed
    return sorted(drawn, key=lambda replica: _num_windows(known, replica))[: 1 if is_first else None]


def least_loaded(known: Mapping[K, Known], *, now: float, stale_s: float = STALE_S) -> list[K]:
    """The replicas with the fewest windows, of those heard of lately, or of all known if there is none; maybe empty."""
    fresh = {replica: said for replica, said in known.items() if now - said.at <= stale_s} or known
    fewest = min((said.num_windows for said in fresh.values()), default=0)
    return [replica for replica, said in fresh.items() if said.num_windows == fewest]


def _num_windows(known: Mapping[K, Known], replica: K) -> int:
    return known[replica].num_windows if replica in known else 0


class LeastLoaded(RequestRouter):  # type: ignore[misc]  # Ray ships no types
    """Joins the shortest queue. One in every process and for every handle; they know of each other by what replicas say."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As Serve calls it."""
        super().__init__(*args, **kwargs)
        self._known: dict[ReplicaID, Known] = {}
        self._draw = Random()  # noqa: S311 - chance, no secret
        # else windows that are sent together would all see the same replica idle
        self._one_at_a_time = asyncio.Lock()

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The one replica that this window should go to; Serve calls again, after a pause, if that one is full."""
        if pending_request is not None:
            pending_request.routing_context.should_backoff = True
        if len(candidate_replicas) < 2:
            return [list(candidate_replicas)]
        replicas = {replica.replica_id: replica for replica in candidate_replicas}
        async with self._one_at_a_time:
            # what is heard from now on is new, however long the replies take
            now = time.monotonic()
            for is_first in (True, False):
                asked = to_ask(list(replicas), self._known, now=now, draw=self._draw, is_first=is_first)
                await asyncio.gather(*(self._ask(replicas[replica_id]) for replica_id in asked))
            self._known = {replica: known for replica, known in self._known.items() if replica in replicas}
            best = self._draw.choice(least_loaded(self._known, now=now) or list(replicas))
            self._add(best, 1)
        return [[replicas[best]]]

    def on_new_queue_len_info(self, replica_id: ReplicaID, num_ongoing_requests: int) -> None:
        """A replica says how many windows it has, in reply to ours or because it was asked."""
        super().on_new_queue_len_info(replica_id, num_ongoing_requests)
        self._known[replica_id] = Known(num_ongoing_requests, time.monotonic())

    def on_request_completed(self, replica_id: ReplicaID, internal_request_id: str) -> None:
        """A replica has answered a window of ours."""
        self._add(replica_id, -1)

    def _add(self, replica_id: ReplicaID, num_windows: int) -> None:
        if (known := self._known.get(replica_id)) is not None:
            self._known[replica_id] = replace(known, num_windows=max(0, known.num_windows + num_windows))

    async def _ask(self, replica: RunningReplica) -> None:
        deadline_s = self.queue_len_response_deadline_s
        try:
            num_windows = await asyncio.wait_for(replica.get_queue_len(deadline_s=deadline_s), deadline_s)
        except ActorDiedError:
            self._known.pop(replica.replica_id, None)
            self.on_replica_actor_died(replica.replica_id)
        except (TimeoutError, RayError):
            return  # what is known of it stays as old as it is
        else:
            self.on_new_queue_len_info(replica.replica_id, num_windows)
