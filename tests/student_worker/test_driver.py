"""A driver's last word: it waits for Redis as long as the attempt counts, and no longer."""

import threading
import time

import pytest
from redis import Redis

from distill.contracts import names
from distill.contracts.records import Directive, Outcome, Wish
from distill.journal.journal import Journal
from distill.journal.watch import DirectiveWatch
from services.stack.processes import free_ports
from student_worker import driver
from student_worker.driver import _deliver
from student_worker.ending import SUPERSEDED, Ending

JOB = "last-abc234"
PAUSED = Ending(outcome=Outcome.PAUSED)


@pytest.fixture
def away() -> Redis:
    """A Redis that isn't there."""
    return Redis(port=free_ports(1)[0])


def a_watch(redis: Redis, *, counting: int) -> DirectiveWatch:
    """Of attempt 1, while the attempt ``counting`` counts."""
    directive = Directive(version=1, attempt=counting, wish=Wish.RUN)
    redis.set(names.directive_key(JOB), directive.model_dump_json())
    return DirectiveWatch(redis, JOB, attempt=1, keep_lease=True)


def test_it_waits_for_as_long_as_an_attempt_may_be_offline(redis: Redis, away: Redis):
    journal = Journal(away, JOB, attempt=1, writer="driver", max_offline_s=1.5)
    began = time.monotonic()
    with a_watch(redis, counting=1) as watch:
        assert _deliver(PAUSED, 1, journal, watch, threading.Event()) == 1
    assert 1.4 < time.monotonic() - began < 15


@pytest.mark.parametrize("ending", [PAUSED, SUPERSEDED], ids=["it learns so now", "it knew"])
def test_nobody_waits_for_the_word_of_an_attempt_that_counts_no_longer(redis: Redis, away: Redis, ending: Ending):
    with Journal(away, JOB, attempt=1, writer="driver") as journal, a_watch(redis, counting=2) as watch:
        began = time.monotonic()
        assert _deliver(ending, 1, journal, watch, threading.Event()) == 0
    assert time.monotonic() - began < 15


def test_one_that_is_told_to_go_takes_only_a_little_longer(redis: Redis, away: Redis, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(driver, "INTERRUPTED_S", 0.5)
    interrupted = threading.Event()
    interrupted.set()
    with Journal(away, JOB, attempt=1, writer="driver") as journal, a_watch(redis, counting=1) as watch:
        began = time.monotonic()
        assert _deliver(PAUSED, 1, journal, watch, interrupted) == 1
    assert time.monotonic() - began < 15


def test_what_redis_takes_at_last_is_said(redis: Redis):
    with Journal(redis, JOB, attempt=1, writer="driver") as journal, a_watch(redis, counting=1) as watch:
        redis.client_pause(1000)
        assert _deliver(PAUSED, 1, journal, watch, threading.Event()) == 0
    assert redis.xlen(names.inbox_key("job", JOB)) == 1
