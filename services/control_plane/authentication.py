"""Who asks: every path but a few needs an API key, which is checked before anything of the request is read."""

import logging

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distill.contracts.errors import NotAuthenticated, StillhouseError
from distill.contracts.keys import key_of_header
from distill.journal.keys import KnownKeys
from services.control_plane.problems import answer_to

log = logging.getLogger(__name__)

OPEN = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"})
"""What anybody may ask: they tell nothing of anybody."""


class Authentication:
    """Puts the key's record into the request's state, as ``key``; answers 401 where there is none that holds.

    A long answer, such as a stream of events, ends once its key no longer holds.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then hand the request on."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        keys: KnownKeys = scope["app"].state.keys
        try:
            key = key_of_header(Headers(scope=scope).get("authorization"))
            record = await keys.check(key)
        except StillhouseError as error:
            await answer_to(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["key"] = record
        answering = _Answering(keys, key, send)
        try:
            await self._app(scope, receive, answering.send)
        except Exception:  # what the cut led to, as a group of errors where a stream has several tasks
            if not answering.is_cut:
                raise


class _Answering:
    """Passes an answer on for as long as its key holds."""

    def __init__(self, keys: KnownKeys, key: str, send: Send) -> None:
        self._keys = keys
        self._key = key
        self._send = send
        self._is_long = False
        self.is_cut = False

    async def send(self, message: Message) -> None:
        """Send a part; raises OSError, as a connection that is gone does, once the key no longer holds."""
        if self._is_long and not await self._holds():
            self.is_cut = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            raise OSError("the API key of this request no longer holds")
        self._is_long = bool(message.get("more_body"))
        await self._send(message)

    async def _holds(self) -> bool:
        try:
            await self._keys.check(self._key)
        except NotAuthenticated as error:
            log.info("a long answer is ended: %s", error)
            return False
        except StillhouseError:  # Redis is silent: what was let in goes on
            return True
        return True
