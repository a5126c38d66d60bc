"""The pool over HTTP: a real client, a real server, and a teacher that adds pixels up."""

import logging
import subprocess
import sys
import threading
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
import torch

from distill.contracts.errors import (
    InvalidAnswer,
    InvalidSpec,
    NotFinite,
    StillhouseError,
    TeacherBusy,
    TeacherUnavailable,
    UnknownTeacher,
)
from distill.contracts.names import DOOR_PREFIX
from distill.science.top_classes import spread as spread_in_torch
from distill.science.top_classes import top_classes
from teacher_server import remote
from teacher_server.remote import RemotePool
from teacher_server.remote_answer import TopClasses, spread
from tests.teacher_server.door.doors import DIGEST, KEY, NONE, TAP, DoorWithoutCluster, images, said, serving
from tests.teacher_server.house import House, keeping

ROOT = Path(__file__).parents[2]


@pytest.fixture
def door():
    return DoorWithoutCluster()


@pytest.fixture
def house(door):
    with serving(door) as url, keeping(House(door=url + DOOR_PREFIX)) as house:
        house.on_change = door.shelf.put
        yield house


@pytest.fixture
def open_pool(house):
    opened = []

    def make(**more):
        opened.append(RemotePool("fashion@prod", rows_per_s=5000, url=house.url, **({"key": KEY} | more)))
        return opened[-1]

    yield make
    for pool in opened:
        pool.close()


def test_rows_get_what_the_teacher_says_of_them(open_pool):
    rows = images(7)
    answer = open_pool(precision="fp32").ask(rows).result()
    np.testing.assert_allclose(answer.logits, said(rows), rtol=1e-6)
    assert (answer.members, answer.logits.dtype, answer.headers[0].digest) == ((0, 1), np.float32, DIGEST)


def test_torch_tensors_are_taken_and_answers_become_tensors_without_a_copy(open_pool):
    rows = images(3)
    answer = open_pool().ask(torch.from_numpy(rows)).result()
    logits_NMC = torch.from_numpy(answer.logits)
    assert logits_NMC.dtype == torch.float16
    assert logits_NMC.data_ptr() == answer.logits.ctypes.data
    np.testing.assert_allclose(logits_NMC.numpy(), said(rows), rtol=1e-3)


def test_members_and_taps_are_those_that_were_asked(open_pool):
    rows = images(4)
    answer = open_pool(members=[1], taps=[TAP], precision="fp32").ask(rows).result()
    np.testing.assert_allclose(answer.logits, said(rows, (1,)), rtol=1e-6)
    assert answer.members == (1,)
    np.testing.assert_array_equal(answer.feature(TAP), rows.reshape(4, 4))


def test_the_greatest_classes_come_as_they_are_and_as_logits_of_all(open_pool):
    rows = images(5)
    answer = open_pool(top_k=2).ask(rows).result()
    assert (answer.top.log_probs.shape, answer.top.classes.dtype, answer.top.tail.shape) == (
        (5, 2, 2),
        np.uint16,
        (5, 2),
    )
    probs = np.exp(said(rows)) / np.exp(said(rows)).sum(-1, keepdims=True)
    # with one class left out, its probability is the tail: nothing is lost but digits
    np.testing.assert_allclose(np.exp(answer.logits), probs, rtol=2e-3)


@pytest.mark.parametrize(("num_classes", "k", "scale"), [(10, 3, 1.0), (10, 9, 30.0), (1000, 10, 5.0), (4, 1, 200.0)])
def test_the_tail_is_spread_as_torch_spreads_it(num_classes, k, scale):
    generator = torch.Generator().manual_seed(0)
    log_probs, classes, tail = top_classes(torch.randn(6, 2, num_classes, generator=generator) * scale, k)
    ours = spread(TopClasses(log_probs.numpy(), classes.numpy(), tail.numpy()), num_classes)
    np.testing.assert_allclose(
        ours, spread_in_torch(log_probs, classes, tail, num_classes).numpy(), rtol=1e-5, atol=1e-5
    )


