"""The way of a window through a replica, with an answer book in this process and a device that counts."""

import asyncio
import itertools
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from distill.contracts.errors import InvalidSpec, NotFinite, TeacherBusy
from distill.contracts.models import VectorInput
from distill.contracts.wire import BookKey
from teacher_server.answering import Answering
from teacher_server.book.book import AnswerBook
from teacher_server.book.claims import SILENCE_S
from teacher_server.book.pages import Rows
from teacher_server.book.segments import write_segment
from teacher_server.book.shelf import Shelf, book_id
from teacher_server.coming import Coming, Left
from teacher_server.digests import row_digests
from teacher_server.memory import NoMemory
from teacher_server.pending import Computed
from teacher_server.recalling import SAMPLE_ROWS
from tests.teacher_server.book.rows import Clock

DIGEST = "sha256:" + "d" * 64
KEY = BookKey(teacher=DIGEST, compute="fp32", members=(0, 1), precision="fp16")
ROOM = 2**30


class CountingDevice:
    """A batcher whose teacher has two members; it counts the rows that it computes, once it is told to go."""

    def __init__(self) -> None:
        self.computed: Counter[int] = Counter()
        self.go = asyncio.Event()
        self.go.set()
        self.started = asyncio.Event()
        self.fails: Exception | None = None
        self.says = logits_of
        self.coming = Coming()

    def left(self):
        return Left(0.0, self.coming.work, 0.001)

    async def compute(self, ask, inputs, members, *, arrived):
        self.coming.queued(ask.request_id)
        self.started.set()
        await self.go.wait()
        if self.fails is not None:
            raise self.fails
        numbers = inputs[:, 0].astype(int).tolist()
        self.computed.update(numbers)
        return Computed({"logits": self.says(numbers)}, device_s=0.5)


class NearMemory:
    """The book in this process; what is sent in the background is under way in ``sent``."""

    def __init__(self, book):
        self.book = book
        self.sent = []

    async def consult(self, key, digests, *, claimant):
        return await self.book.consult(key, digests, claimant=claimant)

    async def wait(self, key, digests, *, claimant, timeout_s):
        return await self.book.wait(key, digests, claimant=claimant, timeout_s=timeout_s)

    def hand_in(self, key, digests, answers, *, claimant):
        self.sent.append(asyncio.ensure_future(self.book.hand_in(key, digests, answers)))

    def release(self, key, digests, *, claimant):
        self.sent.append(asyncio.ensure_future(self.book.release(key, digests, claimant=claimant)))

    async def confirm(self, key, edition):
        await self.book.confirm(key, edition)

    async def refuse(self, key, edition, why):
        await self.book.refuse(key, edition, why)


class Meter:
    """Remembers what it was told."""

    def __init__(self):
        self.told = []

    def answered(self, team, *, computed_rows, recalled_rows, device_s):
        self.told.append((team, computed_rows, recalled_rows, device_s))

    def refused(self, team):
        self.told.append((team, "refused"))


def logits_of(numbers):
    """(N, 2, 4): row n's top class is n % 4 for both members, with a logit that tells rows apart."""
    numbers_N = np.array(numbers)
    logits_NMC = np.zeros((len(numbers), 2, 4), np.float16)
    logits_NMC[np.arange(len(numbers)), :, numbers_N % 4] = (1 + numbers_N % 1000 / 1000)[:, None]
    return logits_NMC


def inputs_of(numbers):
    return np.array(list(numbers), np.float32)[:, None]


def a_replica(memory):
    """A replica with a device of its own."""
    ensemble = SimpleNamespace(
        input=VectorInput(features=1, mean=(0.0,), std=(1.0,)),
        num_members=2,
        choose_members=lambda asked: (0, 1) if asked is None else asked,
        check_taps=lambda taps, members: None,
    )
    device, meter = CountingDevice(), Meter()
    answering = Answering(ensemble, device, memory, meter, teacher="t@1", digest=DIGEST, compute="fp32")
    return SimpleNamespace(answering=answering, device=device, meter=meter, memory=memory)


names = itertools.count()


async def ask(replica, numbers, **header):
    """Ask for rows, check that each got its own answer, and see what was computed into the book."""
    numbers = list(numbers)
    window = {"request_id": f"r{next(names)}", "team": "vision", "num_rows": len(numbers), **header}
    reply, tensors = await replica.answering.answer(window, {"inputs": inputs_of(numbers)})
    assert (tensors["logits"] == logits_of(numbers)).all()
    assert (tensors["digests"] == row_digests(inputs_of(numbers))[:, :8].copy().view(np.uint64)[:, 0]).all()
    await asyncio.gather(*getattr(replica.memory, "sent", ()))
    return SimpleNamespace(**reply)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def book(tmp_path, clock):
    return AnswerBook(Shelf(tmp_path, max_bytes=ROOM), max_bytes=ROOM, clock=clock)


