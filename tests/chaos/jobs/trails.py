"""What must hold of one job, read from its event log: each check yields what is broken, with the events that show it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from distill.contracts.errors import Interrupted, errors_by_code
from distill.contracts.events import Event
from distill.contracts.facts import AttemptClaimed, AttemptEnded, AttemptLost, EpochEnded, JobCreated, WorkerFact
from distill.contracts.records import JobRecord, JobState, Outcome, Reason, Wish
from services.control_plane.life import EDGES, apply_fact
from tests.chaos.jobs.evidence import Trail


@dataclass(frozen=True)
class Broken:
    """An invariant doesn't hold."""

    job: str
    what: str
    events: tuple[str, ...] = ()
    """Those that show it, as they are stored."""


TrailCheck = Callable[[Trail], Iterator[Broken]]


def states_follow_the_edges(trail: Trail) -> Iterator[Broken]:
    """From QUEUED on, and never a state that the table of `life` has no edge to."""
    if not trail.events or not isinstance(trail.events[0].fact, JobCreated):
        yield _broken(trail, "the log doesn't begin with the job's creation", *trail.events[:1])
    for before, after in pairwise(trail.events):
        assert before.state is not None
        if after.state is not before.state and after.state not in EDGES[before.state]:
            yield _broken(trail, f"from {before.state} to {after.state}", before, after)


def nothing_follows_the_end(trail: Trail) -> Iterator[Broken]:
    """A state that is final is the last one."""
    for before, after in pairwise(trail.events):
        if before.state is not None and before.state.is_final:
            yield _broken(trail, f"something came after {before.state}", before, after)


def revisions_and_ids_rise(trail: Trail) -> Iterator[Broken]:
    """Each revision once and none left out; each id greater than the one before."""
    for (first, before), (second, after) in pairwise(trail.entries):
        if after.revision != before.revision + 1:
            yield _broken(trail, f"revision {after.revision} after {before.revision}", before, after)
        if _parts(second) <= _parts(first):
            yield _broken(trail, f"id {second} after {first}", before, after)


def each_word_of_a_worker_came_once_and_in_order(trail: Trail) -> Iterator[Broken]:
    """Numbers of each writer of each attempt: 1, 2, 3, ... without a hole."""
    newest: dict[tuple[int, str], int] = defaultdict(int)
    for event in trail.events:
        if isinstance(event.fact, WorkerFact):
            writer = event.fact.attempt, event.fact.writer
            if event.fact.number != newest[writer] + 1:
                yield _broken(trail, f"number {event.fact.number} of {writer} after {newest[writer]}", event)
            newest[writer] = event.fact.number


def attempts_are_numbered_without_holes(trail: Trail) -> Iterator[Broken]:
    """Claimed one by one."""
    claims = [event for event in trail.events if isinstance(event.fact, AttemptClaimed)]
    for number, event in enumerate(claims, start=1):
        if event.attempt != number or getattr(event.fact, "attempt", None) != number:
            yield _broken(trail, f"the {number}. claim is of attempt {event.attempt}", event)


def no_word_of_an_attempt_that_counts_no_more(trail: Trail) -> Iterator[Broken]:
    """From its claim to its end an attempt is heard, and not before or after: nothing of a zombie's."""
    counting = 0
    for event in trail.events:
        fact = event.fact
        if isinstance(fact, AttemptClaimed):
            counting = fact.attempt
        elif isinstance(fact, WorkerFact | AttemptLost):
            if fact.attempt != counting:
                yield _broken(trail, f"attempt {fact.attempt} was heard while {counting or 'none'} counted", event)
            if isinstance(fact, AttemptEnded | AttemptLost):
                counting = 0


def epochs_follow_each_other(trail: Trail) -> Iterator[Broken]:
    """Over all attempts: none is missing, and none came twice."""
    epochs = [event for event in trail.events if isinstance(event.fact, EpochEnded)]
    for number, event in enumerate(epochs, start=1):
        if isinstance(event.fact, EpochEnded) and event.fact.epoch != number:
            yield _broken(trail, f"epoch {event.fact.epoch} came as the {number}.", event)
            return


