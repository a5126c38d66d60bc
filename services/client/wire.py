"""One HTTP connection to the control plane: every way in which it can fail becomes one of our errors."""

import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from pydantic import ValidationError

from distill.contracts.base import Stored
from distill.contracts.errors import (
    Conflict,
    DependencyDown,
    Forbidden,
    InProgress,
    InvalidSpec,
    NotAuthenticated,
    NotFound,
    Problem,
    StillhouseError,
    TooLarge,
    errors_by_code,
)
from services.loopback import is_on_loopback

Model = TypeVar("Model", bound=Stored)

BY_STATUS: dict[int, type[StillhouseError]] = {
    401: NotAuthenticated, 403: Forbidden, 404: NotFound, 409: Conflict, 413: TooLarge, 422: InvalidSpec, 503: DependencyDown,
}  # fmt: skip
"""For a problem whose code this version doesn't know."""
NOBODY_THERE = (httpx.ConnectError, httpx.ConnectTimeout)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0


class Wire:
    """Requests with errors mapped; nothing of httpx leaves it, except responses."""

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        patience_s: float = 0.0,
        key: str | None = None,
        team: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``key`` goes with every request, in its header; ``team`` says in whose name an admin asks."""
        self.url = _checked(url)
        self._patience_s = patience_s
        self._sleep = sleep
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        query = {"team": team} if team else {}
        timeout = httpx.Timeout(timeout_s, connect=5.0)
        self.http = httpx.Client(
            base_url=url, timeout=timeout, headers=headers, params=query, trust_env=not is_on_loopback(url)
        )

    def close(self) -> None:
        """Close connections."""
        self.http.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        """The answer, if it is a good one.

        Raises:
            DependencyDown: the server doesn't answer.
            StillhouseError: it answered with a problem; the class follows from its code.
        """
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        timeout = self.http.timeout if timeout_s is None else httpx.Timeout(timeout_s, connect=5.0)
        with self.mapped():
            response = self.http.request(method, path, params=asked, json=body, headers=headers, timeout=timeout)
        if response.is_success:
            return response
        raise error_of(response)

    def ask(self, model: type[Model], method: str, path: str, **more: Any) -> Model:
        """The answer as a model. Raises as `send`."""
        response = self.send(method, path, **more)
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise StillhouseError(
                f"{self.url} answered {method} {path} with something that isn't a {model.__name__}: "
                "is it a Stillhouse of another version?"
            ) from error

    def make(self, model: type[Model], path: str, *, body: Any, key: str | None = None) -> Model:
        """What a POST makes. Every try has one ``Idempotency-Key``, so however many arrive, it is made once.

        Tries again for the client's patience where the connection breaks, or the server can't say yet; but not where
        no server was there to begin with. Raises as `send`.
        """
        headers = {"Idempotency-Key": key or secrets.token_hex(16)}
        was_there = False
        for pause_s in pauses(self._patience_s):
            try:
                return self.ask(model, "POST", path, body=body, headers=headers)
            except (DependencyDown, InProgress) as error:
                was_there = was_there or not isinstance(error.__cause__, NOBODY_THERE)
                if not was_there:
                    raise
                self._sleep(max(pause_s, error.retry_after_s or 0.0))
        return self.ask(model, "POST", path, body=body, headers=headers)

    @contextmanager
    def mapped(self) -> Iterator[None]:
        """Turn what httpx raises into `DependencyDown`."""
        try:
            yield
        except NOBODY_THERE as error:
            raise DependencyDown(
                f"nothing answers at {self.url}: is `stillhouse up` running?",
                hint="start it, and wait until it says 'ready'; or name another server with --server or STILLHOUSE_URL",
            ) from error
        except httpx.HTTPError as error:
            raise DependencyDown(f"{self.url} stopped answering: {error or type(error).__name__}") from error


def pauses(patience_s: float, chance: Callable[[], float] = random.random) -> Iterator[float]:
    """Pauses between tries, in seconds: each up to twice as long as the one before, jittered, ``patience_s`` in all."""
    longest, left_s = FIRST_PAUSE_S, patience_s
    while left_s > 0:
        pause_s = min(longest * (0.5 + chance() / 2), left_s)
        left_s -= pause_s
        longest = min(2 * longest, LONGEST_PAUSE_S)
        yield pause_s


def _checked(url: str) -> str:
    """``url``; `InvalidSpec` if no server can be there."""
    try:
        parsed = httpx.URL(url)
        if parsed.scheme in {"http", "https"} and parsed.host:
            return url
    except httpx.InvalidURL:
        pass
    raise InvalidSpec(f"{url!r} is not the URL of a server", field="server", expected="such as http://127.0.0.1:8470")


def error_of(response: httpx.Response) -> StillhouseError:
    """The error that a bad answer stands for."""
    try:
        document = dict(response.json())
        problem = Problem(code=document["code"], message=document["detail"], **_details(document))
    except (ValueError, TypeError, KeyError):
        return BY_STATUS.get(response.status_code, StillhouseError)(
            f"{response.url} answered {response.status_code} without saying why: is it a Stillhouse server?"
        )
    kind = errors_by_code().get(problem.code) or BY_STATUS.get(response.status_code, StillhouseError)
    error = kind(problem.message, **problem.model_dump(exclude={"code", "message"}, exclude_none=True))
    later = response.headers.get("Retry-After", "")
    error.retry_after_s = float(later) if later.isdecimal() else error.retry_after_s
    return error


def _details(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: document.get(name) for name in ("field", "expected", "got", "hint")}
