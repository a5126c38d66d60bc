"""Following a job or a study: server-sent events, taken up again where they broke off."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError

from distill.contracts.base import Stored
from distill.contracts.errors import DependencyDown, StillhouseError, TooManyStreams
from distill.contracts.events import Event, Gap, ProgressEvent, Snapshot
from distill.contracts.records import JobState
from services.client.wire import Wire, error_of

PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0)
SILENCE_S = 60.0
"""The server sends a comment far more often: so long a silence is a broken connection."""


class End(Stored):
    """Nothing more will come."""

    state: JobState


Sent = Event | ProgressEvent | Gap | Snapshot | End

MODELS: dict[str, type[Sent]] = {"progress": ProgressEvent, "gap": Gap, "snapshot": Snapshot, "end": End}
"""Event name -> what its data is; every other name is a fact's kind."""


@dataclass(frozen=True)
class Followed:
    """One thing that was sent: ``id`` stands where it can be taken up again, and is None for live figures."""

    id: str | None
    name: str
    data: Sent


def follow(
    wire: Wire, path: str, *, after: str | None, give_up_s: float, pause: Callable[[float], None] = time.sleep
) -> Iterator[Followed]:
    """Yield what is sent until the ``end``; a broken connection is made again, and nothing is seen twice.

    Where the server keeps no more of what came after ``after``, a `Gap` and a `Snapshot` take its place.

    Raises:
        NotFound: no such job or study.
        DependencyDown: the server has not answered for ``give_up_s``.
        TooManyStreams: for as long it had no place for another follower.
    """
    last, num_failures, heard_at = after, 0, time.monotonic()
    while True:
        broken: StillhouseError = DependencyDown(f"{wire.url} ends the events of {path} before their end")
        try:
            for sent in _connect(wire, path, last):
                last, num_failures, heard_at = sent.id or last, 0, time.monotonic()
                yield sent
                if isinstance(sent.data, End):
                    return
        except (DependencyDown, TooManyStreams) as error:
            broken = error
        if time.monotonic() - heard_at > give_up_s:
            raise broken
        pause(PAUSES_S[min(num_failures, len(PAUSES_S) - 1)])
        num_failures += 1


def _connect(wire: Wire, path: str, last: str | None) -> Iterator[Followed]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"} | ({"Last-Event-ID": last} if last else {})
    timeout = httpx.Timeout(SILENCE_S, connect=5.0)
    with wire.mapped(), wire.http.stream("GET", path, headers=headers, timeout=timeout) as response:
        if not response.is_success:
            response.read()
            raise error_of(response)
        try:
            for event in EventSource(response).iter_sse():
                if event.data:  # a comment that keeps the connection alive comes as an empty event
                    yield _read(event)
        except SSEError as error:
            raise DependencyDown(f"{wire.url}{path} sends no events: {error}") from error


def _read(event: ServerSentEvent) -> Followed:
    model = MODELS.get(event.event, Event)
    # by the rules of server-sent events an id holds until the next one: only an own one counts
    identity = event.id if model in {Event, Snapshot} else None
    return Followed(id=identity or None, name=event.event, data=model.model_validate_json(event.data))
