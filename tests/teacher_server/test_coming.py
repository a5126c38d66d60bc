"""What a replica says that it has left to do."""

import pytest

from teacher_server.coming import PROMISE_S, Coming, Left


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def coming(clock: Clock) -> Coming:
    return Coming(clock)


def test_a_promised_window_counts_until_it_is_queued(coming):
    coming.promise("a", 30)
    coming.promise("b", 12)
    assert coming.work == 42
    coming.queued("a")
    assert coming.work == 12


def test_one_that_never_comes_is_not_waited_for(coming, clock):
    coming.promise("a", 30)
    clock.now += PROMISE_S / 2
    assert coming.work == 30
    clock.now += PROMISE_S
    assert coming.work == 0


def test_one_that_has_come_counts_once_for_as_long_as_it_takes(coming, clock):
    coming.promise("a", 30)
    with coming.taken("a", 30):
        clock.now += 10 * PROMISE_S
        assert (coming.work, coming.num_taken) == (30, 1)
        coming.queued("a")
        assert (coming.work, coming.num_taken) == (0, 1)
    assert coming.num_taken == 0


def test_one_that_fails_leaves_nothing_behind(coming):
    with pytest.raises(ValueError, match="broken"), coming.taken("a", 30):
        raise ValueError("broken")
    assert (coming.work, coming.num_taken) == (0, 0)


def test_what_is_left_is_what_the_device_has_and_what_waits_at_its_pace():
    left = Left(busy_s=0.25, work=500, s_per_work=0.001)
    assert left.is_at_most(0.75)
    assert not left.is_at_most(0.74)


def test_as_long_as_no_pace_is_known_only_an_idle_replica_has_nothing_left():
    assert Left(0.0, 0, None).is_at_most(0.0)
    assert not Left(0.0, 1, None).is_at_most(0.0)
    assert Left(0.0, 1, None).is_at_most(0.001)