@pytest.fixture
async def pair(book):
    """Two replicas of one teacher."""
    return a_replica(NearMemory(book)), a_replica(NearMemory(book))


def on_storage(folder, numbers, says=logits_of):
    """Rows that a book left there, with their right checksum, whatever they say."""
    numbers = list(numbers)
    (folder / book_id(KEY)).mkdir(parents=True)
    rows = Rows(row_digests(inputs_of(numbers)), {"logits": says(numbers)})
    write_segment(folder / book_id(KEY), rows, book=book_id(KEY))


async def test_two_replicas_asked_the_same_rows_at_once_compute_each_row_once(pair):
    one, two = pair
    replies = await asyncio.gather(ask(one, range(1000)), ask(two, reversed(range(1000))))
    assert one.device.computed + two.device.computed == Counter(range(1000))
    assert sorted(reply.recalled_rows for reply in replies) == [0, 1000]


async def test_windows_that_overlap_each_get_their_rows_and_none_is_computed_twice(pair):
    one, two = pair
    windows = [range(start, start + 300) for start in range(0, 900, 100)]
    asked = [ask(replica, window) for replica, window in zip(itertools.cycle(pair), windows, strict=False)]
    await asyncio.gather(*asked)
    computed = one.device.computed + two.device.computed
    assert set(computed) == set(range(1100))
    assert sum(computed.values()) <= 1100 + 2 * SAMPLE_ROWS


async def test_what_one_replica_computed_is_known_to_the_other_but_for_a_sample_once(pair):
    one, two = pair
    await ask(one, range(1000))
    first, second = await ask(two, range(1000)), await ask(two, range(1000))
    assert (first.recalled_rows, second.recalled_rows) == (1000 - SAMPLE_ROWS, 1000)
    assert sum(two.device.computed.values()) == SAMPLE_ROWS


async def test_the_meter_counts_rows_times_members_of_each(pair):
    one, two = pair
    await ask(one, range(10))
    await ask(two, range(8, 12))
    assert one.meter.told == [("vision", 20, 0, 0.5)]
    # the two known rows are the sample, the two others are computed
    assert two.meter.told == [("vision", 8, 0, 1.0)]


async def test_rows_equal_to_one_another_are_computed_once(pair):
    one, _ = pair
    reply = await ask(one, [7, 8, 7, 7])
    assert one.device.computed == Counter([7, 8])
    assert reply.recalled_rows == 2


async def test_nothing_is_remembered_where_that_is_not_wanted(pair):
    one, two = pair
    await ask(one, range(10), remember=False)
    reply = await ask(two, range(10))
    assert reply.recalled_rows == 0
    await ask(two, range(10), remember=False)
    assert sum(two.device.computed.values()) == 20


async def test_without_a_book_everything_is_computed():
    replica = a_replica(NoMemory())
    for _ in range(2):
        assert (await ask(replica, range(10))).recalled_rows == 0
    assert sum(replica.device.computed.values()) == 20


async def test_rows_of_a_replica_that_fails_are_computed_by_the_one_that_waits(pair):
    one, two = pair
    one.device.go.clear()
    one.device.fails = NotFinite("NaN in 'logits'")
    failing = asyncio.create_task(ask(one, range(10)))
    await one.device.started.wait()
    waiting = asyncio.create_task(ask(two, range(10)))
    await asyncio.sleep(0)
    one.device.go.set()
    with pytest.raises(NotFinite):
        await failing
    assert (await waiting).recalled_rows == 0
    assert two.device.computed == Counter(range(10))


async def test_rows_of_a_cancelled_window_are_free(pair):
    one, two = pair
    one.device.go.clear()
    cancelled = asyncio.create_task(ask(one, range(10)))
    await one.device.started.wait()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert (await ask(two, range(10))).recalled_rows == 0


async def test_rows_of_a_replica_that_died_are_computed_by_the_one_that_waits(pair, book, clock):
    _, two = pair
    await book.consult(KEY, row_digests(inputs_of(range(5))), claimant="dead")
    waiting = asyncio.create_task(ask(two, range(10)))
    await two.device.started.wait()  # its own five, first of all
    clock.now += SILENCE_S + 0.1
    await book.tick()
    assert (await waiting).recalled_rows == 0


async def test_rows_that_do_not_come_within_the_deadline_make_the_window_busy(pair, book):
    one, _ = pair
    await book.consult(KEY, row_digests(inputs_of(range(5))), claimant="slow")
    with pytest.raises(TeacherBusy, match="5 rows of the window are being computed by another replica"):
        await ask(one, range(5), deadline_s=0.02)
    assert one.meter.told == [("vision", "refused")]


async def test_a_book_from_storage_answers_and_is_confirmed_by_a_sample(pair, book, tmp_path):
    on_storage(tmp_path, range(500))
    one, _ = pair
    digests = row_digests(inputs_of(range(500)))
    assert (await ask(one, range(500))).recalled_rows == 500 - SAMPLE_ROWS
    assert book.recall(KEY, digests).known_N.all()
    spread = sorted(one.device.computed)
    assert (spread[0], spread[-1], len(spread)) == (0, 499, SAMPLE_ROWS)


