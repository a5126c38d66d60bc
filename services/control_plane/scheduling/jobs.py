"""What the queue's policy is told, and what it answers: jobs, the ledger of the cluster, decisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from distill.contracts.records import Reason
from distill.contracts.teams import TeamAccounts, TeamSpec
from services.control_plane.ray_rest import ClusterResources
from services.control_plane.scheduling.words import Why, in_words


@dataclass(frozen=True)
class Job:
    """A job as the queue sees it, whether it waits or has an attempt under way; a reservation is one without workers."""

    id: str
    team: str
    created_at: datetime
    takes: ClusterResources
    """Its workers, together."""
    num_workers: int = 1
    teachers: Mapping[str, ClusterResources] = field(default_factory=dict)
    """Application -> what the fewest replicas take that it may have."""
    rows_per_s: float | None = None
    """What it declares to ask of its teachers."""
    priority: int = 0
    not_before: datetime | None = None
    """It backs off until then."""

    @property
    def is_reservation(self) -> bool:
        """Whether it only asks teachers."""
        return self.num_workers == 0

    @property
    def waits_since(self) -> datetime:
        """Since when nothing but room and turn is in its way."""
        return max(self.created_at, self.not_before or self.created_at)


@dataclass(frozen=True)
class Team:
    """What a team may have, and what it has had of this month's quota."""

    granted: TeamSpec = field(default_factory=TeamSpec)
    rows_this_month: int = 0

    @property
    def quotas(self) -> dict[str, float]:
        """Key of `words.QUOTAS` -> the bound, of those that are granted."""
        bounds = {
            "jobs": self.granted.max_jobs,
            "workers": self.granted.max_workers,
            "gpus": self.granted.max_gpus,
            "rows_per_s": self.granted.max_teacher_rows_per_s,
        }
        return {what: float(bound) for what, bound in bounds.items() if bound is not None}

    def counts(self, job: Job) -> dict[str, float]:
        """What a job of the team counts against each quota."""
        undeclared = self.granted.max_teacher_rows_per_s or 1.0  # of none at all it would be something
        declared = undeclared if job.rows_per_s is None else job.rows_per_s
        rows_per_s = declared if job.teachers else 0.0
        return {
            "jobs": int(not job.is_reservation),
            "workers": job.num_workers,
            "gpus": job.takes.gpus,
            "rows_per_s": rows_per_s,
        }


@dataclass(frozen=True)
class Ledger:
    """What there is, and who has it."""

    total: ClusterResources | None
    """Of the cluster; None while that isn't known."""
    running: Sequence[Job] = ()
    """The jobs with an attempt under way, and the reservations that live."""
    there: Mapping[str, ClusterResources] = field(default_factory=dict)
    """Application -> what its replicas take, of all that are there or are on their way."""
    pinned: Mapping[str, ClusterResources] = field(default_factory=dict)
    """Application -> what its fewest replicas take, of those that stay whatever jobs do: somebody has reserved them."""
    teams: Mapping[str, Team] = field(default_factory=dict)
    """Those that somebody has granted something; others have the defaults."""
    accounts: TeamAccounts | None = None
    """As the decision before left them; None where no team waited for room."""


@dataclass(frozen=True)
class Start:
    """Begin the next attempt: its workers and the replicas that it needs fit together."""


@dataclass(frozen=True)
class Wait:
    """Stay in the queue."""

    why: Why
    position: int | None = None
    """From 1, among ``num_waiting``; None of a job that isn't in line: it backs off, or Ray is silent."""
    num_waiting: int = 0

    @property
    def reason(self) -> Reason | None:
        """Why, for a person; None where the record says so already, since the job backs off."""
        return in_words(self.why, position=self.position, num_waiting=self.num_waiting)


@dataclass(frozen=True)
class Decisions:
    """One for each job of the queue, in the order in which they were looked at."""

    of_jobs: Mapping[str, Start | Wait]
    accounts: TeamAccounts | None
    """To be handed in again the next time."""
