"""The journal: facts leave in order, and nobody waits for a Redis that hangs."""

import time

from redis import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.facts import FACT, Fact, PhaseReached
from distill.contracts.records import Phase, Progress
from distill.journal.journal import Journal
from services.stack.processes import free_ports

PHASES = [Phase.STARTED, Phase.CHECKED, Phase.TRAINING]


def figures(step: int) -> Progress:
    return Progress(attempt=1, phase="training", step=step, num_steps=9, epoch=0, num_epochs=1, at=now())


def told(redis: Redis, job: str) -> list[Fact]:
    return [FACT.validate_json(fields["fact"]) for _, fields in redis.xrange(names.inbox_key("job", job))]


def shown(redis: Redis, job: str) -> list[int]:
    entries = redis.xrange(names.progress_key(job))
    return [Progress.model_validate_json(fields["progress"]).step for _, fields in entries]


def test_facts_arrive_in_order_and_numbered(redis: Redis):
    with Journal(redis, "ordered", attempt=1, writer="rank-0") as journal:
        for phase in PHASES:
            journal.append(PhaseReached(attempt=1, at=now(), phase=phase))
    facts = told(redis, "ordered")
    assert [(fact.phase, fact.number, fact.writer) for fact in facts if isinstance(fact, PhaseReached)] == [
        (phase, number, "rank-0") for number, phase in enumerate(PHASES, start=1)
    ]


def test_a_redis_that_hangs_stops_nobody_and_gets_everything_afterwards(redis: Redis):
    with Journal(redis, "hangs", attempt=1, writer="rank-0") as journal:
        redis.client_pause(2000)
        began = time.monotonic()
        journal.append(PhaseReached(attempt=1, at=now(), phase=Phase.TRAINING))
        journal.progress(figures(step=1))
        journal.progress(figures(step=2))
        assert time.monotonic() - began < 1
    assert [fact.kind for fact in told(redis, "hangs")] == ["phase_reached"]
    assert shown(redis, "hangs") == [1, 2]


def test_what_redis_does_not_take_is_kept_for_as_long_as_an_attempt_may_be_offline():
    away = Redis(port=free_ports(1)[0])
    journal = Journal(away, "away", attempt=1, writer="rank-0", max_offline_s=1.5)
    journal.append(PhaseReached(attempt=1, at=now(), phase=Phase.TRAINED))
    began = time.monotonic()
    journal.close()
    assert 1.4 < time.monotonic() - began < 15


def test_of_figures_that_could_not_be_shown_the_newest_are_kept(redis: Redis):
    with Journal(redis, "newest", attempt=1, writer="rank-0") as journal:
        redis.client_pause(500)
        for step in range(100):
            journal.progress(figures(step=step))
    steps = shown(redis, "newest")
    assert steps[-1] == 99
    assert len(steps) < 20
