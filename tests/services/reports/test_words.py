"""Figures as people read them."""

import pytest

from services.reports import words


@pytest.mark.parametrize(
    ("number", "text"),
    [(7, "7"), (999, "999"), (14_876, "14.9k"), (999_700, "1.00M"), (22_713_216, "22.7M"), (2.5e9, "2.50G"), (0, "0")],
)
def test_a_quantity_has_three_figures(number, text):
    assert words.quantity(number) == text


@pytest.mark.parametrize(
    ("duration", "text"), [(0.844, "0.84 s"), (12.34, "12.3 s"), (119.4, "119.4 s"), (125, "2 min 05 s")]
)
def test_a_duration_is_no_finer_than_it_matters(duration, text):
    assert words.seconds(duration) == text


def test_one_is_not_many():
    assert [words.count(n, "row") for n in (0, 1, 2_000)] == ["0 rows", "1 row", "2,000 rows"]
    assert [words.points(d) for d in (-0.0101, 0.02)] == ["1.0 point", "2.0 points"]


@pytest.mark.parametrize(
    ("reduction", "text"),
    [(55.8, "56 times smaller"), (3.04, "3.0 times smaller"), (0.5, "2.0 times larger"), (1.04, None)],
)
def test_a_size_within_a_twentieth_is_the_same(reduction, text):
    assert words.size_words(reduction) == text


def test_a_list_is_read_aloud():
    assert [words.listing(list("abc")[:n]) for n in (0, 1, 2, 3)] == ["", "a", "a and b", "a, b and c"]
