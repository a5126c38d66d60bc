"""What the driver hands to every rank: one attempt at one job, as data without secrets."""

from pathlib import Path

from distill.contracts import names
from distill.contracts.base import Stored
from distill.contracts.records import JobRecord

WORKERS_READY_FILE = "workers-ready"
"""In the attempt's folder: rank 0 has taken over, so an end is its to make."""


class Plan(Stored):
    """One attempt."""

    record: JobRecord
    attempt: int
    started_at: float
    """Seconds since 1970 at which the driver started."""
    num_steps: int
    """Of the whole training."""
    checked_at: float
    """Seconds since 1970 at which data and student were found right."""

    @property
    def job(self) -> str:
        """The job's id."""
        return self.record.id

    @property
    def folder(self) -> str:
        """The attempt's folder, below the storage root."""
        return str(names.attempt_folder(self.record.id, self.attempt))

    def folder_in(self, storage: Path) -> Path:
        """The attempt's folder as a path of this node."""
        return storage / self.folder
