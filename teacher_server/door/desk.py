"""The routes of the door: a request in, an answer or a problem out, whatever it is that goes wrong.

POST <prefix>/reservations/<id>/answer   a window of rows, safetensors both ways (`body`)
GET  <prefix>/reservations/<id>          `ReservedTeacher`: whom it is for, and whether a replica answers
GET  <prefix>/healthz                    the door is open

All but the last need an API key of the reservation's own team, with the scope ``submit``.
"""

import re
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from distill.contracts.errors import Forbidden, InvalidSpec, NotFound, Problem
from distill.contracts.keys import key_of_header
from distill.contracts.pool import Reservation
from distill.contracts.wire import AskHeader
from distill.journal.keys import KnownKeys
from teacher_server.door import body
from teacher_server.door.problems import answer, problem_of
from teacher_server.door.reading import Reading
from teacher_server.door.reservations import Reservations
from teacher_server.door.teachers import Teachers
from teacher_server.door.views import ReservedTeacher
from teacher_server.patience import patience_s
from teacher_server.window import Array, read_header

Route = Callable[[Request, Reservation], Coroutine[Any, Any, Response]]


class Desk:
    """Answers requests; what knows keys, holds reservations and teaches is handed in."""

    def __init__(self, keys: KnownKeys, reservations: Reservations, teachers: Teachers, reading: Reading) -> None:
        self._keys = keys
        self._reservations = reservations
        self._teachers = teachers
        self._reading = reading
        self._routes: dict[str, tuple[str, Route]] = {"/answer": ("POST", self._answer), "": ("GET", self._show)}

    async def handle(self, request: Request) -> Response:
        """The answer; every error of one request is a problem document, and touches no other request."""
        try:
            return await self._route(request)
        except ClientDisconnect:
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody reads it
        except Exception as error:
            return problem_of(error)

    async def _route(self, request: Request) -> Response:
        # Serve gives the whole path, and beside it the application's prefix
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        if path == "/healthz":
            return JSONResponse({"status": "ok"})
        key = await self._keys.check(key_of_header(request.headers.get("authorization")))
        if not key.may("submit"):
            raise Forbidden(
                f"asking a teacher needs an API key with the scope 'submit', and {key.id} has {', '.join(key.scopes)}",
                expected="submit",
                got=", ".join(key.scopes),
            )
        found = re.fullmatch(r"/reservations/([^/]{1,64})(/answer)?", path)
        if found is None:
            raise NotFound(f"the door has no '{path}'", hint="POST .../reservations/<id>/answer asks a teacher")
        method, route = self._routes[found[2] or ""]
        if request.method != method:
            problem = Problem(code="method_not_allowed", message=f"{request.method} is not for here: use {method}")
            return answer(HTTPStatus.METHOD_NOT_ALLOWED, problem)
        return await route(request, await self._reservations.find(found[1], team=key.team))

    async def _show(self, _: Request, reservation: Reservation) -> Response:
        ready = await self._teachers.is_there(reservation.teacher)
        view = ReservedTeacher.of(reservation, ready=ready)
        return Response(view.model_dump_json(), media_type="application/json")

    async def _answer(self, request: Request, reservation: Reservation) -> Response:
        async with self._reading.body(request) as sent:
            ask, tensors = _read(sent)
            # who asks is the reservation's to say, whatever the caller wrote
            asked = ask.model_copy(update={"team": reservation.team, "job": reservation.id})
            header, answered = await self._teachers.answer(
                reservation.teacher,
                asked.model_dump(mode="json"),
                tensors,
                patience_s=patience_s(ask.num_rows, deadline_s=ask.deadline_s, teacher=reservation.teacher),
            )
        return Response(body.pack(header, answered), media_type=body.MEDIA_TYPE)


def _read(sent: bytes) -> tuple[AskHeader, dict[str, Array]]:
    try:
        header, tensors = body.unpack(sent)
    except ValueError as error:
        raise InvalidSpec(
            f"the body is not what a teacher is asked with: {error}",
            expected=f"safetensors with 'inputs', and an AskHeader as JSON under '{body.HEADER}' in its metadata",
        ) from error
    return read_header(header), tensors
