"""What an operator grants a team: its weight beside other teams, and its quotas."""

from pydantic import Field

from distill.contracts.base import Name, Spec, Stored, Timestamp


class TeamSpec(Spec):
    """What an operator puts; a quota that is left out is no bound."""

    weight: float = Field(default=1.0, ge=0.01, le=100)
    """Its share of a cluster, and of every replica, that several teams want at once: 2 has twice what 1 has."""
    max_jobs: int | None = Field(default=None, ge=0, le=1_000_000)
    """Jobs with an attempt under way, at a time."""
    max_workers: int | None = Field(default=None, ge=0, le=1_000_000)
    """Workers of these jobs together."""
    max_gpus: float | None = Field(default=None, ge=0, le=1_000_000)
    """GPUs of these workers; those of teachers are shared, and nobody's own."""
    max_teacher_rows_per_s: float | None = Field(default=None, ge=0, le=1e12)
    """What these jobs declare in `answers.rows_per_s`; a job with teachers that declares nothing counts for all of it."""
    max_teacher_rows_per_month: int | None = Field(default=None, ge=0, le=10**15)
    """Rows times members that teachers compute for it in a calendar month, UTC; what was known already is free.
    Once they are used up no further job with teachers starts."""

    @property
    def is_metered(self) -> bool:
        """Whether what it has had of teachers this month bounds what it may start."""
        return self.max_teacher_rows_per_month is not None


class TeamRecord(Stored):
    """What is granted to a team."""

    name: Name
    granted: TeamSpec = TeamSpec()
    updated_at: Timestamp | None = None
    """None where nobody has granted anything: all is as by default."""


class TeamHolding(Stored):
    """What a team has of the cluster now."""

    queued: int = 0
    """Jobs in the queue."""
    jobs: int = 0
    """Jobs with an attempt under way."""
    workers: int = 0
    cpus: float = 0.0
    gpus: float = 0.0
    """Of workers; so are the CPUs."""
    teacher_rows_this_month: int = 0
    """Rows times members that were computed for it."""


class TeamAccounts(Stored):
    """How far each team is ahead in the queue: what fairness between teams remembers. See `scheduling.shares`."""

    at: Timestamp
    ahead_s: dict[str, float] = Field(default_factory=dict)
    """Team -> seconds of a whole cluster, by its weight, that it has had more than the waiting team that had the least."""
    pace: dict[str, float] = Field(default_factory=dict)
    """Team -> seconds of a whole cluster, by its weight, that it has in each second from then on."""
