"""The queue of a replica, without Ray: an ensemble that computes when it is told to."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from distill.contracts.errors import InvalidSpec, TeacherBusy
from teacher_server.batching import Batcher
from tests.teacher_server.small_teachers import IMAGE


class SlowEnsemble:
    """Answers each row with its first pixel, once ``go`` is set."""

    input = IMAGE

    def __init__(self) -> None:
        self.go = threading.Event()
        self.started = threading.Event()
        self.order: list[int] = []
        self.breaks = False

    def choose_members(self, asked: Any) -> tuple[int, ...]:
        return (0,)

    def check_taps(self, taps: Any, members: Any) -> None:
        pass

    def answer(self, inputs: np.ndarray, **_: Any) -> dict[str, np.ndarray]:
        self.started.set()
        self.go.wait(10)
        self.order.append(int(inputs[0, 0, 0, 0]))
        if self.breaks:
            raise RuntimeError("the device is gone")
        return {"logits": inputs[:, :, :1, 0].astype(np.float32)}


@pytest.fixture
def ensemble() -> SlowEnsemble:
    return SlowEnsemble()


@pytest.fixture
def batcher(ensemble) -> Iterator[Batcher]:
    batcher = Batcher(ensemble, teacher="slow@1", digest="sha256:0", threads=1, max_queued_rows=10)
    yield batcher
    ensemble.go.set()
    batcher.close()


def a_window(num_rows: int, pixel: int = 0, **header: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    rows = np.full((num_rows, 1, 8, 8), pixel, np.uint8)  # 64 bytes a row
    return {"request_id": f"r{pixel}", "num_rows": num_rows, **header}, {"inputs": rows}


async def under_way(batcher: Batcher, ensemble: SlowEnsemble, window: Any) -> "asyncio.Task[Any]":
    task = asyncio.create_task(batcher.answer(*window))
    await asyncio.to_thread(ensemble.started.wait, 10)
    return task


async def test_each_request_gets_its_own_answer_in_the_order_of_arrival(batcher, ensemble):
    ensemble.go.set()
    answers = await asyncio.gather(*(batcher.answer(*a_window(2, pixel)) for pixel in (3, 1, 2)))
    assert ensemble.order == [3, 1, 2]
    assert [header["request_id"] for header, _ in answers] == ["r3", "r1", "r2"]
    assert [tensors["logits"].ravel().tolist() for _, tensors in answers] == [[3, 3], [1, 1], [2, 2]]


async def test_the_event_loop_stays_free_while_a_window_is_computed(batcher, ensemble):
    first = await under_way(batcher, ensemble, a_window(4))
    batcher.check_health()
    assert not first.done()
    ensemble.go.set()
    header, _ = await first
    assert header["seconds"] >= header["compute_seconds"] > 0


async def test_a_bad_window_fails_alone(batcher, ensemble):
    ensemble.go.set()
    bad = ({"request_id": "bad", "num_rows": 3}, {"inputs": np.zeros((3, 1, 9, 9), np.uint8)})
    good, failed = await asyncio.gather(batcher.answer(*a_window(3)), batcher.answer(*bad), return_exceptions=True)
    assert good[0]["num_rows"] == 3
    assert isinstance(failed, InvalidSpec)


async def test_a_window_over_the_bound_is_refused_and_room_comes_back(batcher, ensemble):
    first = await under_way(batcher, ensemble, a_window(8))
    with pytest.raises(TeacherBusy, match="8 rows of 512 bytes in its queue, and takes 10 rows"):
        await batcher.answer(*a_window(3))
    ensemble.go.set()
    await first
    await batcher.answer(*a_window(3))


async def test_the_bytes_in_the_queue_are_bounded_whatever_their_rows(ensemble):
    batcher = Batcher(ensemble, teacher="slow@1", digest="sha256:0", threads=1, max_queued_bytes=640)
    first = await under_way(batcher, ensemble, a_window(8))
    with pytest.raises(TeacherBusy, match="or 640 bytes"):
        await batcher.answer(*a_window(3))
    ensemble.go.set()
    await first
    await batcher.answer(*a_window(3))
    batcher.close()


async def test_a_window_larger_than_the_bound_is_taken_by_an_idle_replica(batcher, ensemble):
    ensemble.go.set()
    header, _ = await batcher.answer(*a_window(11))
    assert header["num_rows"] == 11


async def test_a_window_past_its_deadline_is_dropped_uncomputed(batcher, ensemble):
    first = await under_way(batcher, ensemble, a_window(1, pixel=1))
    late = asyncio.create_task(batcher.answer(*a_window(1, pixel=2, deadline_s=1e-6)))
    await asyncio.sleep(0)
    ensemble.go.set()
    await first
    with pytest.raises(TeacherBusy, match="waited"):
        await late
    assert ensemble.order == [1]


async def test_a_window_that_nobody_waits_for_leaves_the_queue(batcher, ensemble):
    first = await under_way(batcher, ensemble, a_window(8, pixel=1))
    given_up = asyncio.create_task(batcher.answer(*a_window(2, pixel=2)))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.sleep(0)
    third = asyncio.create_task(batcher.answer(*a_window(2, pixel=3)))
    await asyncio.sleep(0)
    ensemble.go.set()
    await asyncio.gather(first, third)
    assert ensemble.order == [1, 3]


async def test_a_replica_whose_device_is_gone_asks_to_be_replaced(batcher, ensemble):
    ensemble.go.set()
    ensemble.breaks = True
    for _ in range(3):
        batcher.check_health()
        with pytest.raises(RuntimeError, match="device is gone"):
            await batcher.answer(*a_window(1))
    with pytest.raises(RuntimeError, match="must be replaced"):
        batcher.check_health()
