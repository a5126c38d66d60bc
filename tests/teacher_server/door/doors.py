"""A door without a cluster: its desk, with reservations in a dictionary and a teacher that adds pixels up."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx
import numpy as np
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.keys import KeyRecord, SecretHash, digest_of_key, id_of_key, new_key, new_key_id
from distill.contracts.measures import Size
from distill.contracts.models import ImageInput, ZooModel
from distill.contracts.pool import Reservation
from distill.contracts.taps import MemberTap, WholeTap
from distill.contracts.teachers import MemberManifest, ResolvedTeacher, TeacherManifest
from distill.contracts.wire import AnswerHeader
from distill.journal.keys import KnownKeys
from teacher_server.digests import row_digests, short_digests
from teacher_server.door.body import pack
from teacher_server.door.desk import Desk
from teacher_server.door.reading import MAX_BODY_BYTES, Reading
from teacher_server.door.reservations import Reservations
from teacher_server.window import DIGESTS, LOGITS, TOP_CLASSES, TOP_LOG_PROBS, TOP_TAIL, read_header, read_inputs

DIGEST, NONE = "sha256:" + "a" * 64, "sha256:" + "0" * 64
CLASSES = ("boot", "bag", "coat")
IMAGE = ImageInput(channels=1, height=2, width=2, mean=(0.5,), std=(0.5,))
TAP = MemberTap(member=1, tap=WholeTap(name="features"))
SIZE = Size(parameters=1, bytes=4, flops=1, latency_ms={1: 1.0}, latency_threads=1, latency_device="cpu")
MEMBER = MemberManifest(model=ZooModel(name="mlp"), weights_digest=NONE, size=SIZE, taps={"features": (4,)})
MANIFEST = TeacherManifest(
    teacher="fashion", version=3, digest=DIGEST, input=IMAGE, classes=CLASSES, members=(MEMBER, MEMBER), size=SIZE,
    rows_per_s=10_000.0, device="cpu",
)  # fmt: skip
TEACHER = ResolvedTeacher(name="fashion", version=3, digest=DIGEST, weight=1.0, manifest=MANIFEST)


def a_reservation(identity: str = "r-1", *, life_s: float = 60.0, **fields: Any) -> Reservation:
    """One of team ``vision``, opened just now."""
    given = {"team": "vision", "teacher": TEACHER, "rows_per_s": 100.0, "door": "http://127.0.0.1:1"} | fields
    opened = now()
    return Reservation(id=identity, created_at=opened, expires_at=opened + timedelta(seconds=life_s), **given)


KEY = new_key(new_key_id())
"""Of team ``vision``: may submit."""


def a_key(key: str = KEY, **fields: Any) -> KeyRecord:
    """What is kept of one."""
    given = {"team": "vision", "name": "loops", "scopes": ("submit",), "created_at": now()} | fields
    return KeyRecord(id=id_of_key(key), secrets=(SecretHash(digest=digest_of_key(key)),), **given)


def images(num_rows: int, *, seed: int = 0) -> np.ndarray[Any, Any]:
    """Seeded images as the teacher takes them."""
    return np.random.default_rng(seed).integers(0, 256, (num_rows, 1, 2, 2), dtype=np.uint8)


def a_body(inputs: np.ndarray[Any, Any], **fields: Any) -> bytes:
    """A request for them."""
    return pack({"request_id": "q", "num_rows": len(inputs), **fields}, {"inputs": inputs})


def said(inputs: np.ndarray[Any, Any], members: tuple[int, ...] = (0, 1)) -> np.ndarray[Any, Any]:
    """What the teacher says: class c of member m gets (sum of the pixels) / 1,000 + c * (m + 1)."""
    summed_N11 = inputs.sum(axis=(1, 2, 3), dtype=np.float64)[:, None, None] / 1000
    return summed_N11 + np.array([[c * (m + 1) for c in range(len(CLASSES))] for m in members])


class Adder:
    """A teacher that adds pixels up; it checks requests as a replica does."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        """The headers."""
        self.logits = said
        """What it says of inputs (N, ...) by members: (N, M, C)."""
        self.troubles: list[Exception] = []
        """Raised first, one for each request."""
        self.ready = True
        self.spoils: dict[str, Any] = {}
        """Fields of the header that it says wrongly."""
        self.is_stuck = False
        """Whether it keeps those who ask waiting."""
        self.heard = threading.Semaphore(0)
        """One for each request."""
        self.cancelled = 0
        self._go_on: list[asyncio.Future[None]] = []

    async def answer(
        self, teacher: ResolvedTeacher, header: Mapping[str, Any], tensors: Mapping[str, Any], *, patience_s: float
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As a replica answers."""
        self.asked.append(dict(header))
        self.heard.release()
        if self.troubles:
            raise self.troubles.pop(0)
        await self._wait()
        ask = read_header(header)
        inputs = read_inputs(ask, tensors, teacher.manifest.input)
        members = ask.members or (0, 1)
        reply = AnswerHeader(
            request_id=ask.request_id, teacher=teacher.reference, digest=teacher.digest, num_rows=ask.num_rows,
            members=members, seconds=0.5, compute_seconds=0.25,
        )  # fmt: skip
        logits_NMC = self.logits(inputs, members)
        dtype = np.float16 if ask.precision == "fp16" else np.float32
        answered = {LOGITS: logits_NMC.astype(dtype)}
        if ask.top_k is not None:
            answered = greatest(logits_NMC, ask.top_k)
        answered |= {f"tap.{one.member}.{one.tap.key}": inputs.reshape(-1, 4).astype(dtype) for one in ask.taps}
        answered[DIGESTS] = short_digests(row_digests(inputs))
        return reply.model_dump(mode="json") | self.spoils, answered

    def let_go(self) -> None:
        """Answer whoever waits; from any thread."""
        self.is_stuck = False
        for waiting in self._go_on:
            with contextlib.suppress(RuntimeError):  # its loop has ended
                waiting.get_loop().call_soon_threadsafe(lambda one=waiting: one.done() or one.set_result(None))

    async def _wait(self) -> None:
        if not self.is_stuck:
            return
        self._go_on.append(asyncio.get_running_loop().create_future())
        try:
            await self._go_on[-1]
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def is_there(self, teacher: ResolvedTeacher) -> bool:
        """Whether it is ready."""
        return self.ready


