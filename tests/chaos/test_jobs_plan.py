"""The plan of the chaos run's troubles."""

from itertools import pairwise

from tests.chaos.jobs.plan import KINDS, Place, plan


def test_the_same_seed_gives_the_same_troubles_and_another_one_others():
    assert plan(1, 600) == plan(1, 600)
    assert plan(1, 600) != plan(2, 600)


def test_two_minutes_have_every_kind_of_trouble():
    for seed in range(50):
        assert {trouble.kind for trouble in plan(seed, 120)} == {kind.name for kind in KINDS}


def test_a_shorter_run_is_the_beginning_of_a_longer_one():
    short, long = plan(3, 120), plan(3, 600)
    assert [(one.at_s, one.kind, one.draw) for one in short] == [
        (one.at_s, one.kind, one.draw) for one in long[: len(short)]
    ]


def test_all_are_over_at_the_end_and_no_two_meet_in_a_place_but_among_the_workers():
    for seed in range(50):
        troubles = plan(seed, 300)
        assert all(trouble.at_s + trouble.lasts_s <= 300 + 1e-9 for trouble in troubles)
        for place in set(Place) - {Place.WORKERS}:
            there = [trouble for trouble in troubles if trouble.place is place]
            assert all(one.at_s + one.lasts_s < other.at_s for one, other in pairwise(there))
