"""The answer book as Serve runs it: missing, there, killed, and back with what was saved."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from ray import serve
from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle

from distill.contracts import names
from distill.contracts.settings import NodeSettings
from teacher_server.book.app import build
from teacher_server.book.far import FarMemory
from teacher_server.book.line import BookLine
from teacher_server.book.shelf import book_id
from teacher_server.memory import Consulted, open_memory
from tests.teacher_server.book.rows import KEY, OTHER, answers_to, digests_of, numbers_in

ROWS = list(range(1024))
OWN_APPLICATION = "answer-book-of-a-test"


@pytest.fixture
def own_application(connected_ray: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A book of the test's own: the stack may have one already."""
    monkeypatch.setattr(names, "BOOK_APPLICATION", OWN_APPLICATION)
    yield OWN_APPLICATION
    if OWN_APPLICATION in serve.status().applications:
        serve.delete(OWN_APPLICATION)


@pytest.fixture
async def memory(own_application: str) -> AsyncIterator[FarMemory]:
    memory = open_memory("replica")
    assert isinstance(memory, FarMemory)
    yield memory
    await memory.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait for another process, which may be on its way."""
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - another process has no event for us
            await asyncio.sleep(0.05)


async def test_a_book_that_was_never_deployed_costs_half_a_second_once(memory, own_application):
    line, started = BookLine(recall_s=0.2), time.monotonic()
    assert await recall(line) is None
    assert await recall(line) is None
    for _ in range(10):
        assert (await memory.consult(KEY, digests_of(ROWS), claimant="window")).mine_N.all()
    assert time.monotonic() - started < 5


async def test_a_killed_book_comes_back_with_what_was_saved(memory, own_application, settings: NodeSettings):
    handle = serve.run(build({}), name=own_application, route_prefix=None)
    digests = digests_of(ROWS)
    assert (await consult(memory)).mine_N.all()
    memory.hand_in(KEY, digests, answers_to(ROWS), claimant="window")
    waited = await memory.wait(KEY, digests, claimant="another", timeout_s=10)
    assert numbers_in(waited.answers) == ROWS
    assert await recall(a_patient_line()) == ROWS
    folder = settings.storage / names.ANSWERS_FOLDER / book_id(KEY)
    await until(lambda: list(folder.glob("[!.]*.safetensors")))

    first = await asyncio.to_thread(pid_of, handle)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert await recall(BookLine()) is None
    await until(lambda: pid_of(handle) not in {None, first})
    async with asyncio.timeout(60):
        while not (again := await consult(memory)).known_N.any():  # noqa: ASYNC110 - the replica finds out by itself
            await asyncio.sleep(0.05)
    assert numbers_in(again.answers) == ROWS

    assert await recall(a_patient_line()) == []
    await memory.confirm(KEY, again.edition)
    assert await recall(a_patient_line()) == ROWS

    memory.hand_in(OTHER, digests, answers_to(ROWS), claimant="window")
    await memory.wait(OTHER, digests, claimant="another", timeout_s=10)
    await asyncio.to_thread(serve.delete, own_application)
    assert list((settings.storage / names.ANSWERS_FOLDER / book_id(OTHER)).glob("[!.]*.safetensors"))


async def consult(memory: FarMemory) -> Consulted:
    return await memory.consult(KEY, digests_of(ROWS), claimant="window")


def a_patient_line() -> BookLine:
    return BookLine(recall_s=10)


async def recall(line: BookLine) -> list[int] | None:
    """As a student does, which has no event loop."""

    def ask() -> Consulted | None:
        pending = line.recall(KEY, digests_of(ROWS))
        while not pending.is_done:
            pending.poll(0.1)
        return pending.found

    consulted = await asyncio.to_thread(ask)
    if consulted is None:
        return None
    return numbers_in(consulted.answers) if consulted.answers else []


def pid_of(handle: DeploymentHandle) -> int | None:
    try:
        return handle.describe.remote().result(timeout_s=5)["pid"]
    except (RayError, TimeoutError):
        return None
