"""The queue of jobs, made to follow what `scheduling` decides: jobs are claimed, the others learn what they wait for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.facts import QueueReason
from distill.contracts.pool import Reservation
from distill.contracts.records import JobRecord, JobState
from distill.contracts.teachers import TeacherRecord
from services.control_plane.attempts import Attempts
from services.control_plane.decisions import backs_off, needs
from services.control_plane.deployment import applications_of, served_versions, size_of
from services.control_plane.guarded import guarded
from services.control_plane.ray_rest import ClusterResources
from services.control_plane.scheduling.jobs import Decisions, Job, Ledger, Start, Team, Wait
from services.control_plane.scheduling.policy import decide
from services.control_plane.store import Store
from services.control_plane.teams import Teams

FRONT = 3
"""So many jobs at the head of the queue learn of every change at once."""

SAY_AGAIN_S = 30.0
"""The others learn no more often than this of a new position or other figures; of another reason at once."""

MOST_A_ROUND = 50
"""So many jobs are told something in one round, from the head of the queue on; the others in the next."""


@dataclass(frozen=True)
class Seen:
    """What the queue's turn is decided on, as it was read."""

    jobs: Sequence[JobRecord]
    """Every job that has not ended."""
    teachers: Sequence[TeacherRecord]
    reservations: Sequence[Reservation]
    """Those that live."""
    deployed: Mapping[str, int]
    """Application -> its replicas, of each teacher that is on the cluster."""
    total: ClusterResources | None
    """What the cluster has; None while Ray doesn't answer."""


@dataclass(frozen=True)
class View:
    """What the policy is told."""

    waiting: Sequence[Job]
    ledger: Ledger


@dataclass(frozen=True)
class Foreseen:
    """What the policy would decide of the queue as it is now, with jobs that nobody has submitted."""

    view: View
    decided: Decisions
    deployed: Mapping[str, int]
    """Application -> its replicas, of what is served."""


class Queue:
    """Carries out what the policy decides."""

    def __init__(self, store: Store, teams: Teams, attempts: Attempts) -> None:
        self._store = store
        self._teams = teams
        self._attempts = attempts

    async def follow(self, seen: Seen) -> None:
        """Claim and launch the jobs whose turn it is, and tell the others why they wait."""
        waiting = {job.id: job for job in seen.jobs if is_in_queue(job)}
        if not waiting:
            await self._teams.keep_accounts(None)
            return
        moment = now()
        view = await self.view(seen, moment)
        decided = decide(view.waiting, view.ledger, moment)
        if decided.accounts != view.ledger.accounts:
            await self._teams.keep_accounts(decided.accounts)
        for identity, decision in decided.of_jobs.items():
            if isinstance(decision, Start):
                await guarded(f"starting {identity}", self._attempts.claim, waiting[identity])
        await self._tell(waiting, decided.of_jobs)

    async def view(self, seen: Seen, moment: datetime) -> View:
        """What the policy is told of it."""
        sizes = fewest_sizes(seen.teachers)
        reserved = [as_reserved(one, sizes) for one in seen.reservations]
        running = [*(_as_job(job, sizes, moment) for job in seen.jobs if job.state.has_attempt), *reserved]
        pinned = {name: size for one in reserved for name, size in one.teachers.items()}
        there = {name: size for job in running for name, size in job.teachers.items()} | pinned
        there |= _served(seen.deployed, seen.teachers)
        ledger = Ledger(seen.total, running, there, pinned, await self._granted(), await self._teams.accounts())
        return View([_as_job(job, sizes, moment) for job in seen.jobs if is_in_queue(job)], ledger)

    async def _granted(self) -> dict[str, Team]:
        return {
            team: Team(one.granted, await self._teams.rows_this_month(team) if one.granted.is_metered else 0)
            for team, one in (await self._teams.all()).items()
        }

    async def _tell(self, waiting: Mapping[str, JobRecord], decided: Mapping[str, Start | Wait]) -> None:
        moment = now()
        waits = ((waiting[identity], one) for identity, one in decided.items() if isinstance(one, Wait))
        news = [(job, wait) for job, wait in waits if is_news(job, wait, moment)]
        for job, wait in news[:MOST_A_ROUND]:
            assert wait.reason is not None  # noqa: S101 - else it were no news
            fact = QueueReason(code=wait.reason.code, text=wait.reason.text, at=moment)
            await self._store.append("job", job.id, fact)


def is_in_queue(job: JobRecord) -> bool:
    """Whether the policy decides on it: it waits, and not for the generation before it."""
    return job.state is JobState.QUEUED and not job.awaits_generation


def is_news(job: JobRecord, wait: Wait, moment: datetime) -> bool:
    """Whether a person should be told: each word is a fact in the job's record, and its followers see it."""
    reason = wait.reason
    if reason is None or reason == job.reason:
        return False
    if reason.code != job.reason.code or (wait.position or 1) <= FRONT:
        return True
    return moment - job.updated_at >= timedelta(seconds=SAY_AGAIN_S)


def _as_job(record: JobRecord, sizes: Mapping[str, ClusterResources], moment: datetime) -> Job:
    """What the policy is told of a record; ``sizes``: application -> what its fewest replicas take."""
    return Job(
        id=record.id,
        team=record.team,
        created_at=record.created_at,
        takes=needs(record.spec.compute),
        num_workers=record.spec.compute.workers,
        teachers={name: sizes[name] for name in sorted(applications_of([record])) if name in sizes},
        rows_per_s=record.spec.answers.rows_per_s,
        priority=record.priority,
        not_before=_not_before(record, moment),
    )


def as_reserved(reservation: Reservation, sizes: Mapping[str, ClusterResources]) -> Job:
    """A reservation as the policy sees it: a job without workers, that asks a teacher."""
    application = names.application(reservation.teacher.name, reservation.teacher.version)
    return Job(
        id=reservation.id,
        team=reservation.team,
        created_at=reservation.created_at,
        takes=ClusterResources(),
        num_workers=0,
        teachers={application: sizes[application]} if application in sizes else {},
        rows_per_s=reservation.rows_per_s,
    )


def _not_before(record: JobRecord, moment: datetime) -> datetime | None:
    """Until when it backs off, or since when it is back in the queue; not what a clock that stepped back left."""
    at = record.not_before
    return at if at is not None and (at <= moment or backs_off(record, moment)) else None


def fewest_sizes(teachers: Iterable[TeacherRecord]) -> dict[str, ClusterResources]:
    """Application -> what the fewest replicas take that it may have."""
    return {
        name: size_of(version.resources, version.resources.replicas)
        for name, (_, version) in served_versions(teachers).items()
    }


def _served(deployed: Mapping[str, int], teachers: Iterable[TeacherRecord]) -> dict[str, ClusterResources]:
    versions = served_versions(teachers)
    return {name: size_of(versions[name][1].resources, n) for name, n in deployed.items() if name in versions}
