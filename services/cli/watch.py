"""Following jobs and studies on a terminal, in a log, or as JSON lines."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING

from distill.contracts.errors import StillhouseError
from distill.contracts.events import Event, ProgressEvent, Snapshot
from distill.contracts.records import JobState
from services.cli.bars import Bars, Lines, Tally
from services.cli.exit_codes import JOB_FAILED, OK
from services.cli.screen import console, show_line
from services.client import End, Followed, StillhouseClient

if TYPE_CHECKING:
    from services.client.client import Kind


def watch_on_screen(
    client: StillhouseClient, watched: "Sequence[tuple[Kind, str]]", *, names: Mapping[str, str] | None = None
) -> int:
    """Show all of them until each has ended: bars on a terminal, plain lines elsewhere. Returns the exit code.

    ``names`` says what a job is called where its role doesn't tell it from the others: id -> name.
    """
    ends: dict[str, JobState] = {}
    tally = Tally(_states(client, watched))
    view = Bars(names or {}, tally) if console().is_terminal else Lines(names or {}, tally)
    with view:
        for identity, followed in follow_all(client, watched):
            if isinstance(followed.data, End):
                ends[identity] = followed.data.state
            elif isinstance(followed.data, ProgressEvent):
                view.progress(followed.data)
            elif isinstance(followed.data, Snapshot):
                view.snapshot(followed.data)
            elif isinstance(followed.data, Event):
                view.event(followed.data)
    for kind, identity in watched:
        console().print(f"{kind} {identity}: {ends[identity]}", style="bold")
    return OK if all(state is JobState.SUCCEEDED for state in ends.values()) else JOB_FAILED


def _states(client: StillhouseClient, watched: "Sequence[tuple[Kind, str]]") -> dict[str, JobState]:
    """The jobs of each watched study, as they are now."""
    views = [client.study(identity) for kind, identity in watched if kind == "study"]
    return {job.id: job.state for view in views for job in view.children.values()}


def watch_as_json(client: StillhouseClient, kind: "Kind", identity: str) -> int:
    """One JSON line for each thing that is sent; returns the exit code."""
    state = None
    for followed in client.follow(kind, identity):
        show_line({"id": followed.id, "event": followed.name, "data": followed.data.model_dump(mode="json")})
        state = followed.data.state if isinstance(followed.data, End) else state
    return OK if state is JobState.SUCCEEDED else JOB_FAILED


def follow_all(client: StillhouseClient, watched: "Sequence[tuple[Kind, str]]") -> Iterator[tuple[str, Followed]]:
    """What several of them send, in the order in which it comes, until the last has ended."""
    if len(watched) == 1:
        kind, identity = watched[0]
        yield from ((identity, followed) for followed in client.follow(kind, identity))
        return
    arrivals: SimpleQueue[tuple[str, Followed | StillhouseError]] = SimpleQueue()
    for kind, identity in watched:
        threading.Thread(target=_pump, args=(client, kind, identity, arrivals), daemon=True).start()
    num_open = len(watched)
    while num_open:
        identity, arrived = arrivals.get()
        if isinstance(arrived, StillhouseError):
            raise arrived
        num_open -= isinstance(arrived.data, End)
        yield identity, arrived


def _pump(
    told: StillhouseClient, kind: "Kind", identity: str, arrivals: "SimpleQueue[tuple[str, Followed | StillhouseError]]"
) -> None:
    try:
        with told.again() as client:
            for followed in client.follow(kind, identity):
                arrivals.put((identity, followed))
    except StillhouseError as error:
        arrivals.put((identity, error))
