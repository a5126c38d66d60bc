"""Goals and verdicts."""

import pytest

from benchmarks.figures import Figure, Goal, table
from benchmarks.intervals import Interval, counted


@pytest.mark.parametrize(
    ("found", "verdict"),
    [((0.98, 0.95, 1.0), "met"), ((0.96, 0.94, 0.98), "open"), ((0.9, 0.8, 0.96), "missed")],
)
def test_a_goal_is_missed_only_if_the_whole_interval_is_on_the_wrong_side(found, verdict):
    assert Goal(at_least=0.97).verdict(Interval(*found)) == verdict


def test_a_goal_may_have_two_sides():
    goal = Goal(at_least=0.45, at_most=0.55)
    assert [goal.verdict(counted(share)) for share in (0.44, 0.5, 0.56)] == ["missed", "met", "missed"]
    assert goal.verdict(Interval(0.6, 0.5, 0.7)) == "open"
    assert Goal().verdict(counted(1.0)) == "-"


def test_a_figure_says_itself_in_the_table_and_in_json():
    figure = Figure("recover_s", Interval(4.25, 4.0, 5.5), Goal(at_most=6), unit="s", details={"threads": 1})
    assert table([figure]).splitlines()[-1] == "| recover_s | 4.25 s | 4 to 5.5 | <= 6 | met |"
    said = figure.to_json("python -m benchmarks")
    assert (said["median"], said["low"], said["high"]) == (4.25, 4.0, 5.5)
    assert (said["goal"], said["verdict"], said["details"]) == ("<= 6", "met", {"threads": 1})
