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


class StudentUsage(Stored):
    """What one team's attempts held, from when Ray accepted them to their end, however they ended."""

    attempts: int = 0
    """Those that ended in the month."""
    worker_seconds: float = 0.0
    """Seconds times workers. They count in the month in which they passed, once the attempt has ended."""
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    """Of workers; so are those of CPUs."""


class StorageUsage(Stored):
    """What one team has below the storage root, in bytes."""

    runs_bytes: int = 0
    """Checkpoints, logs and artifacts of its jobs."""
    teachers_bytes: int = 0
    """What checks of its teachers' versions left; their weights are among the artifacts."""
    answers_bytes: int = 0
    """Answer books of its teachers, whoever asked."""
    reports_bytes: int = 0
    measured_at: Timestamp

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.runs_bytes + self.teachers_bytes + self.answers_bytes + self.reports_bytes


class TeamUsage(Stored):
    """What one team had in a month: of the pool, of the cluster and of the storage."""

    team: str
    month: str
    """Such as ``2026-11``, in UTC."""
    teachers: tuple[TeacherUsage, ...] = ()
    students: StudentUsage = StudentUsage()
    storage: StorageUsage | None = None
    """As it was last measured in that month, once an hour; None where it was not, or where the team had nothing."""


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
