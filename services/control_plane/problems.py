"""Errors as RFC 9457 problem documents: one place where an exception becomes an answer."""

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import Field
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from distill.contracts.base import Stored
from distill.contracts.errors import DependencyDown, Problem, StillhouseError
from distill.contracts.explain import explain
from distill.contracts.keys import challenge_of
from distill.journal.redis_words import in_words, is_refusal

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = "5"
MOST_PROBLEMS = 50
"""Told at once: a body may have thousands."""
CODES = {404: "not_found", 405: "method_not_allowed", 409: "conflict", 413: "too_large", 416: "range_not_satisfiable"}

ALWAYS = (408, 413, 422, 429, 503)
"""A body that comes too slowly or is too large, a wrong request, too many of them, Redis or Ray away."""


class ProblemDocument(Stored):
    """An RFC 9457 problem; every error of this API is one."""

    type: str = Field(examples=["urn:stillhouse:problem:unknown_teacher"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["teachers.0.name: there is no teacher 'fashion@9'"])
    code: str = Field(examples=["unknown_teacher"])
    field: str | None = Field(default=None, examples=["teachers.0.name"])
    expected: str | None = Field(default=None, examples=["one of fashion@1, fashion@2"])
    got: str | None = Field(default=None, examples=["fashion@9"])
    hint: str | None = Field(default=None, examples=["`stillhouse teachers list` shows what there is"])
    errors: list[Problem] | None = None
    """Each field that is wrong, where there are several."""


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` with a problem document."""

    @app.exception_handler(StillhouseError)
    async def known(_: Request, error: StillhouseError) -> JSONResponse:
        return answer_to(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        problems = explain(list(error.errors())[:MOST_PROBLEMS], error.body)
        return answer(HTTPStatus.UNPROCESSABLE_ENTITY, problems[0], errors=problems if len(problems) > 1 else None)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        problem = Problem(code=CODES.get(error.status_code, "http_error"), message=str(error.detail))
        return answer(error.status_code, problem, headers=error.headers)

    @app.exception_handler(RedisError)
    async def redis_down(_: Request, error: RedisError) -> JSONResponse:
        log.warning("Redis: %s", error)
        what = f"Redis {in_words(error)}"
        follows = (
            "it refused this; try again later"
            if is_refusal(error)
            else "so whether a change was kept isn't known; look, then try again"
        )
        down = DependencyDown(f"{what}; {follows}")
        return answer(down.status, down.problem())

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        log.error("unexpected", exc_info=error)
        ours = StillhouseError("a bug of ours; the control plane's log has the traceback")
        return answer(ours.status, ours.problem())


def answer_to(error: StillhouseError) -> JSONResponse:
    """The problem document for ``error``; one about API keys says what kind is wanted, as RFC 6750 has it."""
    headers = {}
    if challenge := challenge_of(error):
        headers["WWW-Authenticate"] = challenge
    if error.retry_after_s is not None:
        headers["Retry-After"] = f"{math.ceil(error.retry_after_s)}"
    return answer(error.status, error.problem(), headers=headers)


def answer(
    status: int, problem: Problem, *, errors: list[Problem] | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The problem document for ``problem``."""
    document = ProblemDocument(
        type=f"urn:stillhouse:problem:{problem.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=problem.message,
        errors=errors,
        **problem.model_dump(exclude={"message"}),
    )
    more = dict(headers or {})
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        more.setdefault("Retry-After", RETRY_AFTER_S)
    return JSONResponse(document.model_dump(exclude_none=True), status_code=status, media_type=MEDIA_TYPE, headers=more)


def documented_file(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for a route that answers with a file of one of these types, whole or in part."""
    content: dict[str, Any] = {media_type: {} for media_type in media_types}
    return {
        200: {"description": "The file.", "content": content},
        206: {"description": "The part that `Range` asks for.", "content": content | {"multipart/byteranges": {}}},
        304: {"description": "`If-None-Match` names what it still is."},
    }


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the errors that a route may answer with, beside those that every route may."""
    return {
        status: {"model": ProblemDocument, "description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {}}}
        for status in sorted({*statuses, *ALWAYS})
    }
