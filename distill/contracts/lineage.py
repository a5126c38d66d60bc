"""Where a student or a teacher comes from, and what came of it: one step in each direction.

Only the team's own jobs are named. Of what there may be many, the newest `MOST_LINKS` are.
"""

from distill.contracts.base import Stored
from distill.contracts.records import JobState
from distill.contracts.teachers import TeacherVersionState

MOST_LINKS = 100


class JobLink(Stored):
    """A job."""

    id: str
    state: JobState | None = None
    """None: it is deleted."""


class VersionLink(Stored):
    """A version of a teacher."""

    teacher: str
    version: int
    state: TeacherVersionState | None = None
    """None: the teacher is another team's, and hidden."""

    @property
    def reference(self) -> str:
        """``name@version``."""
        return f"{self.teacher}@{self.version}"


class MemberLink(Stored):
    """What a member of a teacher was made of; nothing is said of another team's."""

    job: JobLink | None = None
    """Its student is the member."""
    epoch: int | None = None
    """Of that job, where it is one of its snapshots."""
    file: str | None = None
    """Below the data root."""


class JobLinks(Stored):
    """Jobs, the newest first."""

    items: list[JobLink]
    more: bool = False
    """Whether there are older ones."""


class VersionLinks(Stored):
    """Versions of teachers, those of the newest teacher first."""

    items: list[VersionLink]
    more: bool = False
    """Whether there are others."""


class JobLineage(Stored):
    """Where a job's student comes from, and what came of it."""

    job: JobLink
    study: str | None
    role: str
    """In the study."""
    baselines: list[JobLink]
    """What the study compares it with: the same student, of the same seed, without teachers."""
    taught_by: list[VersionLink]
    begins_from: list[JobLink]
    """Their weights are what it, or a peer of it, begins from."""
    generation_before: JobLink | None
    """Its student is the only teacher."""
    published_as: VersionLinks
    """Versions of which it is a member."""
    begun: JobLinks
    """Jobs that begin from its weights."""
    generations_after: JobLinks


class VersionLineage(Stored):
    """Where a teacher's version comes from, and whom it taught."""

    version: VersionLink
    members: list[MemberLink]
    """In order."""
    students: JobLinks
    """The team's jobs that learned from it, or will."""
