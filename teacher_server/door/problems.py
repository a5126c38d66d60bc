"""Errors as RFC 9457 problem documents: one place where an exception becomes an answer of the door."""

import logging
from http import HTTPStatus

from starlette.responses import JSONResponse

from distill.contracts.errors import NotFinite, Problem, StillhouseError
from distill.contracts.keys import challenge_of

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = "1"


def problem_of(error: Exception) -> JSONResponse:
    """The answer that ``error`` becomes; what is no error of ours is told to the log alone."""
    if not isinstance(error, StillhouseError):
        log.error("unexpected", exc_info=error)
        error = StillhouseError("a bug of ours; the log of the pool's door has the traceback")
    return answer(_status(error), error.problem(), challenge=challenge_of(error))


def answer(status: int, problem: Problem, *, challenge: str | None = None) -> JSONResponse:
    """The problem document for ``problem``."""
    document = {
        "type": f"urn:stillhouse:problem:{problem.code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": problem.message,
        **problem.model_dump(exclude={"message"}, exclude_none=True),
    }
    headers = {"Retry-After": RETRY_AFTER_S} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
    headers |= {"WWW-Authenticate": challenge} if challenge else {}
    return JSONResponse(document, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def _status(error: StillhouseError) -> int:
    # these very rows are at fault, and would be again; the tree calls it the server's, since in a job it is
    return HTTPStatus.UNPROCESSABLE_ENTITY if isinstance(error, NotFinite) else error.status
