"""A small real HTTP server that keeps reservations as the control plane does."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from distill.contracts.base import now
from distill.contracts.errors import NotFound, StillhouseError
from distill.contracts.pool import Reservation, ReservationSpec
from tests.teacher_server.door.doors import TEACHER, a_reservation


class House:
    """What it keeps; tests write it before they ask, and read afterwards what was asked."""

    def __init__(self, *, door: str = "http://127.0.0.1:1", life_s: float = 60.0) -> None:
        self.url = ""
        self.door = door
        self.life_s = life_s
        self.prefix = "r"
        """Of the ids of reservations."""
        self.teacher = TEACHER
        self.held: dict[str, Reservation] = {}
        self.on_change: Callable[[Reservation], None] = lambda reservation: None
        """Told of each that is opened or renewed, as Redis would be."""
        self.refusal: StillhouseError | None = None
        self.answers_nonsense = False
        self.opened: list[dict[str, Any]] = []
        self.renewed = threading.Semaphore(0)
        """One for each renewal."""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, str]:
        """Status and body."""
        if self.answers_nonsense:
            return 200, "<html>"
        try:
            if self.refusal is not None:
                raise self.refusal
            return self._answer(method, path.removeprefix("/v1/reservations"), body)
        except StillhouseError as error:
            problem = error.problem().model_dump(exclude={"message"}, exclude_none=True)
            return error.status, json.dumps(problem | {"detail": error.message, "status": error.status})

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, str]:
        if (method, path) == ("POST", ""):
            return 201, self._keep(self._open(ReservationSpec.model_validate(body)))
        identity = path.strip("/").removesuffix("/renew")
        if identity not in self.held:
            raise NotFound(f"there is no reservation {identity!r}")
        if method == "DELETE":
            del self.held[identity]
            return 204, ""
        renewed = self._keep(self.held[identity].model_copy(update={"expires_at": self._end()}))
        self.renewed.release()
        return 200, renewed

    def _open(self, spec: ReservationSpec) -> Reservation:
        self.opened.append(spec.model_dump())
        identity = f"{self.prefix}-{len(self.opened)}"
        return a_reservation(
            identity, life_s=self.life_s, teacher=self.teacher, rows_per_s=spec.rows_per_s, door=self.door
        )

    def _keep(self, reservation: Reservation) -> str:
        self.held[reservation.id] = reservation
        self.on_change(reservation)
        return reservation.model_dump_json()

    def _end(self) -> Any:
        return now() + timedelta(seconds=self.life_s)


@contextmanager
def keeping(house: House, *, port: int = 0) -> Iterator[House]:
    """``house`` on a port of the loopback address, a free one by default."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, text = house.answer(self.command, self.path, json.loads(sent or "{}"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_DELETE = handle_any  # noqa: N815 - the names that the library looks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Nothing: tests print for themselves."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        house.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield house
        finally:
            server.shutdown()
            thread.join()
