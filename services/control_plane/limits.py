"""The bound on request bodies, kept before anything is parsed."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distill.contracts.errors import Problem
from services.control_plane.problems import answer


class BodyLimit:
    """Answers 413 to a body over ``max_bytes``, whether its length is declared or found while reading."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the whole body, which is small by the bound, then hand it on."""
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD", "OPTIONS"}:
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        body = b""
        more = not declared.isdigit() or int(declared) <= self._max_bytes
        too_large = not more
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            too_large = len(body) > self._max_bytes
            more = message.get("more_body", False) and not too_large
        if too_large:
            bound = f"{self._max_bytes:,} bytes"
            problem = Problem(code="too_large", message=f"the body is larger than {bound}", expected=f"at most {bound}")
            await answer(413, problem, headers={"Connection": "close"})(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
