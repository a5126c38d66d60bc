"""What the teacher pool says of itself, and what others may ask of it: load, usage, reservations."""

from pydantic import Field

from distill.contracts.base import Spec, Stored, Timestamp
from distill.contracts.job import TeacherRef
from distill.contracts.teachers import ResolvedTeacher


class ReplicaLoad(Stored):
    """One replica, as it says about once a second."""

    replica: str
    queued_rows: int
    """Rows that wait for the device, or are on it."""
    rows_per_s: float
    """Rows computed a second, over the last few seconds; 0 for an idle one."""
    busy: float = Field(ge=0, le=1)
    """Share of these seconds in which the device computed."""
    at: Timestamp


class TeacherUsage(Stored):
    """What one team had of one teacher."""

    teacher: str
    """``name@version``."""
    rows_computed: int = 0
    """Rows times members."""
    rows_recalled: int = 0
    """Rows times members that the answer book knew, or that were computed for somebody else."""
    device_seconds: float = 0.0
    refusals: int = 0
    """Windows refused because the queue was full or their deadline had passed."""


class TeamUsage(Stored):
    """What one team had of the pool in a month."""

    team: str
    month: str
    """Such as ``2026-11``, in UTC."""
    teachers: tuple[TeacherUsage, ...] = ()


class ReservationSpec(Spec):
    """What a training loop of one's own posts before it asks a teacher."""

    teacher: TeacherRef
    rows_per_s: float = Field(gt=0, le=1e9)
    """How many rows the loop can take a second: counts as demand as a job's does."""


class Reservation(Stored):
    """A promise to keep a teacher there; it ends by itself unless it is renewed."""

    id: str
    team: str
    teacher: ResolvedTeacher
    rows_per_s: float
    created_at: Timestamp
    expires_at: Timestamp
    door: str
    """Base URL of the pool's HTTP door, such as ``http://127.0.0.1:8471/v1/pool``."""