def with_another_top_class(numbers):
    return logits_of(np.array(numbers) + 1)


def with_a_slightly_other_probability(numbers):
    return (logits_of(numbers) + np.array([0.01, 0, 0, 0])).astype(np.float16)


def with_nan(numbers):
    return logits_of(numbers) * np.float16(np.nan)


def with_fewer_classes(numbers):
    return logits_of(numbers)[:, :, :3].copy()


@pytest.mark.parametrize(
    "says", [with_another_top_class, with_a_slightly_other_probability, with_nan, with_fewer_classes]
)
async def test_a_tampered_book_with_a_right_checksum_is_refused_and_its_rows_computed(
    pair, book, tmp_path, caplog, says
):
    on_storage(tmp_path, range(500), says)
    one, two = pair
    assert (await ask(one, range(500))).recalled_rows == 0
    assert "REFUSED" in caplog.text
    assert len(list(tmp_path.glob("*.refused"))) == 1
    assert (await ask(two, range(500))).recalled_rows == 500 - SAMPLE_ROWS
    assert sum(one.device.computed.values()) == 500 + SAMPLE_ROWS


async def test_a_confirmation_that_was_lost_is_given_again_by_the_next_window(pair, book, tmp_path, monkeypatch):
    on_storage(tmp_path, range(100))
    one, _ = pair
    with monkeypatch.context() as lost:
        lost.setattr(one.memory, "confirm", NoMemory().confirm)
        await ask(one, range(100))
    digests = row_digests(inputs_of(range(100)))
    assert not book.recall(KEY, digests).known_N.any()
    await ask(one, range(100))
    assert book.recall(KEY, digests).known_N.all()


async def test_windows_at_once_on_a_tampered_book_all_get_right_answers(pair, tmp_path):
    on_storage(tmp_path, range(500), with_another_top_class)
    await asyncio.gather(*(ask(replica, range(500)) for replica in pair for _ in range(3)))


async def test_a_book_in_half_precision_of_another_device_is_good(pair, tmp_path):
    on_storage(tmp_path, range(500), lambda numbers: (logits_of(numbers) * 1.0005).astype(np.float16))
    one, _ = pair
    header = {"request_id": "r", "num_rows": 500}
    reply, _ = await one.answering.answer(header, {"inputs": inputs_of(range(500))})
    assert reply["recalled_rows"] == 500 - SAMPLE_ROWS


async def test_a_check_that_could_not_be_made_is_made_by_the_next_window(pair, book, tmp_path):
    on_storage(tmp_path, range(100))
    one, _ = pair
    one.device.fails = TeacherBusy("the queue is full")
    with pytest.raises(TeacherBusy):
        await ask(one, range(100))
    one.device.fails = None
    assert (await ask(one, range(100))).recalled_rows == 100 - SAMPLE_ROWS


def header(numbers, **more):
    return {"request_id": "w", "team": "vision", "num_rows": len(numbers), **more}


async def test_a_replica_says_what_it_has_left_and_expects_a_window_unless_that_is_too_much():
    replica = a_replica(NoMemory())
    said = replica.answering.expect(header(range(50)), None)
    assert said == {"busy_s": 0.0, "work": 0, "s_per_work": 0.001, "num_windows": 0, "is_promised": False}
    assert replica.answering.expect(header(range(50)), 0.0)["is_promised"]
    said = replica.answering.expect(header(range(10), request_id="other", members=[1]), 0.05)
    assert (said["work"], said["is_promised"]) == (100, False)  # rows times members
    assert replica.answering.expect(header(range(10), request_id="other", members=[1]), 0.1)["work"] == 110


async def test_a_window_that_came_is_not_expected_any_more():
    replica = a_replica(NoMemory())
    replica.answering.expect(header(range(50)), 0.0)
    await ask(replica, range(50), request_id="w")
    assert replica.answering.expect(header(range(50)), None)["work"] == 0


async def test_a_window_whose_rows_another_replica_computes_is_nothing_left_to_do(pair):
    one, two = pair
    one.device.go.clear()
    first = asyncio.create_task(ask(one, range(100)))
    await one.device.started.wait()
    second = asyncio.create_task(ask(two, range(100)))
    async with asyncio.timeout(10):
        while not (said := two.answering.expect(header([0]), None))["num_windows"] or said["work"]:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    one.device.go.set()
    await asyncio.gather(first, second)
    assert not two.device.computed


async def test_a_window_that_the_teacher_does_not_take_is_not_expected():
    replica = a_replica(NoMemory())
    with pytest.raises(InvalidSpec):
        replica.answering.expect({"request_id": "w", "num_rows": -1}, 0.0)
    assert replica.answering.expect(header([0]), None)["work"] == 0
