"""Watching: what is shown, how often, and of how many at once."""

import pytest

from distill.contracts.events import ProgressEvent
from distill.contracts.records import Progress
from services.cli.bars import EVERY_S, Bars, Lines
from services.cli.watch import follow_all
from services.client import End, StillhouseClient
from tests.services.client.stub_house import NOON, House, a_short_life


def at_step(step: int, *, job: str = "a") -> ProgressEvent:
    now = Progress(attempt=1, phase="training", step=step, num_steps=9, epoch=0, num_epochs=1, at=NOON)
    return ProgressEvent(job=job, role="student", progress=now)


def test_a_log_gets_a_line_of_progress_every_few_seconds_for_each_job(capsys: pytest.CaptureFixture[str]):
    seconds = iter([0.0, 0.1, EVERY_S - 0.1, EVERY_S])
    lines = Lines({"a": "first", "b": "second"}, clock=lambda: next(seconds))
    for event in (at_step(1), at_step(1, job="b"), at_step(2), at_step(3)):
        lines.progress(event)
    shown = [line.strip().partition(", epoch")[0] for line in capsys.readouterr().out.splitlines()]
    assert shown == ["first: training, step 1 of 9", "second: training, step 1 of 9", "first: training, step 3 of 9"]


def test_bars_take_what_comes_and_leave_the_screen_in_order(capsys: pytest.CaptureFixture[str]):
    with Bars({}) as bars:
        bars.progress(at_step(1))
        bars.progress(at_step(9))
    assert "9/9" in capsys.readouterr().out


def test_several_are_followed_until_the_last_has_ended(house: House):
    with StillhouseClient(house.url) as client:
        seen = list(follow_all(client, [("job", "one"), ("job", "two"), ("study", "three")]))
    assert {identity for identity, followed in seen if isinstance(followed.data, End)} == {"one", "two", "three"}
    assert len(seen) == 3 * len(a_short_life())
