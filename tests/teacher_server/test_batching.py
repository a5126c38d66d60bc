"""The queue of a replica, without Ray: an ensemble that computes when it is told to."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from distill.contracts.errors import NotFinite, TeacherBusy, TooLarge
from distill.contracts.models import TokensInput
from distill.contracts.wire import AskHeader
from teacher_server.batching import Batcher, rows_of_batch
from teacher_server.coming import Left
from teacher_server.pending import Computed
from teacher_server.runner import Ensemble
from tests.teacher_server.slow_ensemble import BAD, BREAKS, LARGE, SlowEnsemble
from tests.teacher_server.small_teachers import IMAGE, folder_of

Asking = Callable[..., "asyncio.Task[Computed]"]


@pytest.fixture
def ensemble() -> SlowEnsemble:
    return SlowEnsemble()


@pytest.fixture
def batcher(ensemble: SlowEnsemble) -> Iterator[Batcher]:
    batcher = Batcher(ensemble, teacher="slow@1", threads=1, max_queued_rows=32)
    yield batcher
    ensemble.go.set()
    batcher.close()


async def asked(batcher: Batcher, *pixels: int, late_s: float = 0.0, **header: Any) -> Computed:
    """What rows with these first pixels are answered."""
    rows = np.zeros((len(pixels), 1, 8, 8), np.uint8)  # 64 bytes a row
    rows[:, 0, 0, 0] = pixels
    ask = AskHeader.model_validate({"request_id": "r", "num_rows": len(rows), **header})
    return await batcher.compute(ask, rows, (0,), arrived=time.monotonic() - late_s)


def answer_to(computed: Computed) -> list[int]:
    return [int(pixel) for pixel in computed.tensors["logits"].ravel()]


async def under_way(batcher: Batcher, ensemble: SlowEnsemble, *pixels: int) -> "asyncio.Task[Computed]":
    """A request that is on the device, which waits for ``go``."""
    task = asyncio.create_task(asked(batcher, *pixels))
    await asyncio.to_thread(ensemble.started.wait, 10)
    return task


async def waiting(batcher: Batcher, *pixels: int, **header: Any) -> "asyncio.Task[Computed]":
    """A request that has been admitted."""
    task = asyncio.create_task(asked(batcher, *pixels, **header))
    await asyncio.sleep(0)
    return task


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what it waits for happens in other threads
            await asyncio.sleep(0.001)


async def test_requests_that_wait_are_computed_together_and_answered_each_alone(batcher, ensemble):
    first = await under_way(batcher, ensemble, 1)
    others = [await waiting(batcher, 3, 4), await waiting(batcher, 5), await waiting(batcher, 6, 7, 8)]
    ensemble.go.set()
    answers = await asyncio.gather(first, *others)
    assert ensemble.batches == [[1], [3, 4, 5, 6, 7, 8]]
    assert [answer_to(computed) for computed in answers] == [[1], [3, 4], [5], [6, 7, 8]]


async def test_what_is_left_is_what_is_on_the_device_what_waits_and_what_is_coming(batcher, ensemble):
    assert batcher.left() == Left(0.0, 0, None)
    first = await under_way(batcher, ensemble, 1)
    second = await waiting(batcher, 3, 4)
    batcher.coming.promise("elsewhere", 5)
    assert batcher.left() == Left(0.0, 1 + 2 + 5, None)
    ensemble.go.set()
    await asyncio.gather(first, second)
    left = batcher.left()
    assert (left.busy_s, left.work) == (0.0, 5)
    assert left.s_per_work is not None
    assert left.s_per_work > 0


async def test_what_is_left_on_the_device_is_what_it_is_expected_to_take(batcher, ensemble):
    ensemble.go.set()
    await asked(batcher, 1)
    ensemble.go.clear()
    ensemble.started.clear()
    task = await under_way(batcher, ensemble, *range(8))
    left = batcher.left()
    assert left.work == 0
    assert left.s_per_work is not None
    assert 0 <= left.busy_s <= 8 * left.s_per_work
    ensemble.go.set()
    await task


async def test_a_promised_window_counts_once_when_it_has_come(batcher, ensemble):
    first = await under_way(batcher, ensemble, 1)
    batcher.coming.promise("w", 3)
    second = await waiting(batcher, 3, 4, 5, request_id="w")
    assert batcher.left().work == 1 + 3
    ensemble.go.set()
    await asyncio.gather(first, second)


async def test_rows_are_answered_bit_for_bit_the_same_in_whatever_company(trio, settings, rows):
    folder = folder_of(settings, "trio")
    real = Ensemble.load(folder, digest=trio.digest, device=torch.device("cpu"), max_batch_rows=64)
    batcher = Batcher(real, teacher="trio@1", threads=1)
    ask = AskHeader(request_id="r", num_rows=1, top_k=2)
    windows = [rows(size, seed=size).numpy() for size in (1, 5, 100, 31)]
    together = await asyncio.gather(
        *(batcher.compute(ask, window, (2, 0), arrived=time.monotonic()) for window in windows)
    )
    for window, computed in zip(windows, together, strict=True):
        alone = real.answer(window, members=(2, 0), precision="fp16", top_k=2, taps=())
        assert computed.tensors.keys() == alone.keys()
        assert all(np.array_equal(computed.tensors[key], alone[key]) for key in alone)
    batcher.close()


async def test_a_window_larger_than_a_batch_is_answered_whole_and_in_order(batcher, ensemble):
    ensemble.go.set()
    computed = await asked(batcher, *range(20))
    assert ensemble.batches == [list(range(8)), list(range(8, 16)), list(range(16, 20))]
    assert answer_to(computed) == list(range(20))


async def test_what_is_asked_differently_is_not_computed_together(batcher, ensemble):
    first = await under_way(batcher, ensemble, 1)
    others = [await waiting(batcher, 2, precision="fp16"), await waiting(batcher, 3, precision="fp32")]
    ensemble.go.set()
    await asyncio.gather(first, *others)
    assert ensemble.batches == [[1], [2], [3]]


async def test_of_two_teams_each_gets_its_turn(batcher, ensemble):
    first = await under_way(batcher, ensemble, 1)
    many = [await waiting(batcher, *[2] * 8, team="many") for _ in range(3)]
    few = await waiting(batcher, 3, team="few")
    ensemble.go.set()
    await asyncio.gather(first, *many, few)
    assert 3 in [*ensemble.batches[1], *ensemble.batches[2]]


async def test_a_team_of_more_weight_gets_more_of_a_batch():
    ensemble = SlowEnsemble(batch_rows=96)
    batcher = Batcher(ensemble, teacher="slow@1", threads=1)
    batcher.set_weights({"heavy": 2.0})
    first = await under_way(batcher, ensemble, 1)
    both = [await waiting(batcher, *[2] * 90, team="light"), await waiting(batcher, *[3] * 90, team="heavy")]
    ensemble.go.set()
    await asyncio.gather(first, *both)
    assert ensemble.batches[1].count(3) == 64
    assert ensemble.batches[1].count(2) == 32
    batcher.close()


async def test_a_batch_is_launched_while_the_one_before_is_under_way_and_no_third(batcher, ensemble):
    ensemble.may_fetch.clear()
    ensemble.go.set()
    three = [await waiting(batcher, *[pixel] * 8) for pixel in (1, 2, 3)]
    await until(lambda: len(ensemble.batches) == 2)
    await until(lambda: batcher.gauge().busy_s > 0)
    assert len(ensemble.batches) == 2
    assert not any(task.done() for task in three)
    ensemble.may_fetch.set()
    assert [answer_to(computed) for computed in await asyncio.gather(*three)] == [[1] * 8, [2] * 8, [3] * 8]


async def test_the_event_loop_stays_free_while_a_batch_is_computed(batcher, ensemble):
    first = await under_way(batcher, ensemble, 4)
    batcher.check_health()
    assert not first.done()
    ensemble.go.set()
    assert (await first).device_s > 0


async def test_the_time_of_a_batch_is_shared_by_rows(batcher, ensemble):
    first = await under_way(batcher, ensemble, 1)
    one, three = await waiting(batcher, 2), await waiting(batcher, 3, 4, 5)
    ensemble.go.set()
    await first
    assert (await three).device_s == pytest.approx(3 * (await one).device_s)


async def test_a_request_over_the_bound_is_refused_and_room_comes_back(batcher, ensemble):
    first = await under_way(batcher, ensemble, *[1] * 30)
    with pytest.raises(TeacherBusy, match="30 rows of 1920 bytes in its queue, and takes 32 rows"):
        await asked(batcher, 1, 2, 3)
    ensemble.go.set()
    await first
    await asked(batcher, 1, 2, 3)


async def test_the_bytes_in_the_queue_are_bounded_whatever_their_rows(ensemble):
    batcher = Batcher(ensemble, teacher="slow@1", threads=1, max_queued_bytes=640)
    first = await under_way(batcher, ensemble, *[1] * 8)
    with pytest.raises(TeacherBusy, match="or 640 bytes"):
        await asked(batcher, 1, 2, 3)
    ensemble.go.set()
    await first
    await asked(batcher, 1, 2, 3)
    batcher.close()


async def test_a_team_that_fills_the_queue_keeps_no_other_out(batcher, ensemble):
    first = await under_way(batcher, ensemble, *[1] * 30)
    other = await waiting(batcher, *[2] * 10, team="other")
    with pytest.raises(TeacherBusy):
        await asked(batcher, *[3] * 10, team="other")
    with pytest.raises(TeacherBusy):
        await asked(batcher, 4)
    assert batcher.gauge().queued_rows == 40
    ensemble.go.set()
    await asyncio.gather(first, other)


async def test_a_request_larger_than_the_bound_is_taken_by_an_idle_replica(batcher, ensemble):
    ensemble.go.set()
    assert len(answer_to(await asked(batcher, *[1] * 33))) == 33


async def test_a_request_past_its_deadline_is_refused_at_once_and_never_computed(batcher, ensemble):
    first = await under_way(batcher, ensemble, 1)
    late = await waiting(batcher, 2, deadline_s=0.01)
    with pytest.raises(TeacherBusy, match=r"waited in slow@1's queue for its whole 0.01 s"):
        await late
    with pytest.raises(TeacherBusy, match="waited"):
        await asked(batcher, 3, deadline_s=1.0, late_s=2.0)
    ensemble.go.set()
    await first
    assert ensemble.batches == [[1]]


async def test_a_request_that_has_begun_in_time_is_computed_to_its_end(batcher, ensemble):
    began = time.monotonic()
    first = asyncio.create_task(asked(batcher, *[1] * 12, deadline_s=0.2))
    await asyncio.to_thread(ensemble.started.wait, 10)
    await until(lambda: time.monotonic() > began + 0.25)
    ensemble.go.set()
    assert len(answer_to(await first)) == 12


async def test_a_request_that_nobody_waits_for_leaves_the_queue(batcher, ensemble):
    first = await under_way(batcher, ensemble, 1)
    given_up = await waiting(batcher, 2, 2)
    given_up.cancel()
    third = await waiting(batcher, 3, 3)
    ensemble.go.set()
    await asyncio.gather(first, third)
    assert ensemble.batches == [[1], [3, 3]]
    assert batcher.gauge().queued_rows == 0


async def test_a_request_that_is_given_up_on_the_device_harms_nobody(batcher, ensemble):
    given_up = await under_way(batcher, ensemble, *[1] * 12)
    other = await waiting(batcher, 2)
    given_up.cancel()
    ensemble.go.set()
    assert answer_to(await other) == [2]
    assert ensemble.batches == [[1] * 8, [2]]


async def test_rows_that_cannot_be_answered_fail_their_own_request_alone(batcher, ensemble):
    first = await under_way(batcher, ensemble, 1)
    good, bad = await waiting(batcher, 2, 3), await waiting(batcher, 4, BAD)
    ensemble.go.set()
    answers = await asyncio.gather(first, good, bad, return_exceptions=True)
    assert ensemble.batches == [[1], [2, 3, 4, BAD]]
    assert answer_to(answers[1]) == [2, 3]
    assert isinstance(answers[2], NotFinite)
    assert answers[2].message == "NaN or infinity in 'logits'"


async def test_a_request_that_breaks_a_batch_fails_alone(batcher, ensemble):
    first = await under_way(batcher, ensemble, 1)
    others = [await waiting(batcher, pixel) for pixel in (2, BREAKS, 3)]
    ensemble.go.set()
    answers = await asyncio.gather(first, *others, return_exceptions=True)
    assert ensemble.batches == [[1], [2, BREAKS, 3], [2], [BREAKS], [3]]
    assert [answer_to(answers[at]) for at in (1, 3)] == [[2], [3]]
    assert isinstance(answers[2], RuntimeError)
    batcher.check_health()


async def test_an_answer_that_would_be_too_large_is_refused_before_anything_is_computed(batcher, ensemble):
    ensemble.go.set()
    with pytest.raises(TooLarge):
        await asked(batcher, *[1] * LARGE)
    assert ensemble.batches == []


async def test_a_replica_whose_device_is_gone_asks_to_be_replaced(batcher, ensemble):
    ensemble.go.set()
    ensemble.is_gone = True
    for _ in range(3):
        batcher.check_health()
        with pytest.raises(RuntimeError, match="device is gone"):
            await asked(batcher, 1)
    with pytest.raises(RuntimeError, match="must be replaced"):
        batcher.check_health()


def test_a_budget_of_tokens_bounds_the_rows_of_a_batch_where_inputs_are_tokens():
    text = TokensInput(length=128, vocabulary=100)
    assert rows_of_batch(text, max_rows=1024, max_tokens=32_768) == 256
    assert rows_of_batch(text, max_rows=100, max_tokens=32_768) == 100
    assert rows_of_batch(text, max_rows=1024, max_tokens=None) == 1024
    assert rows_of_batch(IMAGE, max_rows=1024, max_tokens=32_768) == 1024


async def test_the_gauge_shows_what_waits_and_what_was_done(batcher, ensemble):
    first = await under_way(batcher, ensemble, 1, 2)
    other = await waiting(batcher, 3)
    assert batcher.gauge().queued_rows == 3
    assert batcher.gauge().rows_computed == 0
    ensemble.go.set()
    await asyncio.gather(first, other)
    assert batcher.gauge().queued_rows == 0
    assert batcher.gauge().rows_computed == 3
    assert batcher.gauge().busy_s > 0
