"""When the next batch is due, from how long those before it took."""

import pytest

from teacher_server.device import Pace


def test_nothing_is_known_of_a_first_batch_and_another_may_follow_at_once():
    pace = Pace()
    pace.launching(1000, at=50.0)
    assert pace.due_at == 50.0


def test_a_batch_is_about_to_end_in_the_last_quarter_of_the_time_that_its_work_takes():
    pace = Pace()
    pace.launching(1000, at=50.0)
    pace.fetched(1000, 2.0, at=52.0)
    pace.launching(500, at=60.0)
    assert pace.due_at == pytest.approx(60.75)


def test_what_was_launched_behind_another_begins_when_that_one_ends():
    pace = Pace()
    pace.launching(1000, at=50.0)
    pace.launching(1000, at=51.5)
    pace.fetched(1000, 2.0, at=52.0)
    assert pace.due_at == pytest.approx(53.5)


def test_where_launching_takes_long_the_next_batch_is_due_sooner():
    pace = Pace()
    for _ in range(50):
        pace.launching(1000, at=50.0)
        pace.launched(1.5)
        pace.fetched(1000, 2.0, at=52.0)
    pace.launching(1000, at=60.0)
    assert pace.due_at == pytest.approx(60.5)
