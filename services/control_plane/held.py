"""What a job's attempt held of the cluster, by month: a pure function of its record before and after its end."""

from collections.abc import Iterator
from datetime import UTC, datetime

from distill.contracts import names
from distill.contracts.pool import StudentUsage
from distill.contracts.records import Attempt, JobRecord, Phase

STUDENTS = "students"
"""In a team's usage, where otherwise a teacher's reference stands: no reference is without an ``@``."""

Addition = tuple[str, str, float]
"""Key of a usage hash, field, and what is added there."""


def additions_of(before: JobRecord, after: JobRecord, *, heard_at: datetime) -> list[Addition]:
    """What the fact between these records adds to its team's usage; nothing, unless it ended an attempt."""
    return [
        (names.usage_key(after.team, month), f"{STUDENTS}|{figure}", amount)
        for month, held in held_by_end(before, after, heard_at=heard_at).items()
        for figure, amount in held.model_dump(exclude_defaults=True).items()
    ]


def held_by_end(before: JobRecord, after: JobRecord, *, heard_at: datetime) -> dict[str, StudentUsage]:
    """Month -> what the attempt held in it that ended between these records; empty if none did.

    Args:
        before: the record that the fact was applied to.
        after: what came of it.
        heard_at: when the fact came, by Redis' clock.
    """
    attempt, lived = after.newest, before.newest
    if attempt is None or attempt.outcome is None:
        return {}
    if lived is None or lived.number != attempt.number or lived.outcome is not None:
        return {}
    since, ended_at = _span(attempt, heard_at)
    compute, last = after.spec.compute, f"{ended_at:%Y-%m}"
    held = {last: StudentUsage()}
    for month, seconds in _by_month(since, ended_at):
        worker_seconds = round(seconds * compute.workers, 3)
        held[month] = StudentUsage(
            worker_seconds=worker_seconds,
            cpu_seconds=round(worker_seconds * compute.cpus_per_worker, 3),
            gpu_seconds=round(worker_seconds * compute.gpus_per_worker, 3),
        )
    return held | {last: held[last].model_copy(update={"attempts": 1})}


def _span(attempt: Attempt, heard_at: datetime) -> tuple[datetime, datetime]:
    """From when Ray accepted it, by whoever said so or spoke first, to its end.

    Whatever a worker's clock says: neither before the claim, nor after the end was heard of.
    """
    said_at = attempt.phases[Phase.ENDED]
    claimed_at = attempt.phases.get(Phase.CLAIMED, said_at)
    ended_at = max(claimed_at, min(said_at, heard_at))
    heard = [at for phase, at in attempt.phases.items() if phase not in {Phase.CLAIMED, Phase.ENDED}]
    return max(claimed_at, min(heard, default=ended_at)).astimezone(UTC), ended_at.astimezone(UTC)


def _by_month(start: datetime, end: datetime) -> Iterator[tuple[str, float]]:
    """Each calendar month, UTC, of a span, with the seconds of it that lie in the month; none of one that ends first."""
    while start < end:
        stop = min(end, _next_month(start))
        yield f"{start:%Y-%m}", (stop - start).total_seconds()
        start = stop


def _next_month(at: datetime) -> datetime:
    years, month = divmod(at.month, 12)
    return datetime(at.year + years, month + 1, 1, tzinfo=UTC)
