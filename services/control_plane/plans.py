"""What a dry run answers: what would be started, what only an attempt can tell, how long the queue is, what quota is left."""

from pydantic import Field

from distill.contracts.base import Stored
from distill.contracts.records import Reason


class PlannedTeacher(Stored):
    """A teacher that a job would ask."""

    reference: str
    """Name and version, such as ``digits@3``."""
    members: int
    replicas: int
    """The fewest that there would be."""
    replicas_there: int
    """Of them, those that are there or on their way; None are started where these are enough."""
    max_replicas: int
    cpus: float
    """Of one replica; so are the GPUs, the bytes and the rows."""
    gpus: float
    weights_bytes: int
    memory_bytes: int | None = Field(
        description="Weights, and what the largest device batch holds beside them, in proportion to what one of 64 rows "
        "was measured to hold. None: it was not measured."
    )
    rows_per_s: float
    """As the version's check measured it, with all members."""


class PlannedPlace(Stored):
    """Where a job would stand in the queue if it came now."""

    starts: bool
    """At once: its workers and the replicas that it needs fit, and its team's quotas allow it."""
    position: int | None = None
    """Among ``num_waiting``; None of one that starts, or waits for something other than its turn."""
    num_waiting: int
    """All teams' jobs that would wait in the line then."""
    reason: Reason | None = None
    """What it would wait for."""


class PlannedJob(Stored):
    """What would become of one job."""

    workers: int
    cpus: float
    """Of all workers together; so are the GPUs."""
    gpus: float
    teachers: list[PlannedTeacher]
    rows_per_s: float | None
    """What its teachers answer at most, with their fewest replicas; the slowest decides. None: nobody is asked."""
    declared_rows_per_s: float | None
    """What the job file says that its student takes (``answers.rows_per_s``)."""
    place: PlannedPlace
    deferred: list[str]
    """What only the attempt's check can tell, once it has the data."""


class PlannedQuota(Stored):
    """A quota of the team, and what all jobs of the plan would count against it."""

    what: str = Field(description="`jobs`, `workers`, `gpus`, `rows_per_s`, or `rows_per_month`.")
    granted: float
    used: float
    needed: float | None = Field(
        description="By all of the plan together; None of rows a month: that shows only later."
    )


class Plan(Stored):
    """A dry run's verdict; where a submit would be refused, the answer is that refusal instead."""

    jobs: dict[str, PlannedJob] = Field(
        description="Role in the study, `student` of a job alone -> what becomes of it."
    )
    reused: dict[str, str] = Field(description="Role -> job of an earlier study that stands for it.")
    quotas: list[PlannedQuota] = Field(description="Those that are granted; without any nothing is bounded.")
