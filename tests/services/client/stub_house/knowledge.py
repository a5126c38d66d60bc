"""What the stub of the control plane knows: tests write it before they ask, and read afterwards what was asked."""

import hashlib
from typing import Any, Literal

from distill.contracts.audit import Entry
from distill.contracts.errors import NotFound, StillhouseError
from distill.contracts.job import JobSpec
from distill.contracts.keys import KeyRotation, KeyView
from distill.contracts.lineage import JobLineage, VersionLineage
from distill.contracts.measures import Artifact, Snapshot
from distill.contracts.notify import Delivery
from distill.contracts.pool import Reservation, TeamUsage
from distill.contracts.records import JobRecord, JobState, StudyRecord
from distill.contracts.study import StudySpec
from distill.contracts.teachers import TeacherRecord, TeacherVersionSpec
from distill.contracts.teams import TeamSpec
from services.control_plane.plans import Plan
from services.control_plane.views import AliasTarget, AuditVerdict, Removed, StudyView, study_state
from tests.services.client.stub_house.records import NOON, SPEC, Sent, a_short_life

Wish = Literal["cancel", "pause", "resume"]
LEADS_TO: dict[Wish, JobState] = {
    "cancel": JobState.CANCELLING,
    "pause": JobState.PAUSING,
    "resume": JobState.QUEUED,
}


class House:
    """What the server says; tests write it before they ask, and read afterwards what was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.jobs: dict[str, JobRecord] = {}
        self.studies: dict[str, StudyRecord] = {}
        self.teachers: dict[str, TeacherRecord] = {}
        self.snapshots: dict[str, list[Snapshot]] = {}
        """Of each job."""
        self.reservations: dict[str, Reservation] = {}
        self.usage = TeamUsage(team="default", month="2026-01")
        self.lineages: dict[str, JobLineage | VersionLineage] = {}
        """Of jobs, and of versions as ``name@version``."""
        self.plan = Plan(jobs={}, reused={}, quotas=[])
        """Of whatever is planned."""
        self.planned: list[JobSpec | StudySpec] = []
        self.teams: dict[str, TeamSpec] = {}
        """What each is granted."""
        self.keys: dict[str, KeyView] = {}
        self.rotations: list[KeyRotation] = []
        self.moved: list[AliasTarget] = []
        self.audit: list[Entry] = []
        """The log, in order."""
        self.verdict = AuditVerdict(
            whole=True, num_entries=2, head="2:sha256:" + "5" * 64, num_unanswered=0, unanswered=[]
        )
        self.garbage: list[Removed] = []
        self.published: list[TeacherVersionSpec] = []
        self.deliveries: dict[str, Delivery] = {}
        """Of each job or study whose end somebody was told of."""
        self.files: dict[str, bytes] = {}
        self.digests: dict[str, str] = {}
        self.sent: list[Sent] = a_short_life()
        self.breaks: list[int] = []
        """After so many events, or so many bytes of a file, the connection ends: one number for each request."""
        self.full = 0
        """So many followers find no place."""
        self.refusals: dict[str, StillhouseError] = {}
        self.log = "first line\nsecond line\n"
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        """Method, path with query, headers."""

    def refuse(self, path: str) -> None:
        """Raise what this path is to be refused with, if it is."""
        if path in self.refusals:
            raise self.refusals[path]

    def add(self, job: JobRecord) -> JobRecord:
        """Know a job."""
        self.jobs[job.id] = job
        return job

    def obey(self, job: str, wish: Wish) -> JobRecord:
        """Put a job where somebody wants it."""
        return self.add(known(self.jobs, job).model_copy(update={"state": LEADS_TO[wish]}))

    def view(self, study: str) -> StudyView:
        """A study as the API shows it."""
        children = {role: self.jobs[job] for role, job in self.studies[study].jobs.items()}
        return StudyView(study=self.studies[study], state=study_state(children), children=children)

    def add_study(self, identity: str, *jobs: JobRecord) -> None:
        """Know a study of these jobs."""
        roles = {self.add(job).role: job.id for job in jobs}
        spec = StudySpec(name="digits", job=SPEC)
        self.studies[identity] = StudyRecord(id=identity, spec=spec, jobs=roles, created_at=NOON, updated_at=NOON)

    def artifact(self, name: str) -> Artifact:
        """A file that the job left."""
        content = self.files[name]
        digest = self.digests.get(name, "sha256:" + hashlib.sha256(content).hexdigest())
        return Artifact(name=name, path=name, size_bytes=len(content), digest=digest, media_type="text/plain")


def known(things: dict[str, Any], identity: str) -> Any:
    """The thing of that identity. Raises NotFound."""
    if identity not in things:
        raise NotFound(f"there is no {identity!r}", got=identity)
    return things[identity]
