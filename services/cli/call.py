"""What one call of the program was told, and the client that follows from it."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from distill.contracts.errors import InvalidSpec, NotFound
from services.cli.screen import say

if TYPE_CHECKING:
    from distill.contracts.notify import Delivery, NotifySpec
    from distill.contracts.records import JobRecord
    from services.client.client import Kind, StillhouseClient

Found = TypeVar("Found")

NUM_KNOWN = 200
"""How many of the newest jobs and studies are looked through for a likeness."""


@dataclass
class Call:
    """The options that stand before the command."""

    server: str | None = None
    key_file: Path | None = None
    team: str | None = None
    as_json: bool = False


def client_of(context: typer.Context, *, as_json: bool = False) -> "StillhouseClient":
    """A client of the server that the person means."""
    from services.client import StillhouseClient
    from services.client.where import find_key, find_server

    call = context.ensure_object(Call)
    call.as_json = as_json
    server = find_server(call.server)
    return StillhouseClient(server, key=find_key(server, call.key_file), team=call.team)


def kind_of(client: "StillhouseClient", identity: str) -> "Kind":
    """Whether it is a job or a study.

    Raises:
        NotFound: it is neither; the hint names what looks like it.
    """
    return or_suggest(client, identity, lambda: client.kind_of(identity))


def job_of(client: "StillhouseClient", identity: str) -> "JobRecord":
    """The job; of a study, its student.

    Raises:
        NotFound: it is neither; the hint names what looks like it.
        InvalidSpec: the study has several students.
    """
    if kind_of(client, identity) == "job":
        return client.job(identity)
    view = client.study(identity)
    students = view.study.keys_of("student")
    if len(students) > 1:
        jobs = ", ".join(view.children[key].id for key in students)
        raise InvalidSpec(
            f"{identity} is a study of {len(students)} students: say which one", got=identity, expected=f"one of {jobs}"
        )
    others = ", ".join(f"{role} {job.id}" for role, job in view.children.items())
    say(f"{identity} is a study ({others}): taking its student")
    return view.children[students[0]]


def how_told(client: "StillhouseClient", kind: "Kind", identity: str, notify: "NotifySpec | None") -> "Delivery | None":
    """How telling somebody of its end went; None where nobody is to be told, or nobody was."""
    try:
        return client.webhook(kind, identity) if notify else None
    except NotFound:
        return None


def or_suggest(client: "StillhouseClient", identity: str, look: Callable[[], Found]) -> Found:
    """What ``look`` finds; where it finds nothing, the error says what looks like ``identity``."""
    try:
        return look()
    except NotFound as error:
        known = [view.study.id for view in islice(client.studies(), NUM_KNOWN)]
        known += [job.id for job in islice(client.jobs(), NUM_KNOWN)]
        like = [one for one in known if one.startswith(identity)][:3] or get_close_matches(identity, known)
        hint = (
            f"did you mean {' or '.join(like)}?"
            if like
            else "`stillhouse jobs` and `stillhouse studies` show what there is"
        )
        raise NotFound(error.message, got=identity, hint=hint) from error
