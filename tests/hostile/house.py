"""A control plane behind a real socket, in a thread of this process, and what a request meets there."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import uvicorn

from services.control_plane.main import create_app
from services.control_plane.serving import server_of
from services.control_plane.settings import Settings


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """Base URL of a control plane, served as ``python -m services.control_plane`` serves it."""
    server = server_of(create_app(settings), settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield _address(server, thread)
    finally:
        server.should_exit = True
        thread.join()


def _address(server: uvicorn.Server, thread: threading.Thread) -> str:
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive(), "the control plane did not start"
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    return f"http://{host}:{port}"


def refused(answer: httpx.Response, status: int, code: str) -> None:
    """See that the answer is this problem, and nothing else."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code, answer.text[:500]