def test_more_rows_than_a_window_takes_are_split_and_come_in_order(open_pool, door):
    rows = images(2500)
    answer = open_pool(precision="fp32").ask(rows).result()
    np.testing.assert_allclose(answer.logits, said(rows), rtol=1e-6)
    assert sorted(header["num_rows"] for header in door.teacher.asked) == [452, 1024, 1024]


def test_windows_are_bounded_by_bytes_too(open_pool, door, monkeypatch):
    monkeypatch.setattr(remote, "WINDOW_BYTES", 40)
    open_pool().ask(images(25)).result()
    assert sorted(header["num_rows"] for header in door.teacher.asked) == [5, 10, 10]


def test_so_many_windows_are_in_flight_and_no_more(open_pool, door):
    door.teacher.is_stuck = True
    pool = open_pool(in_flight=2)
    pending = [pool.ask(images(2, seed=seed)) for seed in range(4)]
    assert all(door.teacher.heard.acquire(timeout=10) for _ in range(2))
    assert not door.teacher.heard.acquire(timeout=0.05)
    door.teacher.let_go()
    for seed, one in enumerate(pending):
        np.testing.assert_allclose(one.result().logits, said(images(2, seed=seed)), rtol=1e-3)


def test_a_busy_teacher_is_asked_again(open_pool, door):
    door.teacher.troubles = [TeacherBusy("full"), TeacherUnavailable("no replica yet"), RuntimeError("a bug, once")]
    assert open_pool().ask(images(2)).result().logits.shape == (2, 2, 3)
    assert len({header["request_id"] for header in door.teacher.asked}) == 1
    assert len(door.teacher.asked) == 4


def test_a_teacher_that_stays_away_is_given_up_and_told_of(open_pool, door, caplog, monkeypatch):
    monkeypatch.setattr("teacher_server.remote_line.SILENT_S", 0.1)
    door.teacher.troubles = [TeacherUnavailable("no replica yet")] * 100
    with pytest.raises(TeacherUnavailable, match=r"has not answered for .* no replica yet"):
        open_pool(give_up_s=0.5).ask(images(2)).result()
    assert [one.message for one in caplog.records if one.levelno == logging.WARNING] == [
        "waiting for fashion@3: no replica yet"
    ]


def test_a_door_that_is_gone_is_given_up_too(house, open_pool):
    house.door = "http://127.0.0.1:1"
    with pytest.raises(TeacherUnavailable, match="nothing answers at"):
        open_pool(give_up_s=0.3).ask(images(2)).result()


def test_a_door_that_is_not_there_yet_is_waited_for(open_pool, door):
    door.absent = [404, 500, 502]
    assert open_pool().ask(images(2)).result().logits.shape == (2, 2, 3)
    door.absent = [404, 500, 502]
    open_pool().wait_ready(10)


def test_a_bug_in_the_pool_is_not_asked_for_ever(open_pool, door):
    door.teacher.troubles = [RuntimeError("a bug")] * 5
    with pytest.raises(StillhouseError, match="a bug of ours"):
        open_pool().ask(images(2)).result()
    assert len(door.teacher.asked) == 3


@pytest.mark.parametrize("trouble", [NotFinite("row 3"), InvalidSpec("not so")])
def test_what_asking_again_can_not_help_is_raised_at_once(open_pool, door, trouble):
    door.teacher.troubles = [trouble]
    pool = open_pool()
    with pytest.raises(type(trouble), match=str(trouble)):
        pool.ask(images(2)).result()
    assert len(door.teacher.asked) == 1
    assert pool.ask(images(2)).result().logits.shape == (2, 2, 3)


def test_rows_of_another_type_are_refused_in_words(open_pool):
    with pytest.raises(InvalidSpec, match="expected a numpy array of uint8, got float64"):
        open_pool().ask(images(2).astype(np.float64)).result()


@pytest.mark.parametrize(
    ("spoilt", "words"),
    [
        ({"digest": NONE}, "wrong digest"),
        ({"num_rows": 3}, "wrong number of rows"),
        ({"request_id": "another"}, "wrong request id"),
        ({"members": [0]}, "wrong members"),
        ({"seconds": "long"}, "header that is none"),
    ],
)
def test_an_answer_to_something_else_is_refused(open_pool, door, spoilt, words):
    door.teacher.spoils = spoilt
    with pytest.raises(InvalidAnswer, match=words):
        open_pool().ask(images(2)).result()


