"""What dies comes back, with a pause that grows."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from distill.contracts.errors import DependencyDown
from services.stack.processes import Child, spawn, wait_until
from services.stack.stopping import uninterrupted
from services.stack.supervisor import PAUSES_S, STEADY_S, Part, Supervisor


class _Dead(Child):
    def __init__(self) -> None:
        """A child that is gone."""

    def is_alive(self) -> bool:
        return False


def a_dead_part(*, failures: int, since: float) -> Part:
    return Part("Redis", _Dead(), start=_Dead, failures=failures, since=since)


@pytest.mark.parametrize("failures", range(1, 8))
def test_a_part_that_keeps_dying_waits_longer_each_time(failures: int):
    pause = PAUSES_S[min(failures, len(PAUSES_S) - 1)]
    assert not a_dead_part(failures=failures, since=100.0).needs_start(100.0 + pause - 0.1)
    assert a_dead_part(failures=failures, since=100.0).needs_start(100.0 + pause)


def test_a_part_that_lived_long_is_started_at_once():
    part = a_dead_part(failures=5, since=100.0)
    assert part.needs_start(100.0 + STEADY_S + 0.1)
    assert part.failures == 0


def test_a_part_that_was_given_to_us_is_never_started():
    assert not Part("Redis", None, start=_Dead).needs_start(1e9)


@pytest.fixture
def sleeper(tmp_path: Path) -> Callable[[], Child]:
    return lambda: spawn(["sleep", "60"], environment={"PATH": "/usr/bin:/bin"}, folder=tmp_path, log=tmp_path / "log")


def test_a_killed_child_is_started_again_and_said(sleeper: Callable[[], Child]):
    said: list[str] = []
    part = Part("The sleeper", sleeper(), start=sleeper)
    first = part.child
    supervisor = Supervisor([part], guard=threading.RLock(), say=said.append)
    supervisor.start()
    first.kill()
    assert wait_until(lambda: part.child is not first, timeout_s=10, every_s=0.05)
    supervisor.stop()
    assert part.child.is_alive()
    assert said == ["The sleeper died: starting it again"]
    part.child.kill()


def test_a_start_that_fails_is_said_and_tried_again(sleeper: Callable[[], Child]):
    said: list[str] = []

    def fail() -> Child:
        raise DependencyDown("no room on the disk")

    part = Part("Redis", _Dead(), start=fail)
    supervisor = Supervisor([part], guard=threading.RLock(), say=said.append)
    supervisor.start()
    assert wait_until(lambda: len(said) >= 2, timeout_s=10, every_s=0.05)
    supervisor.stop()
    assert said[:2] == ["Redis died: starting it again", "Redis doesn't start: no room on the disk"]


def test_stopping_goes_to_its_end_before_an_interruption_counts():
    done: list[str] = []

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        done.append("everything")

    with pytest.raises(KeyboardInterrupt):
        uninterrupted(stop)
    assert done == ["everything"]


def test_what_goes_wrong_while_stopping_is_raised():
    with pytest.raises(ZeroDivisionError):
        uninterrupted(lambda: 1 / 0)
