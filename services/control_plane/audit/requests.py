"""What a request that may change something leaves in the audit log: an entry before it is carried out, one with its answer.

The first is written by a dependency of every guarded route (`ask`), behind the count of requests and before scopes and
names are looked at: no entry, no change. The second is written before the answer is sent, by the middleware (`Audited`).
A control plane that dies in between leaves the first alone. What is refused before it came to a route leaves only the
second: a wrong team, a body that is too large or no JSON, too many requests, no such route.
"""

import logging
import secrets
import time
from collections.abc import Callable
from typing import Any

from fastapi import Request
from redis.exceptions import RedisError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distill.contracts.audit import ChangeAnswered, ChangeAsked
from distill.contracts.base import Digest, digest_of_bytes, now
from distill.contracts.errors import StillhouseError, TooManyRequests
from distill.contracts.keys import without_secrets
from services.control_plane.audit.log import AuditLog
from services.control_plane.context import Who
from services.control_plane.once import HEADER
from services.control_plane.rate import Rates

log = logging.getLogger(__name__)

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""
DRY_RUNS = frozenset({"/v1/jobs/plan", "/v1/studies/plan"})
"""What changes nothing though it is posted."""
MAX_TEXT, MAX_METHOD = 500, 20
REFUSED_PER_S, REFUSED_AT_ONCE = 1, 60
"""Entries of a team's requests that came to no route: a flood of them is not to fill Redis."""
MAKE_ROOM = frozenset({"DELETE"})
"""Methods that a Redis without memory takes too."""


class Refusals:
    """Which of a team's requests that came to no route get an entry; the others are counted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._rates = Rates(rate=REFUSED_PER_S, burst=REFUSED_AT_ONCE, clock=clock)
        self._left_out: dict[str, int] = {}

    def count(self, team: str) -> int | None:
        """How many were left out before this one, which gets an entry; None where it is left out too."""
        try:
            self._rates.spend(team)
        except TooManyRequests:
            self._left_out[team] = self._left_out.get(team, 0) + 1
            return None
        return self._left_out.pop(team, 0)


class Change:
    """A request that may change something, on its way; in the request's state as ``change``."""

    def __init__(self, audit: AuditLog, refusals: Refusals, scope: Scope) -> None:
        self._audit = audit
        self._refusals = refusals
        self._asked: int | None = None
        self._is_over = False
        query = scope.get("query_string", b"").decode("latin-1")
        self.request = secrets.token_hex(8)
        self._team: str = scope["state"]["key"].team
        self._about: dict[str, Any] = {
            "key": scope["state"]["key"].id,
            "method": scope["method"][:MAX_METHOD],
            "path": shortened(scope["path"]),
            "query": shortened(query) if query else None,
            "request": self.request,
        }

    async def ask(self, *, team: str, route: str, body: Digest | None, once: Digest | None) -> None:
        """It is about to be carried out.

        Raises:
            redis.RedisError: the entry can't be written, or may not have been.
        """
        self._team, self._is_over = team, True  # until the entry is there, whatever goes wrong
        entry = ChangeAsked(at=now(), team=team, route=route, body=body, once=once, **self._about)
        self._asked = await self._audit.append(entry, though_full=self._about["method"] in MAKE_ROOM)
        self._is_over = False

    async def answer(self, status: int, made: str | None) -> None:
        """It is about to be answered; once. Where that can't be written it is answered all the same: what is done is done."""
        if self._is_over:
            return
        self._is_over = True
        left_out = 0 if self._asked is not None else self._refusals.count(self._team)
        if left_out is None:
            return
        entry = ChangeAnswered(
            at=now(), team=self._team, asked=self._asked, status=status, made=made, left_out=left_out, **self._about
        )
        try:
            await self._audit.append(entry, though_full=self._about["method"] in MAKE_ROOM)
        except (RedisError, StillhouseError, OSError) as error:
            log.warning("entry %s of the audit log stays without its answer, %d: %s", self._asked, status, error)


class Audited:
    """Gives every request that may change something its `Change`, and sees that its answer is written down."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._refusals = Refusals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, and listen to what it is answered."""
        if not may_change(scope):
            await self._app(scope, receive, send)
            return
        change = Change(scope["app"].state.context.audit, self._refusals, scope)
        scope["state"]["change"] = change

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", [])
                await change.answer(message["status"], Headers(raw=headers).get("location"))
                message = {**message, "headers": [*headers, (b"x-request-id", change.request.encode())]}
            await send(message)

        try:
            await self._app(scope, receive, send_on)
        except Exception:  # a bug of ours, which is answered outside of here
            await change.answer(500, None)
            raise


def may_change(scope: Scope) -> bool:
    """Whether what is asked leaves entries: somebody's, who showed a key that holds."""
    if scope["type"] != "http" or "key" not in scope.get("state", {}):
        return False
    return scope["method"] not in SAFE and scope["path"] not in DRY_RUNS


async def ask(request: Request, who: Who) -> None:
    """Write down that the request is about to be carried out, if it may change something; every guarded route depends on it.

    Raises:
        redis.RedisError: it can't be written down, and so is not carried out.
    """
    change: Change | None = getattr(request.state, "change", None)
    if change is None:
        return
    body, once = await request.body(), request.headers.get(HEADER)
    await change.ask(
        team=who.team,
        route=request.scope["route"].path,
        body=digest_of_bytes(body) if body else None,
        once=digest_of_bytes(once.encode()) if once else None,
    )


def shortened(text: str) -> str:
    """The text without what could be a key's secret, and not without end."""
    shown = without_secrets(text)
    return shown if len(shown) <= MAX_TEXT else shown[: MAX_TEXT - 3] + "..."
