"""The HTTP server around the application: how long it waits for a request, how large its head may be, how it is stopped."""

import asyncio

import h11
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from distill.contracts.errors import DependencyDown
from services.control_plane.problems import answer_to
from services.control_plane.settings import Settings

HEAD_S = 10.0
"""In which the head of a request must have come, from the connection's or the request's first moment."""
HEAD_BYTES = 1 << 16
"""Of a request line and its headers."""
STOPPING_S = 3
"""For the answers to requests that are there when the control plane is told to stop; then they are cut short."""


class PunctualProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which by itself waits for ever for the head of a request: here the connection is closed."""

    head_s = HEAD_S
    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Wait on while a head is on its way; a body is `BodyLimit`'s to wait for."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._await_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._overdue is None:
            self._overdue = self.loop.call_later(self.head_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None


class CutShort:
    """Answers 503 to a request that has no answer yet when it is cut short: by itself uvicorn says 500, and nothing more."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        has_begun = False

        async def note_and_send(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, note_and_send)
        except asyncio.CancelledError:
            if scope["type"] != "http" or has_begun:
                raise
            cut = DependencyDown(
                "this control plane is being stopped; whether a change was kept isn't known: ask again"
            )
            await answer_to(cut)(scope, receive, send)


def server_of(app: FastAPI, settings: Settings) -> uvicorn.Server:
    """The server, as it is to be run."""
    return uvicorn.Server(
        uvicorn.Config(
            CutShort(app),
            host=settings.host,
            port=settings.port,
            log_config=None,
            timeout_graceful_shutdown=STOPPING_S,
            # the faster parser sets no bound to the size of a head
            http=PunctualProtocol,
            h11_max_incomplete_event_size=HEAD_BYTES,
            limit_concurrency=settings.max_connections,
            server_header=False,
            proxy_headers=False,
            ws="none",
        )
    )