def test_an_answer_for_other_rows_is_refused(open_pool, door, monkeypatch):
    monkeypatch.setattr(
        "tests.teacher_server.door.doors.row_digests", lambda inputs: np.zeros((len(inputs), 16), np.uint8)
    )
    with pytest.raises(InvalidAnswer, match="digests of rows"):
        open_pool().ask(images(2)).result()


def test_a_reservation_that_was_lost_is_opened_anew_and_the_window_asked_again(open_pool, door, house):
    pool = open_pool()
    house.held.clear()
    door.shelf.forget_reservations()
    door.clock.passed_s = 2
    assert pool.ask(images(2)).result().logits.shape == (2, 2, 3)
    assert pool.reservation.id == "r-2"


def test_a_teacher_that_is_gone_for_good_is_told_at_once(open_pool, door, house):
    pool = open_pool()
    house.held.clear()
    door.shelf.forget_reservations()
    house.refusal = UnknownTeacher("fashion@3 is no more")
    with pytest.raises(UnknownTeacher, match="no more"):
        pool.ask(images(2)).result()
    house.refusal = None


def test_a_pool_may_wait_until_a_replica_answers(open_pool, door):
    pool = open_pool()
    pool.wait_ready(10)
    door.teacher.ready = False
    with pytest.raises(TeacherUnavailable, match="fashion@3 is not ready: no replica answers"):
        pool.wait_ready(0)
    threading.Timer(0.1, lambda: setattr(door.teacher, "ready", True)).start()
    pool.wait_ready(10)


def test_a_closed_pool_answers_nobody_and_gives_the_teacher_back(open_pool, door, house):
    door.teacher.is_stuck = True
    pool = open_pool()
    pending = [pool.ask(images(2)) for _ in range(5)]
    assert all(door.teacher.heard.acquire(timeout=10) for _ in range(2))
    pool.close()
    for one in pending:
        with pytest.raises(TeacherUnavailable, match="closed"):
            one.result()
    assert not house.held
    with pytest.raises(ValueError, match="closed"):
        pool.ask(images(1))


def test_what_is_cancelled_before_it_is_sent_is_never_sent(open_pool, door):
    door.teacher.is_stuck = True
    pool = open_pool(in_flight=1)
    first, second = pool.ask(images(2)), pool.ask(images(2))
    assert door.teacher.heard.acquire(timeout=10)
    second.cancel()
    door.teacher.let_go()
    first.result()
    with pytest.raises(CancelledError):
        second.result()
    assert len(door.teacher.asked) == 1


def test_batches_come_with_their_answers_in_order_and_are_asked_in_growing_windows(open_pool, door):
    batches = [(images(8, seed=seed), seed) for seed in range(20)]
    came = list(open_pool(precision="fp32", in_flight=1).answered(iter(batches)))
    assert [seed for (_, seed), _ in came] == list(range(20))
    for (rows, _), answer in came:
        np.testing.assert_allclose(answer.logits, said(rows), rtol=1e-6)
    assert [header["num_rows"] for header in door.teacher.asked] == [8, 16, 32, 64, 40]


def test_batches_are_read_only_a_little_ahead(open_pool):
    read = []

    def batches():
        for seed in range(1000):
            read.append(seed)
            yield images(512, seed=seed)

    asked = open_pool(in_flight=2).answered(batches(), inputs=lambda batch: batch)
    next(asked)
    assert len(read) <= 8
    asked.close()


def test_what_can_not_be_asked_is_refused_before_anything_is_reserved(open_pool, house):
    with pytest.raises(InvalidSpec, match="top_k"):
        open_pool(top_k=0)
    assert not house.opened
    with pytest.raises(ValueError, match="no rows"):
        open_pool().ask(images(0))


def test_the_client_needs_neither_torch_nor_ray_nor_redis():
    code = (
        "import teacher_server.remote, sys; sys.exit(bool({'torch', 'ray', 'redis', 'starlette'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0