def limits_are_kept(trail: Trail) -> Iterator[Broken]:
    """No attempt after the user's own error, or after more failures or interruptions than the job allows."""
    limits, tries, ended = trail.record.spec.limits, Counter[str](), list[Event]()
    for event in trail.events:
        if isinstance(event.fact, AttemptClaimed) and (
            too_many := _too_many(tries, limits.max_failures, limits.max_preemptions)
        ):
            yield _broken(trail, f"attempt {event.attempt} was claimed after {too_many}", *ended, event)
        if isinstance(event.fact, AttemptEnded | AttemptLost):
            tries[_sort_of(event)] += 1
            ended.append(event)


def the_log_leads_to_the_record(trail: Trail) -> Iterator[Broken]:
    """Its facts, applied one by one to a new job, give what is stored."""
    stored, record = trail.record, _as_created(trail.record)
    for event in trail.events[1:]:
        after = apply_fact(record, event.fact)  # type: ignore[arg-type]  # a job's log has facts of jobs
        if after is record:
            yield _broken(trail, "a fact that changes nothing was published", event)
        record = after.model_copy(update={"revision": record.revision + 1})
        if (record.state, record.attempt, record.revision) != (event.state, event.attempt, event.revision):
            yield _broken(trail, f"an event says {event.state}, and its fact leads to {record.state}", event)
    for field in ("state", "reason", "wish", "attempts", "epochs", "checkpoint", "priority", "revision", "ended_at"):
        if getattr(record, field) != getattr(stored, field):
            yield _broken(trail, f"{field} is {getattr(stored, field)!r}, the log leads to {getattr(record, field)!r}")


def it_has_come_to_rest(trail: Trail) -> Iterator[Broken]:
    """It has ended, or is paused, as somebody wished."""
    record = trail.record
    if not record.state.is_final and (record.state, record.wish) != (JobState.PAUSED, Wish.PAUSE):
        yield _broken(trail, f"it is {record.state}, waiting for: {record.reason.text}", *trail.events[-3:])


TRAIL_CHECKS: Mapping[str, TrailCheck] = {
    "every job has ended, or is paused as asked": it_has_come_to_rest,
    "states follow the edges of a job's life": states_follow_the_edges,
    "what has ended never changes": nothing_follows_the_end,
    "revisions and event ids rise, none left out": revisions_and_ids_rise,
    "each word of a worker is applied once, in order": each_word_of_a_worker_came_once_and_in_order,
    "attempts are numbered without holes": attempts_are_numbered_without_holes,
    "nothing is heard of an attempt that counts no more": no_word_of_an_attempt_that_counts_no_more,
    "epochs follow each other over all attempts": epochs_follow_each_other,
    "retry limits are kept": limits_are_kept,
    "the event log leads to the record": the_log_leads_to_the_record,
}


def _broken(trail: Trail, what: str, *events: Event) -> Broken:
    return Broken(trail.record.id, what, tuple(event.model_dump_json() for event in events))


def _parts(entry: str) -> tuple[int, int]:
    milliseconds, _, number = entry.partition("-")
    return int(milliseconds), int(number)


def _as_created(record: JobRecord) -> JobRecord:
    return JobRecord(
        id=record.id, team=record.team, spec=record.spec, spec_digest=record.spec_digest, priority=record.spec.priority,
        reason=Reason(code="queued", text="waiting for its turn"), created_at=record.created_at,
        updated_at=record.created_at,
    )  # fmt: skip


def _sort_of(event: Event) -> str:
    fact = event.fact
    assert isinstance(fact, AttemptEnded | AttemptLost)
    if isinstance(fact, AttemptEnded) and fact.outcome in {Outcome.WAITED, Outcome.PAUSED}:
        return "harmless"
    kind = errors_by_code().get(fact.problem.code) if fact.problem else None
    if kind is not None and issubclass(kind, Interrupted):
        return "interruptions"
    return "errors of the user" if kind is not None and kind.is_users else "failures"


def _too_many(tries: Counter[str], max_failures: int, max_preemptions: int) -> str:
    if tries["errors of the user"]:
        return "an error of the user"
    if tries["failures"] > max_failures:
        return f"{tries['failures']} failures, and {max_failures} are allowed"
    return f"{tries['interruptions']} interruptions" if tries["interruptions"] > max_preemptions else ""
