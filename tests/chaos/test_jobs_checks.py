"""Each invariant of the chaos run holds of an honest run, and is found broken in one whose log was tampered with."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from distill.contracts.errors import Interrupted, InvalidSpec
from distill.contracts.events import Event
from distill.contracts.facts import (
    AttemptClaimed,
    AttemptEnded,
    AttemptLaunched,
    AttemptLost,
    CheckpointSaved,
    EpochEnded,
    JobCreated,
    JobFact,
    PhaseReached,
)
from distill.contracts.records import CheckpointRef, JobState, Outcome, Phase, Wish
from services.control_plane.life import apply_fact
from tests.chaos.jobs.checks import CHECKS, broken
from tests.chaos.jobs.evidence import Evidence, Run, Submit, Trail
from tests.services.control_plane.records import a_queued_job, at, said
from tests.services.control_plane.test_life import LOST

JOB = "digits-abc234"


def a_trail(*facts: JobFact, **changes: Any) -> Trail:
    """As the control plane would have made it of these facts."""
    record = a_queued_job(JOB, labels={"number": "1"}, **changes)
    events = [_event(record, JobCreated(at=at(0)))]
    for fact in facts:
        after = apply_fact(record, fact)
        assert after is not record, fact
        record = after.model_copy(update={"revision": record.revision + 1})
        events.append(_event(record, fact))
    return Trail(record, [(f"{1000 + number}-0", event) for number, event in enumerate(events)])


def _event(record: Any, fact: Any) -> Event:
    return Event(
        fact=fact, job=record.id, state=record.state, reason=record.reason, attempt=record.attempt,
        revision=record.revision,
    )  # fmt: skip


def an_attempt(number: int, *, since_s: float, first_epoch: int) -> list[JobFact]:
    """Claimed, launched, and two epochs long."""
    moment, checkpoint = at(since_s), {"path": "runs", "digest": "sha256:" + "0" * 64, "step": 1, "attempt": number}
    spoken = [
        PhaseReached(attempt=number, phase=Phase.WORKERS_READY, at=moment),
        EpochEnded(attempt=number, epoch=first_epoch, metrics={}, at=moment),
        CheckpointSaved(attempt=number, checkpoint=CheckpointRef(epoch=first_epoch, **checkpoint), at=moment),
        EpochEnded(attempt=number, epoch=first_epoch + 1, metrics={}, at=moment),
    ]
    begun = [
        AttemptClaimed(attempt=number, at=moment),
        AttemptLaunched(attempt=number, submission_id=f"{JOB}-{number}", at=moment),
    ]
    return [*begun, *(said(fact, place) for place, fact in enumerate(spoken, start=1))]


FIRST = an_attempt(1, since_s=1, first_epoch=1)
SECOND = an_attempt(2, since_s=20, first_epoch=3)
GONE = AttemptLost(attempt=1, problem=LOST, at=at(9))
FINISHED = said(AttemptEnded(attempt=2, outcome=Outcome.FINISHED, at=at(30)), 5)
HONEST = a_trail(*FIRST, GONE, *SECOND, FINISHED)


def a_run(attempt: int, began: float, ended: float | None, **more: Any) -> Run:
    until = None if ended is None else at(ended)
    return Run(f"{JOB}-{attempt}", JOB, attempt, at(began), until, **more)


RUNS = (a_run(1, 1, 8), a_run(2, 20, 31))


def evidence(trail: Trail = HONEST, **changes: Any) -> Evidence:
    """Of a run with this job alone."""
    whole = Evidence(trails={JOB: trail}, stored=frozenset({JOB}), submits=[Submit("1", [JOB, JOB])], runs=RUNS)
    return replace(whole, **changes)


def found(whole: Evidence) -> list[str]:
    """The names of the invariants that are broken."""
    return [name for name, places in broken(whole).items() if places]


def without(trail: Trail, place: int) -> Trail:
    return replace(trail, entries=[*trail.entries[:place], *trail.entries[place + 1 :]])


def with_event(trail: Trail, place: int, **changes: Any) -> Trail:
    """The event at this place is another one."""
    entry, event = trail.entries[place]
    entries = list(trail.entries)
    entries[place] = entry, event.model_copy(update=changes)
    return replace(trail, entries=entries)


def with_fact(trail: Trail, place: int, **changes: Any) -> Trail:
    return with_event(trail, place, fact=trail.entries[place][1].fact.model_copy(update=changes))


def repeated(trail: Trail, place: int) -> Trail:
    """The event at this place comes once more, at the end, with a revision of its own."""
    newest = trail.events[-1]
    again = trail.events[place].model_copy(update={"revision": newest.revision + 1, "state": newest.state})
    return replace(trail, entries=[*trail.entries, ("5000-0", again)])


def place_of(kind: str, nth: int = 0) -> int:
    return [place for place, event in enumerate(HONEST.events) if event.fact.kind == kind][nth]


def test_an_honest_run_breaks_nothing():
    assert found(evidence()) == []


def test_a_job_that_never_ends_is_found():
    assert found(evidence(a_trail(*FIRST), runs=RUNS[:1])) == ["every job has ended, or is paused as asked"]


def test_a_job_that_is_paused_and_nobody_asked_for_it_is_found():
    forgotten = replace(HONEST, record=HONEST.record.model_copy(update={"state": JobState.PAUSED, "wish": Wish.RUN}))
    assert "every job has ended, or is paused as asked" in found(evidence(forgotten))


def test_a_state_that_no_edge_leads_to_is_found():
    tampered = with_event(HONEST, place_of("attempt_claimed"), state=JobState.PAUSED)
    assert "states follow the edges of a job's life" in found(evidence(tampered))


def test_a_log_without_its_beginning_is_found():
    assert "states follow the edges of a job's life" in found(evidence(without(HONEST, 0)))


def test_something_after_the_end_is_found():
    assert "what has ended never changes" in found(evidence(repeated(HONEST, place_of("attempt_lost"))))


@pytest.mark.parametrize("place", [3, 8])
def test_an_event_that_is_left_out_is_found(place: int):
    assert "revisions and event ids rise, none left out" in found(evidence(without(HONEST, place)))


def test_an_id_that_goes_back_is_found():
    entries = [*HONEST.entries[:-1], ("999-7", HONEST.events[-1])]
    assert found(evidence(replace(HONEST, entries=entries))) == ["revisions and event ids rise, none left out"]


def test_a_word_of_a_worker_that_was_applied_twice_is_found():
    tampered = with_fact(HONEST, place_of("checkpoint_saved"), number=2)
    assert "each word of a worker is applied once, in order" in found(evidence(tampered))


def test_a_word_of_a_worker_that_is_lost_is_found():
    tampered = with_fact(HONEST, place_of("epoch_ended", 1), number=5)
    assert "each word of a worker is applied once, in order" in found(evidence(tampered))


def test_an_attempt_that_was_left_out_is_found():
    tampered = with_event(HONEST, place_of("attempt_claimed", 1), attempt=3, fact=AttemptClaimed(attempt=3, at=at(20)))
    assert "attempts are numbered without holes" in found(evidence(tampered))


def test_a_zombie_that_is_heard_after_its_successor_was_claimed_is_found():
    tampered = with_fact(HONEST, place_of("epoch_ended", 2), attempt=1)
    assert "nothing is heard of an attempt that counts no more" in found(evidence(tampered))


def test_an_attempt_that_is_heard_after_its_end_is_found():
    tampered = with_fact(HONEST, place_of("attempt_claimed", 1) - 1, attempt=7)
    assert "nothing is heard of an attempt that counts no more" in found(evidence(tampered))


def test_an_epoch_that_came_twice_is_found():
    tampered = with_fact(HONEST, place_of("epoch_ended", 2), epoch=2)
    assert "epochs follow each other over all attempts" in found(evidence(tampered))


@pytest.mark.parametrize(
    ("last_word", "limits"),
    [
        (GONE, {"max_failures": 0}),
        (said(AttemptEnded(attempt=1, outcome=Outcome.FAILED, problem=InvalidSpec("no").problem(), at=at(9)), 5), {}),
        (
            said(AttemptEnded(attempt=1, outcome=Outcome.FAILED, problem=Interrupted("no").problem(), at=at(9)), 5),
            {"max_preemptions": 0},
        ),
    ],
)
def test_an_attempt_beyond_the_limits_is_found(last_word: Any, limits: dict[str, int]):
    honest = a_trail(*FIRST, last_word, limits=limits)
    assert found(evidence(honest, runs=RUNS[:1])) == []
    claimed = _event(honest.record, SECOND[0]).model_copy(update={"attempt": 2})
    tampered = replace(honest, entries=[*honest.entries, ("5000-0", claimed)])
    assert "retry limits are kept" in found(evidence(tampered))


@pytest.mark.parametrize("changes", [{"priority": 7}, {"epochs": ()}, {"state": JobState.FAILED}, {"revision": 1}])
def test_a_record_that_its_log_does_not_lead_to_is_found(changes: dict[str, Any]):
    tampered = replace(HONEST, record=HONEST.record.model_copy(update=changes))
    assert found(evidence(tampered)) == ["the event log leads to the record"]


def test_a_stale_fact_that_was_published_is_found():
    assert "the event log leads to the record" in found(evidence(repeated(HONEST, place_of("attempt_claimed"))))


@pytest.mark.parametrize(
    "submits",
    [
        [Submit("1", [JOB, "digits-other2"])],
        [Submit("1", [])],
        [Submit("1", ["digits-other2"])],
        [Submit("1", [JOB]), Submit("2", ["digits-other2"])],
        [],
    ],
)
def test_a_submit_that_is_lost_or_answered_otherwise_is_found(submits: list[Submit]):
    assert found(evidence(submits=submits)) == ["each submit that was answered is one job, and answered the same"]


def test_a_submit_that_became_two_jobs_is_found():
    twice = {JOB: HONEST, "digits-other2": HONEST}
    doubled = evidence(trails=twice, stored=frozenset(twice))
    assert "each submit that was answered is one job, and answered the same" in found(doubled)


def test_a_record_that_nobody_deleted_and_is_gone_is_found():
    assert found(evidence(stored=frozenset())) == ["only what was deleted is gone"]
    assert found(evidence(stored=frozenset(), deleted=frozenset({JOB}))) == []


def test_a_record_that_is_there_though_it_was_said_to_be_deleted_is_found():
    both = frozenset({JOB})
    assert found(evidence(deleted=both, gone=both)) == ["only what was deleted is gone"]


def test_a_cancellation_that_was_forgotten_is_found():
    paused = replace(HONEST, record=HONEST.record.model_copy(update={"state": JobState.PAUSED, "wish": Wish.PAUSE}))
    assert "whose cancellation was taken has ended" in found(evidence(paused, cancelled=frozenset({JOB})))


@pytest.mark.parametrize("runs", [RUNS[:1], (*RUNS, RUNS[1]), (*RUNS, a_run(3, 40, 41))])
def test_a_ray_job_that_is_missing_double_or_nobodys_is_found(runs: tuple[Run, ...]):
    assert "one Ray job for each attempt" in found(evidence(runs=runs))


def test_an_older_attempt_that_works_on_beside_a_newer_one_is_found():
    both = (a_run(1, 1, 29), RUNS[1])
    assert found(evidence(runs=both)) == ["no two attempts work at once beyond the lease"]
    asleep: list[tuple[datetime, datetime]] = [(at(5), at(26))]
    assert found(evidence(runs=(a_run(1, 1, 29, frozen=asleep), RUNS[1]))) == []
    assert found(evidence(runs=both, redis_away=asleep)) == []


def test_a_process_that_is_left_over_is_found():
    assert found(evidence(runs=(RUNS[0], a_run(2, 20, None)))) == ["no process is left"]


@pytest.mark.parametrize(
    ("what", "invariant"),
    [
        ("unlisted", "lists and sets say what the records say"),
        ("waiting", "every inbox is empty"),
        ("keys_for_ever", "every key is permanent by list, or ends"),
        ("keys_of_deleted", "every key is permanent by list, or ends"),
        ("audit_faults", "the audit log is whole"),
        ("tracebacks", "no traceback, and no unexpected answer"),
        ("surprises", "no traceback, and no unexpected answer"),
    ],
)
def test_what_is_left_in_redis_or_said_is_found(what: str, invariant: str):
    assert found(evidence(**{what: ["something"]})) == [invariant]


def test_every_invariant_is_broken_by_a_test_above():
    here = Path(__file__).read_text()
    assert [name for name in CHECKS if f'"{name}"' not in here] == []
