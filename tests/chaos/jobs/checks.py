"""What must hold of a whole run: of every job, of all submits, of what Ray ran, and of what is left in Redis."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise

from distill.contracts import names
from distill.contracts.facts import AttemptClaimed, AttemptLaunched
from tests.chaos.jobs.evidence import Evidence, Run, Span
from tests.chaos.jobs.trails import TRAIL_CHECKS, Broken

SLACK_S = 5.0
"""Beyond its lease: a worker looks each quarter of a second, and a busy machine takes its time."""

Check = Callable[[Evidence], Iterator[Broken]]


def each_submit_is_one_job(evidence: Evidence) -> Iterator[Broken]:
    """Nothing that was answered is lost, nothing is there twice, and a key is always answered the same."""
    made = Counter(trail.record.spec.labels.get("number", "") for trail in evidence.trails.values())
    for submit in evidence.submits:
        answers = sorted(set(submit.answers))
        if len(answers) != 1:
            yield Broken(submit.key, f"its key was answered {answers or 'nothing'}")
        yield from (Broken(job, "it was answered, and is lost") for job in answers if job not in evidence.trails)
        if made[submit.key] > 1:
            yield Broken(submit.key, f"there are {made[submit.key]} jobs of it")
    unknown = made.keys() - {submit.key for submit in evidence.submits}
    yield from (Broken(number, "nobody submitted it") for number in sorted(unknown))


def only_what_was_deleted_is_gone(evidence: Evidence) -> Iterator[Broken]:
    """A job without a record is one whose deletion was asked for; one of which that was said has none."""
    for job in sorted(evidence.trails.keys() - evidence.stored - evidence.deleted):
        yield Broken(job, "its record is gone, and nobody had it deleted")
    for job in sorted(evidence.gone & evidence.stored):
        yield Broken(job, "a user was told that it is deleted, and it is there")


def whose_cancellation_was_taken_has_ended(evidence: Evidence) -> Iterator[Broken]:
    """Whatever happened since."""
    for job in sorted(evidence.cancelled & evidence.trails.keys()):
        if not evidence.trails[job].record.state.is_final:
            yield Broken(job, f"its cancellation was taken, and it is {evidence.trails[job].record.state}")


def one_ray_job_for_each_attempt(evidence: Evidence) -> Iterator[Broken]:
    """Each that was launched ran once; none ran that was not claimed."""
    runs = Counter(run.submission for run in evidence.runs)
    claimed: set[str] = set()
    for job, trail in evidence.trails.items():
        for event in trail.events:
            submission = names.submission_id(job, event.attempt)
            if isinstance(event.fact, AttemptClaimed):
                claimed.add(submission)
            if isinstance(event.fact, AttemptLaunched) and runs[submission] != 1:
                shown = (event.model_dump_json(),)
                yield Broken(job, f"{submission} was launched, and Ray ran it {runs[submission]} times", shown)
    for submission, count in runs.items():
        if submission not in claimed or count > 1:
            yield Broken(submission, f"Ray ran it {count} times, and {int(submission in claimed)} are claimed")


def no_two_attempts_work_beyond_the_lease(evidence: Evidence) -> Iterator[Broken]:
    """Once a newer attempt runs, an older one ends within its lease: time that it was frozen, or cut off, not counted."""
    by_job: dict[str, list[Run]] = {}
    for run in sorted(evidence.runs, key=lambda run: run.began):
        by_job.setdefault(run.job, []).append(run)
    for runs in by_job.values():
        for older, newer in pairwise(runs):
            last = older.ended or newer.ended or newer.began
            overlap_s = _awake_s(newer.began, last, [*older.frozen, *evidence.redis_away])
            if overlap_s > evidence.lease_s + SLACK_S:
                what = f"{older.submission} went on for {overlap_s:.1f} s beside {newer.submission}"
                yield Broken(older.job, what)


def no_process_is_left(evidence: Evidence) -> Iterator[Broken]:
    """All workers have ended."""
    yield from (Broken(run.job, f"{run.submission} still runs") for run in evidence.runs if run.ended is None)


def indexes_say_what_the_records_say(evidence: Evidence) -> Iterator[Broken]:
    """The lists by state, and the set of jobs that need care."""
    yield from (Broken("", fault) for fault in evidence.unlisted)


def inboxes_are_empty(evidence: Evidence) -> Iterator[Broken]:
    """What anybody said is applied, or passed over."""
    yield from (Broken(job, "its inbox still holds something") for job in evidence.waiting)


def keys_are_permanent_by_list_or_end(evidence: Evidence) -> Iterator[Broken]:
    """And a job that is deleted has none."""
    yield from (Broken("", f"{key} has no time to live") for key in evidence.keys_for_ever)
    yield from (Broken("", f"{key} is of a deleted job") for key in evidence.keys_of_deleted)


def the_audit_log_is_whole(evidence: Evidence) -> Iterator[Broken]:
    """Its chain of hashes, however often its writers were killed."""
    yield from (Broken("", fault) for fault in evidence.audit_faults)


def nothing_unexpected_was_said(evidence: Evidence) -> Iterator[Broken]:
    """Neither a traceback in a control plane's log, nor an answer to a user that isn't one of a trouble."""
    yield from (Broken("", text) for text in (*evidence.tracebacks, *evidence.surprises))


def _of_each(check: Callable[..., Iterator[Broken]]) -> Check:
    def of_each(evidence: Evidence) -> Iterator[Broken]:
        for trail in evidence.trails.values():
            yield from check(trail)

    return of_each


CHECKS: Mapping[str, Check] = {
    "each submit that was answered is one job, and answered the same": each_submit_is_one_job,
    "only what was deleted is gone": only_what_was_deleted_is_gone,
    **{name: _of_each(check) for name, check in TRAIL_CHECKS.items()},
    "whose cancellation was taken has ended": whose_cancellation_was_taken_has_ended,
    "one Ray job for each attempt": one_ray_job_for_each_attempt,
    "no two attempts work at once beyond the lease": no_two_attempts_work_beyond_the_lease,
    "no process is left": no_process_is_left,
    "lists and sets say what the records say": indexes_say_what_the_records_say,
    "every inbox is empty": inboxes_are_empty,
    "every key is permanent by list, or ends": keys_are_permanent_by_list_or_end,
    "the audit log is whole": the_audit_log_is_whole,
    "no traceback, and no unexpected answer": nothing_unexpected_was_said,
}


def broken(evidence: Evidence) -> dict[str, list[Broken]]:
    """Name of each invariant -> where it is broken."""
    return {name: list(check(evidence)) for name, check in CHECKS.items()}


def _awake_s(begin: datetime, end: datetime, asleep: Sequence[Span]) -> float:
    """Seconds between both that lie in none of these spans."""
    awake, reached = 0.0, begin
    for first, last in sorted(asleep):
        awake += max(0.0, (min(first, end) - reached).total_seconds())
        reached = max(reached, min(last, end))
    return awake + max(0.0, (end - reached).total_seconds())
