"""One HTTP connection, on the standard library: every way in which it can fail becomes one of our errors."""

import contextlib
import json
import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

from distill.contracts.errors import (
    Conflict,
    DependencyDown,
    Forbidden,
    InvalidSpec,
    NotAuthenticated,
    NotFound,
    Problem,
    StillhouseError,
    TooLarge,
    errors_by_code,
)

BY_STATUS: dict[int, type[StillhouseError]] = {
    401: NotAuthenticated, 403: Forbidden, 404: NotFound, 409: Conflict, 413: TooLarge, 422: InvalidSpec, 503: DependencyDown,
}  # fmt: skip
"""For a problem whose code this version doesn't know."""
HUNG_UP = (RemoteDisconnected, ConnectionResetError, BrokenPipeError, ConnectionAbortedError)


class Connection:
    """Kept alive between requests, and opened anew where it was lost; used by one thread at a time."""

    def __init__(self, url: str, *, timeout_s: float, key: str | None = None) -> None:
        """Connect to nobody yet; ``timeout_s`` bounds each wait for the other side, ``key`` goes with each request.

        Raises:
            InvalidSpec: no server can be at ``url``.
        """
        self._url = url.rstrip("/")
        self._http, self._below = _opened(url, timeout_s)
        self._is_hung_up = False
        self._own = {"Authorization": f"Bearer {key}"} if key else {}

    def send(self, method: str, path: str, *, content: bytes | None = None, media_type: str = "") -> bytes:
        """The body of a good answer.

        Raises:
            DependencyDown: nobody answers.
            StillhouseError: the answer is a problem; the class follows from its code.
        """
        headers = self._own | ({"Content-Type": media_type} if content is not None else {})
        try:
            status, body = self._exchange(method, self._below + path, content, headers)
        except (OSError, HTTPException) as error:
            self.close()
            raise DependencyDown(
                f"nothing answers at {self._url}: {error or type(error).__name__}",
                hint="is `stillhouse up` running? STILLHOUSE_URL names another server",
            ) from error
        if status >= 300:
            raise _error_of(status, body, f"{self._url}{path}")
        return body

    def hang_up(self) -> None:
        """End what is under way, for good; the one method that another thread may call."""
        self._is_hung_up = True
        line = self._http.sock
        if line is not None:
            with contextlib.suppress(OSError):  # it has ended already
                line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close it; the next request opens it anew."""
        self._http.close()

    def _exchange(self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        was_open = self._http.sock is not None
        try:
            return self._exchange_once(method, path, content, headers)
        except HUNG_UP:
            # a server ends connections on which it has not heard anything for long: no reason to worry anybody
            self.close()
            if not was_open or self._is_hung_up:
                raise
            return self._exchange_once(method, path, content, headers)

    def _exchange_once(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        self._http.request(method, path, body=content, headers=dict(headers))
        response = self._http.getresponse()
        return response.status, response.read()


def _opened(url: str, timeout_s: float) -> tuple[HTTPConnection, str]:
    try:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname:
            kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
            return kind(parts.hostname, parts.port, timeout=timeout_s), parts.path.rstrip("/")
    except ValueError:  # such as of a port
        pass
    raise InvalidSpec(f"{url!r} is not the URL of a server", field="url", expected="such as http://127.0.0.1:8470")


def _error_of(status: int, body: bytes, where: str) -> StillhouseError:
    otherwise = BY_STATUS.get(status, DependencyDown if status >= 500 else StillhouseError)
    try:
        document: dict[str, Any] = dict(json.loads(body))
        details = {name: document.get(name) for name in ("field", "expected", "got", "hint")}
        problem = Problem(code=document["code"], message=document["detail"], **details)
    except (ValueError, TypeError, KeyError):
        # whoever stands before a server of ours, while that is not there
        kind = DependencyDown if status == 404 else otherwise
        return kind(f"{where} answered {status} without saying why: no server of ours is there, or it only starts")
    kind = errors_by_code().get(problem.code, otherwise)
    return kind(problem.message, **problem.model_dump(exclude={"code", "message"}, exclude_none=True))
