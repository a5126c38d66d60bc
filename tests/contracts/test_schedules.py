"""Values over a training's progress, worked out by hand."""

import math
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from distill.contracts.schedules import Scheduled, Temperature, Weight, extremes, value_at

READ: TypeAdapter[Any] = TypeAdapter(Scheduled)


def at(schedule: Any, *moments: float) -> list[float]:
    read = READ.validate_python(schedule)
    return [value_at(read, moment) for moment in moments]


def test_a_number_stays_as_it_is():
    assert at(4, 0.0, 0.5, 1.0) == [4, 4, 4]


def test_a_line_goes_from_start_to_stop_between_its_moments():
    line = {"kind": "linear", "start": 8.0, "stop": 2.0, "begin": 0.2, "end": 0.6}
    assert at(line, 0.0, 0.2, 0.3, 0.4, 0.6, 1.0) == pytest.approx([8, 8, 6.5, 5, 2, 2])


def test_a_cosine_is_slow_at_both_ends():
    cosine = {"kind": "cosine", "start": 0.0, "stop": 1.0}
    expected = [0.0, (1 - math.cos(math.pi / 4)) / 2, 0.5, 1.0]
    assert at(cosine, 0.0, 0.25, 0.5, 1.0) == pytest.approx(expected)


def test_steps_change_at_their_moments():
    steps = {"kind": "steps", "values": [4.0, 2.0, 1.0], "at": [0.3, 0.7]}
    assert at(steps, 0.0, 0.29, 0.3, 0.69, 0.7, 1.0) == [4, 4, 2, 2, 1, 1]


def test_no_moment_has_a_value_beyond_the_extremes():
    for schedule in (3.0, {"kind": "cosine", "start": 5, "stop": 1}, {"kind": "steps", "values": [2, 9], "at": [0.5]}):
        least, greatest = extremes(READ.validate_python(schedule))
        assert all(least <= value <= greatest for value in at(schedule, *(step / 100 for step in range(101))))


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"kind": "linear", "start": 1, "stop": 0, "end": 1.5}, "less than or equal to 1"),
        ({"kind": "linear", "start": 1, "stop": 0, "begin": 0.7, "end": 0.7}, "must come after 'begin'"),
        ({"kind": "steps", "values": [1, 2], "at": [0.3, 0.6]}, "2 values need 1 moments"),
        ({"kind": "steps", "values": [1, 2, 3], "at": [0.6, 0.3]}, "must rise between 0"),
        ({"kind": "steps", "values": [1, 2], "at": [1.0]}, "must rise between 0"),
        ({"kind": "sine", "start": 1, "stop": 0}, "linear, cosine or steps"),
        ({"start": 1, "stop": 0}, "linear, cosine or steps"),
        ("4.0 to 1.0", "valid number"),
    ],
)
def test_a_schedule_that_says_nothing_clear_is_refused(schedule: Any, said: str):
    with pytest.raises(ValidationError, match=said):
        READ.validate_python(schedule)


def test_a_temperature_is_positive_at_every_moment_and_a_weight_never_negative():
    to_zero = {"kind": "linear", "start": 4.0, "stop": 0.0}
    with pytest.raises(ValidationError, match="they go from 0 to 4"):
        TypeAdapter(Temperature).validate_python(to_zero)
    assert TypeAdapter(Weight).validate_python(to_zero)
    with pytest.raises(ValidationError, match="its least is -1"):
        TypeAdapter(Weight).validate_python({"kind": "steps", "values": [1, -1], "at": [0.5]})
