"""What makes something is asked for again, under one key, until the server says what became of it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from distill.contracts.errors import Conflict, DependencyDown, InProgress, InvalidSpec, StillhouseError
from distill.contracts.records import JobRecord
from services.client.wire import Wire, pauses
from services.control_plane.problems import answer
from services.stack.processes import free_ports
from tests.services.client.stub_house import a_job

CUT, MADE = "the connection is cut", "made"


class Moody:
    """A server in the moods that a test gives it; what it was asked with, and how long its client would have slept."""

    def __init__(self) -> None:
        self.moods: list[StillhouseError | str] = []
        self.keys: list[str] = []
        self.slept: list[float] = []
        self.wire: Wire

    def ask(self, *moods: StillhouseError | str, key: str | None = None) -> JobRecord:
        """Make a job while the server is in these moods, one after the other."""
        self.moods = list(moods)
        return self.wire.make(JobRecord, "/v1/jobs", body={}, key=key)


@pytest.fixture
def moody() -> Iterator[Moody]:
    house = Moody()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            house.keys.append(self.headers["Idempotency-Key"])
            self.rfile.read(int(self.headers["Content-Length"]))
            mood = house.moods.pop(0)
            if isinstance(mood, StillhouseError):
                later = {"Retry-After": "3"} if mood.status == 503 else {}
                refused = answer(mood.status, mood.problem(), headers=later)
                self._send(refused.status_code, bytes(refused.body), later)
            elif mood == MADE:
                self._send(202, a_job().model_dump_json().encode(), {})

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    house.wire = Wire(url, timeout_s=5, patience_s=60, sleep=house.slept.append)
    yield house
    house.wire.close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_try_has_the_same_key_and_every_submit_another(moody: Moody):
    moody.ask(CUT, InProgress("still at it"), DependencyDown("Redis is away"), CUT, MADE)
    first = set(moody.keys)
    assert len(moody.keys) == 5
    assert len(first) == 1
    moody.ask(MADE)
    assert len(set(moody.keys)) == 2
    assert all(len(key) == 32 for key in moody.keys)


def test_a_key_of_ones_own_is_sent_as_it_is(moody: Moody):
    moody.ask(CUT, MADE, key="mine")
    assert moody.keys == ["mine", "mine"]


def test_it_waits_at_least_as_long_as_the_server_asks_for(moody: Moody):
    moody.ask(CUT, DependencyDown("Redis is away"), InProgress("still at it"), MADE)
    assert 0.1 <= moody.slept[0] <= 0.2
    assert moody.slept[1] == 3.0
    assert moody.slept[2] == 1.0


@pytest.mark.parametrize("error", [InvalidSpec("no"), Conflict("taken"), StillhouseError("a bug")])
def test_what_an_answer_settles_is_not_asked_again(moody: Moody, error: StillhouseError):
    with pytest.raises(type(error)):
        moody.ask(error, MADE)
    assert len(moody.keys) == 1


def test_patience_ends_with_the_last_error(moody: Moody):
    with pytest.raises(DependencyDown, match="away"):
        moody.ask(*[DependencyDown("Redis is away")] * 100)
    assert 12 < len(moody.keys) < 40
    assert len(set(moody.keys)) == 1


def test_where_no_server_was_to_begin_with_it_says_so_at_once():
    slept: list[float] = []
    wire = Wire(f"http://127.0.0.1:{free_ports(1)[0]}", timeout_s=5, patience_s=60, sleep=slept.append)
    with pytest.raises(DependencyDown, match="nothing answers"):
        wire.make(JobRecord, "/v1/jobs", body={})
    assert slept == []
    wire.close()


@pytest.mark.parametrize(("chance", "first"), [(0.0, 0.1), (1.0, 0.2)])
def test_pauses_grow_and_are_bounded_each_and_in_all(chance: float, first: float):
    found = list(pauses(30.0, lambda: chance))
    assert found[0] == pytest.approx(first)
    assert found[3] == pytest.approx(8 * first)
    assert max(found) <= 5.0
    assert sum(found) == pytest.approx(30.0)
    assert list(pauses(0.0)) == []