def greatest(logits_NMC: np.ndarray[Any, Any], k: int) -> dict[str, Any]:
    """The greatest classes and the tail, as they travel."""
    probs = np.exp(logits_NMC) / np.exp(logits_NMC).sum(-1, keepdims=True)
    classes = np.argsort(-probs, axis=-1)[..., :k]
    kept = np.take_along_axis(probs, classes, -1)
    return {
        TOP_LOG_PROBS: np.log(kept).astype(np.float16),
        TOP_CLASSES: classes.astype(np.uint16),
        TOP_TAIL: (1 - kept.sum(-1)).astype(np.float32),
    }


class Shelf:
    """Redis, as far as the door reads it."""

    def __init__(self, *held: Reservation) -> None:
        self.held: dict[str, str] = {}
        self.put_key(a_key())
        self.reads = 0
        self.trouble: Exception | None = None
        for reservation in held:
            self.put(reservation)

    def put(self, reservation: Reservation) -> None:
        """Keep one, as the control plane does."""
        self.held[names.reservation_key(reservation.id)] = reservation.model_dump_json()

    def put_key(self, record: KeyRecord) -> None:
        """Keep a key."""
        self.held[names.key_key(record.id)] = record.model_dump_json()

    def forget_reservations(self) -> None:
        """Have them end."""
        self.held = {key: text for key, text in self.held.items() if key.startswith(names.key_key(""))}

    async def get(self, key: str) -> str | None:
        """As Redis does."""
        self.reads += 1
        if self.trouble is not None:
            raise self.trouble
        return self.held.get(key)


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.began, self.passed_s = now(), 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return 1000.0 + self.passed_s

    def today(self) -> datetime:
        """The same, as a date."""
        return self.began + timedelta(seconds=self.passed_s)


class DoorWithoutCluster:
    """A desk as an ASGI application, with what stands behind it."""

    def __init__(self, *held: Reservation, max_bytes: int = MAX_BODY_BYTES, read_s: float = 10.0) -> None:
        self.teacher, self.shelf, self.clock = Adder(), Shelf(*held), Clock()
        reservations = Reservations(self.shelf, clock=self.clock.monotonic, today=self.clock.today)  # type: ignore[arg-type]
        reading = Reading(max_held_bytes=max_bytes, max_body_bytes=max_bytes, read_s=read_s)
        self.absent: list[int] = []
        """Statuses with which a proxy answers first, while the door is not there."""
        keys = KnownKeys(self.shelf, clock=self.clock.monotonic, today=self.clock.today)  # type: ignore[arg-type]
        self.desk = Desk(keys, reservations, self.teacher, reading)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As Serve calls it."""
        if self.absent:
            await self._refuse(send)
            return
        response = await self.desk.handle(Request({**scope, "root_path": names.DOOR_PREFIX}, receive, send))
        await response(scope, receive, send)

    async def _refuse(self, send: Any) -> None:
        status = self.absent.pop(0)
        await PlainTextResponse("not ours", status_code=status)({"type": "http"}, _nothing, send)

    def client(self, key: str | None = KEY) -> httpx.AsyncClient:
        """Of this process, without a socket."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self),
            base_url=f"http://door{names.DOOR_PREFIX}",
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )


async def _nothing() -> Any:
    return {"type": "http.disconnect"}


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """An ASGI application on a free port of the loopback address; its URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    bound = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()
        with contextlib.suppress(OSError):
            bound.shutdown(socket.SHUT_RDWR)
        bound.close()
