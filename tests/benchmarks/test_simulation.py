"""The simulated pool, where the truth can be worked out by hand."""

import math

import pytest

from benchmarks.simulation import Case, idle_share


def test_one_replica_never_idles_while_rows_wait():
    assert idle_share(Case(students=8, replicas=1), seed=0, duration=30) == 0


def test_one_student_of_two_windows_leaves_no_two_batches_waiting():
    assert idle_share(Case(students=1, replicas=2), seed=0, duration=30) == 0


def test_windows_of_many_batches_wait_behind_each_other_while_other_replicas_idle():
    # two windows of four batches at two of four replicas: until their last two batches both others idle, and more
    # than one batch waits three quarters of the time, but for the way there and back
    share = idle_share(Case(students=1, replicas=4, batch_rows=256, hop=0.0, load=math.inf), seed=0, duration=200)
    assert share == pytest.approx(0.5 * 0.75, abs=0.05)


def test_the_same_seed_gives_the_same_share():
    case = Case(students=5, replicas=3, load=0.8)
    assert idle_share(case, seed=3, duration=40) == idle_share(case, seed=3, duration=40)


@pytest.mark.parametrize("load", [math.inf, 1.0, 0.8])
def test_callers_that_choose_at_the_same_time_do_not_choose_the_same_replica(load):
    assert idle_share(Case(students=8, replicas=5, load=load), seed=0, duration=60) < 0.01
