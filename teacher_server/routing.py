"""Which replica a window goes to: the one that has the least left to do, and has promised to expect it.

Serve's own router compares two replicas drawn at random, by numbers of windows that it heard within ten seconds: with
three replicas or more, one of them is idle while windows wait at another. Here a caller asks for seconds of work. It
asks the replica that it thinks best; if that one is not idle it asks the others too, and joins the shortest queue. So it
costs one question where replicas are idle, and many only where the caller must wait for its teacher anyway. The chosen
one counts the window from then on, before it has come: else all who choose meanwhile would choose the same one.

Serve pickles this module by value and sends it to every process that holds a handle, so it may use nothing but Ray and
the standard library.
"""

import asyncio
import math
import time
import uuid
from collections.abc import Callable, Collection, Generator, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Generic, TypeVar

from ray.exceptions import ActorDiedError, RayError
from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

ROUTER = "teacher_server.routing.LeastLoaded"
"""What a deployment names in its `RequestRouterConfig`."""

STALE_S = 0.005
"""What was heard of a replica so long ago must be asked again: less than a window takes, so that windows which are sent
together share what is heard."""
MAX_ASKED = 8
"""Replicas that are asked at most: of more than that, so many drawn at random do as well."""
MAX_TRIES = 3
"""So often another caller may be faster before a window goes where it must wait a little longer."""

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Known:
    """What a replica said of itself; work is rows times members."""

    busy_s: float
    """Until its device is done with what is on it."""
    work: float
    """What waits for its device, and what it expects."""
    s_per_work: float | None
    """Seconds that its device takes; None before it has computed anything."""
    at: float
    """When it said so: seconds of a clock that never goes back."""


@dataclass(frozen=True)
class Question(Generic[K]):
    """Asks a replica what it has left to do, and maybe to expect the window."""

    replica: K
    at_most_s: float | None
    """It is to expect the window unless it has more than this left to do; None: it need only say what it has."""


def choosing(
    replicas: Sequence[K],
    known: Mapping[K, Known],
    *,
    clock: Callable[[], float],
    draw: Random,
    stale_s: float = STALE_S,
) -> Generator[list[Question[K]], Collection[K], K]:
    """Choose the replica of one window.

    Args:
        replicas: all that there are, at least one.
        known: what they said; whoever asks for us adds to it what each answers, but for the silent ones.
        clock: the one of `Known.at`.
        draw: where chance comes from.
        stale_s: what was heard so long ago must be asked again.

    Yields:
        Questions to be asked at once; to be sent back: who of them promised to expect the window.

    Returns:
        The replica; it has promised, unless others were always faster or nobody answers.
    """
    # what is heard from now on is new, however long the replies take
    since = clock() - stale_s
    # of an unknown one, which may be new, the best is assumed
    left_s = dict.fromkeys(replicas, 0.0) | _left_s(replicas, known, clock())
    guess = _least(left_s, draw)
    if (yield [Question(guess, 0.0)]):
        return guess

    stale = [replica for replica in replicas if replica != guess and not _is_new(known, replica, since)]
    yield [Question(replica, None) for replica in draw.sample(stale, min(len(stale), MAX_ASKED - 1))]
    candidates = [replica for replica in replicas if _is_new(known, replica, since)]
    for _ in range(MAX_TRIES):
        if not candidates:
            break
        left_s = _left_s(candidates, known, clock())
        best = _least(left_s, draw)
        before = known[best]
        if (yield [Question(best, min((left_s[other] for other in left_s if other != best), default=math.inf))]):
            return best
        if known[best] is before:  # it is silent
            candidates.remove(best)
    left_s = _left_s(candidates or replicas, known, clock())
    return _least(left_s, draw) if left_s else draw.choice(replicas)


def _is_new(known: Mapping[K, Known], replica: K, since: float) -> bool:
    return replica in known and known[replica].at >= since


def _left_s(replicas: Sequence[K], known: Mapping[K, Known], now: float) -> dict[K, float]:
    """Seconds of each that is known. Time has passed since it spoke: it has done as much."""
    said = {replica: known[replica] for replica in replicas if replica in known}
    paces = [one.s_per_work for one in said.values() if one.s_per_work is not None]
    # who hasn't computed yet is thought as fast as the others; if there are none, any pace compares them
    usual = sum(paces) / len(paces) if paces else 1.0
    return {
        replica: max(
            0.0, one.busy_s + one.work * (usual if one.s_per_work is None else one.s_per_work) - (now - one.at)
        )
        for replica, one in said.items()
    }


def _least(left_s: Mapping[K, float], draw: Random) -> K:
    least = min(left_s.values())
    return draw.choice([replica for replica, seconds in left_s.items() if seconds == least])


class LeastLoaded(RequestRouter):  # type: ignore[misc]  # Ray ships no types
    """Joins the shortest queue. One in every process and for every handle; they know of each other by what replicas say."""

    silent_s = 0.3
    """A replica that says nothing for so long is left out: longer than a busy machine takes, not long for a window."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As Serve calls it."""
        super().__init__(*args, **kwargs)
        self._known: dict[ReplicaID, Known] = {}
        self._draw = Random()  # noqa: S311 - chance, no secret
        # else windows that are sent together would all ask the same replica
        self._one_at_a_time = asyncio.Lock()

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """The one replica that this window should go to; Serve calls again, after a pause, if that one is full."""
        if pending_request is not None:
            pending_request.routing_context.should_backoff = True
        if len(candidate_replicas) < 2 or pending_request is None or pending_request.metadata.call_method != "answer":
            return [[replica] for replica in self._draw.sample(candidate_replicas, min(1, len(candidate_replicas)))]
        replicas = {replica.replica_id: replica for replica in candidate_replicas}
        async with self._one_at_a_time:
            self._known = {replica: known for replica, known in self._known.items() if replica in replicas}
            best = await self._choose(replicas, pending_request)
        return [[replicas[best]]]

    async def _choose(self, replicas: Mapping[ReplicaID, RunningReplica], window: PendingRequest) -> ReplicaID:
        choice = choosing(list(replicas), self._known, clock=time.monotonic, draw=self._draw)
        try:
            questions = next(choice)
            while True:
                asking = (self._ask(replicas[question.replica], window, question.at_most_s) for question in questions)
                promised = zip(questions, await asyncio.gather(*asking), strict=True)
                questions = choice.send([question.replica for question, is_promised in promised if is_promised])
        except StopIteration as chosen:
            best: ReplicaID = chosen.value
            return best

    async def _ask(self, replica: RunningReplica, window: PendingRequest, at_most_s: float | None) -> bool:
        """Whether it expects the window; what it says of itself is known then."""
        metadata = replace(window.metadata, call_method="expect", internal_request_id=str(uuid.uuid4()))
        question = PendingRequest(args=[window.args[0], at_most_s], kwargs={}, metadata=metadata)
        try:
            sent = replica.try_send_request(question, with_rejection=False)
            said = await asyncio.wait_for(sent.get_async(), self.silent_s)
        except ActorDiedError:
            self._known.pop(replica.replica_id, None)
            self.on_replica_actor_died(replica.replica_id)
            return False
        except (TimeoutError, RayError):
            return False  # what is known of it stays as old as it is
        self.on_new_queue_len_info(replica.replica_id, said["num_windows"])
        self._known[replica.replica_id] = Known(said["busy_s"], said["work"], said["s_per_work"], time.monotonic())
        return bool(said["is_promised"])
