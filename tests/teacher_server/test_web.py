"""One HTTP connection, against a server that counts who calls and hangs up when it likes."""

import socket
import threading
from contextlib import contextmanager

import pytest

from distill.contracts.errors import DependencyDown, InvalidSpec, NotFound, StillhouseError
from teacher_server.web import Connection

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


class Server:
    """Says a line to each request, and hangs up after so many."""

    def __init__(self, says: bytes | None, *, patience: int) -> None:
        self.says, self.patience = says, patience
        self.calls = 0
        self.heard = b""
        self.asked = threading.Semaphore(0)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listening.getsockname()[1]}"

    def serve(self) -> None:
        """Take one call after the other."""
        while True:
            try:
                line, _ = self.listening.accept()
            except OSError:
                return
            self.calls += 1
            with line:
                for _ in range(self.patience):
                    heard = line.recv(65536)
                    if not heard:
                        break
                    self.heard += heard
                    self.asked.release()
                    if self.says is None:
                        line.recv(1)  # until the other side has had enough
                        break
                    line.sendall(self.says)


@contextmanager
def serving(says: bytes | None = GOOD, *, patience: int = 100):
    server = Server(says, patience=patience)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.listening.shutdown(socket.SHUT_RDWR)
        server.listening.close()
        thread.join()


@contextmanager
def calling(server, *, timeout_s=10.0):
    connection = Connection(server.url, timeout_s=timeout_s)
    try:
        yield connection
    finally:
        connection.close()


def test_one_call_serves_many_requests():
    with serving() as server, calling(server) as connection:
        assert [connection.send("GET", "/") for _ in range(3)] == [b"hi"] * 3
        assert server.calls == 1


def test_a_server_that_hung_up_meanwhile_is_called_again():
    with serving(patience=1) as server, calling(server) as connection:
        assert [connection.send("GET", "/") for _ in range(3)] == [b"hi"] * 3
        assert server.calls == 3


def test_a_server_that_hangs_up_at_the_first_request_is_down():
    with serving(patience=0) as server, calling(server) as connection, pytest.raises(DependencyDown):
        connection.send("GET", "/")


def test_a_server_that_says_nothing_is_not_waited_for():
    with serving(None) as server, calling(server, timeout_s=0.1) as connection:
        with pytest.raises(DependencyDown, match="timed out"):
            connection.send("GET", "/")
        assert server.calls == 1


def test_another_thread_may_end_what_is_under_way_and_it_is_not_begun_again():
    with serving(None) as server, calling(server) as connection:
        thread = threading.Thread(target=lambda: server.asked.acquire(timeout=10) and connection.hang_up())
        thread.start()
        with pytest.raises(DependencyDown):
            connection.send("GET", "/")
        thread.join()
        assert server.calls == 1


def test_a_path_in_the_url_stands_before_every_other():
    with serving() as server:
        connection = Connection(f"{server.url}/v1/pool/", timeout_s=10)
        connection.send("GET", "/healthz")
        connection.close()
        assert server.heard.startswith(b"GET /v1/pool/healthz HTTP")


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        ("404 Not Found", b'{"code": "not_found", "detail": "no such"}', NotFound),
        ("404 Not Found", b"a proxy's own page", DependencyDown),
        ("502 Bad Gateway", b"", DependencyDown),
        ("422 Unprocessable", b'{"code": "of_a_later_version", "detail": "no such"}', InvalidSpec),
        ("500 Server Error", b'{"code": "internal_error", "detail": "no such"}', StillhouseError),
        ("301 Moved", b"", StillhouseError),
        ("422 Unprocessable", b"[1, 2]", InvalidSpec),
    ],
)
def test_a_bad_answer_is_the_error_that_its_code_names_or_its_status(status, body, kind):
    says = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    with serving(says) as server, calling(server) as connection:
        with pytest.raises(StillhouseError) as caught:
            connection.send("GET", "/")
        assert type(caught.value) is kind


def test_what_is_not_http_is_down():
    with serving(b"SSH-2.0-OpenSSH\r\n") as server, calling(server) as connection, pytest.raises(DependencyDown):
        connection.send("GET", "/")
