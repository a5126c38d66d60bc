"""What comes over the wire and is no request, never ends, or comes too slowly: it is told so or hung up on, and no more."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distill.contracts.settings import NodeSettings
from services.control_plane import serving
from services.control_plane.limits import BodyLimit
from services.control_plane.settings import Settings
from tests.hostile.corpus import memory, reset_peak
from tests.hostile.house import AUTHORIZED, served

MOST_BYTES = 32 << 20
HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: %b\r\n" % (
    AUTHORIZED["Authorization"].encode()
)

WIRES: dict[str, tuple[bytes, int | None]] = {
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "a request of Redis": (b"*1\r\n$8\r\nFLUSHALL\r\n\r\n", 400),
    "HTTP of another age": (b"GET /healthz\r\n\r\n", 400),
    "no host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "a NUL in a header": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: \x00\r\n\r\n", 400),
    "a NUL in the path": (b"GET /v1/\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a space in a header's name": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX A: 1\r\n\r\n", 400),
    "a header without a name": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n: 1\r\n\r\n", 400),
    "a path of a million characters": (b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a header of a million characters": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: " + b"x" * 1_000_000 + b"\r\n\r\n", 400),
    "200,000 headers": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"a: 1\r\n" * 200_000 + b"\r\n", 400),
    "two lengths": (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    "a length and chunks": (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 422),
    "a negative length": (HEAD + b"Content-Length: -1\r\n\r\n", 400),
    "a length that is a word": (HEAD + b"Content-Length: many\r\n\r\n", 400),
    "a length of 5,000 digits": (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", None),
    "a length of a terabyte": (HEAD + b"Content-Length: 1099511627776\r\n\r\n{}", 413),
    "an encoding that nobody knows": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "a chunk whose size is no number": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", 400),
    "a chunk of 2^64 bytes": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n", 408),
    "a length that is never filled": (HEAD + b"Content-Length: 1000\r\n\r\n{", 408),
    "chunks without end": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"4000\r\n" + b" " * 0x4000 + b"\r\n") * 80, 413),
    "a request behind a body that lies about its length": (
        HEAD + b"Content-Length: 2\r\n\r\n{}GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 422),
}  # fmt: skip


@pytest.fixture(scope="module")
def address(own_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Where a control plane listens that waits for a head no longer than a moment."""
    root = tmp_path_factory.mktemp("wire")
    node = NodeSettings(redis_url=own_redis_url, storage=root, data_root=root, cache=root / "cache")
    settings = Settings(node=node, ray_dashboard="http://127.0.0.1:9", port=0, body_s=0.5)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(serving.PunctualProtocol, "head_s", 0.5)
        with served(settings) as url:
            parts = httpx.URL(url)
            yield parts.host, parts.port or 0


def said(address: tuple[str, int], sent: bytes) -> bytes:
    """All that comes back until the other side hangs up, or has answered once."""
    with socket.create_connection(address, timeout=20) as wire:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # it has hung up before all was said
            wire.sendall(sent)
        return _until_closed(wire)


def _until_closed(wire: socket.socket) -> bytes:
    heard = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := wire.recv(1 << 16):
            heard += chunk
    return heard


@pytest.mark.parametrize("what", WIRES)
def test_nobody_takes(address: tuple[str, int], what: str):
    sent, status = WIRES[what]
    before = reset_peak()
    heard = said(address, sent)
    came = int(heard.split()[1]) if heard else None
    assert came == status or (status is None and came in {None, 400, 413}), heard[:500]
    assert memory("VmHWM") - before < MOST_BYTES
    assert httpx.get(f"http://{address[0]}:{address[1]}/healthz").status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_does_not_come_is_hung_up_on(address: tuple[str, int], sent: bytes):
    with socket.create_connection(address, timeout=20) as wire:
        wire.sendall(sent)
        assert _until_closed(wire) == b""


def test_a_head_that_drips_is_hung_up_on_too(address: tuple[str, int]):
    with socket.create_connection(address, timeout=0.05) as wire:
        for _ in range(200):
            try:
                wire.sendall(b"G")
                if wire.recv(1) == b"":
                    return
            except TimeoutError:
                continue
            except ConnectionError:
                return
    pytest.fail("it listened on")


def test_a_second_request_may_come_later_than_a_head_may_take(address: tuple[str, int]):
    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}") as client:
        assert [client.get("/healthz").status_code for _ in range(3)] == [200] * 3


async def test_a_body_that_comes_too_slowly_is_told_so():
    answered = await _through(BodyLimit(_never, max_bytes=100, max_held_bytes=100, read_s=0.01), _silent)
    assert answered == 408


async def test_more_bodies_than_are_held_at_a_time_are_put_off():
    handed_on, going_on = asyncio.Event(), asyncio.Event()
    limit = BodyLimit(_waits(handed_on, going_on), max_bytes=100, max_held_bytes=150, read_s=10)
    first = asyncio.create_task(_through(limit, _said(b'"' + b"x" * 90 + b'"')))
    await handed_on.wait()
    assert await _through(limit, _said(b'"' + b"y" * 90 + b'"')) == 503
    going_on.set()
    assert await first == 204
    assert await _through(limit, _said(b'"' + b"z" * 90 + b'"')) == 204


async def _through(app: BodyLimit, receive: Receive) -> int:
    statuses: list[int] = []

    async def send(message: Message) -> None:
        statuses.extend([message["status"]] if message["type"] == "http.response.start" else [])

    await app({"type": "http", "method": "POST", "headers": [], "path": "/"}, receive, send)
    return statuses[0]


def _said(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _silent() -> Message:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


async def _never(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("it was handed on")


def _waits(handed_on: asyncio.Event, until: asyncio.Event) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        handed_on.set()
        await until.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return app
