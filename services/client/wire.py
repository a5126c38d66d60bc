"""One HTTP connection to the control plane: every way in which it can fail becomes one of our errors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from pydantic import ValidationError

from distill.contracts.base import Stored
from distill.contracts.errors import (
    Conflict,
    DependencyDown,
    InvalidSpec,
    NotFound,
    Problem,
    StillhouseError,
    TooLarge,
    errors_by_code,
)

Model = TypeVar("Model", bound=Stored)

BY_STATUS: dict[int, type[StillhouseError]] = {
    404: NotFound, 409: Conflict, 413: TooLarge, 422: InvalidSpec, 503: DependencyDown,
}  # fmt: skip
"""For a problem whose code this version doesn't know."""


class Wire:
    """Requests with errors mapped; nothing of httpx leaves it, except responses."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self.url = _checked(url)
        self.http = httpx.Client(base_url=url, timeout=httpx.Timeout(timeout_s, connect=5.0))

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
            response = self.http.request(method, path, params=asked, json=body, timeout=timeout)
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

    @contextmanager
    def mapped(self) -> Iterator[None]:
        """Turn what httpx raises into `DependencyDown`."""
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise DependencyDown(
                f"nothing answers at {self.url}: is `stillhouse up` running?",
                hint="start it, or name another server with --server or STILLHOUSE_URL",
            ) from error
        except httpx.HTTPError as error:
            raise DependencyDown(f"{self.url} stopped answering: {error or type(error).__name__}") from error


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
    return kind(problem.message, **problem.model_dump(exclude={"code", "message"}, exclude_none=True))


def _details(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: document.get(name) for name in ("field", "expected", "got", "hint")}
