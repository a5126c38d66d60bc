"""Medians and their intervals, and sides that take turns."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import comb

import numpy as np
import pytest

from benchmarks.intervals import coverage, in_turns, interval_of, ratios


def test_six_values_hold_the_median_between_the_least_and_the_greatest():
    found = interval_of([3.0, 1.0, 2.0, 9.0, 4.0, 5.0])
    assert (found.low, found.median, found.high) == (1.0, 3.5, 9.0)
    assert coverage(6, 1) == 1 - 2 / 64


def test_the_interval_is_the_narrowest_that_covers_95_percent():
    found = interval_of(range(1, 21))  # the classical table: ranks 6 and 15 of 20
    assert (found.low, found.high) == (6, 15)
    assert 1 - 2 * sum(comb(20, k) for k in range(7)) / 2**20 < 0.95


def test_five_values_are_too_few_for_95_percent():
    with pytest.raises(ValueError, match="at least 6 values, not 5"):
        interval_of([1.0] * 5)


def test_the_interval_holds_the_true_median_as_often_as_it_says():
    draws = np.random.default_rng(0).exponential(size=(4000, 9))
    found = [interval_of(draw) for draw in draws.tolist()]
    share = np.mean([one.low <= np.log(2) <= one.high for one in found])  # the median of an exponential
    assert share == pytest.approx(coverage(9, 2), abs=0.01)


def test_sides_take_turns_and_change_who_is_first():
    said: list[str] = []

    def side(name: str) -> float:
        said.append(name)
        return float(len(said))

    measured = in_turns({"a": lambda: side("a"), "b": lambda: side("b")}, rounds=3)
    assert "".join(said) == "abbaab"
    assert measured == {"a": [1, 4, 5], "b": [2, 3, 6]}
    assert ratios(measured["a"], measured["b"]) == [1 / 2, 4 / 3, 5 / 6]


def test_sides_may_be_opened_anew_for_each_round():
    opened: list[str] = []

    @contextmanager
    def fresh() -> Iterator[dict[str, Callable[[], float]]]:
        opened.append("open")
        yield {"a": lambda: 1.0, "b": lambda: float(len(opened))}
        opened.append("closed")

    assert in_turns(fresh, rounds=2) == {"a": [1, 1], "b": [1, 3]}
    assert opened == ["open", "closed"] * 2
