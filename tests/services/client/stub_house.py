"""A small real HTTP server that speaks as the control plane does, with a past that each test writes."""

import hashlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import uvicorn
from fastapi import FastAPI, Header, Request, Response
from fastapi.responses import StreamingResponse

from distill.contracts.audit import Entry
from distill.contracts.base import digest_of
from distill.contracts.errors import Conflict, NotFound, StillhouseError, TooManyStreams
from distill.contracts.events import Event, ProgressEvent
from distill.contracts.facts import AttemptClaimed, EpochEnded, JobCreated
from distill.contracts.job import JobSpec
from distill.contracts.keys import KeyRotation, KeySpec, KeyView, NewKey, new_key
from distill.contracts.measures import Artifact, Snapshot
from distill.contracts.notify import Delivery
from distill.contracts.pool import Reservation, ReservationSpec, TeamUsage
from distill.contracts.records import JobRecord, JobState, Progress, Reason, StudyRecord
from distill.contracts.study import StudySpec
from distill.contracts.teachers import (
    TeacherRecord,
    TeacherSpec,
    TeacherVersion,
    TeacherVersionSpec,
    TeacherVersionState,
)
from distill.contracts.teams import TeamHolding, TeamRecord, TeamSpec
from services.control_plane import problems
from services.control_plane.audit.chain import START, seal, to_line
from services.control_plane.heads import Shown, page_of
from services.control_plane.views import (
    AliasTarget,
    ArtifactList,
    AuditVerdict,
    Collected,
    JobPage,
    JobPriority,
    KeyList,
    LogPage,
    Removed,
    ReservationList,
    SnapshotList,
    StudyPage,
    StudyView,
    TeacherList,
    TeamList,
    TeamView,
    study_state,
)
from tests.services.control_plane.records import a_reservation

KEY_ID = "abcdefghjk"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SPEC = JobSpec.model_validate(
    {"name": "digits", "dataset": {"source": "digits"}, "student": {"source": "zoo", "name": "mlp"}}
)
Sent = tuple[str | None, str, dict[str, Any]]


def a_job(identity: str = "digits-abc123", *, state: JobState = JobState.QUEUED, **more: Any) -> JobRecord:
    """A record with nothing special."""
    fields = {"spec": SPEC, "spec_digest": digest_of(SPEC), "created_at": NOON, "updated_at": NOON}
    reason = Reason(code="test", text="because the test says so")
    return JobRecord(id=identity, state=state, reason=reason, **(fields | more))


def an_event(fact: Any, *, job: str = "digits-abc123", state: JobState = JobState.RUNNING) -> Event:
    """A published fact."""
    return Event(fact=fact, job=job, role="student", state=state, reason=Reason(code="x", text="going on"), revision=1)


def a_short_life(*, end: JobState = JobState.SUCCEEDED) -> list[Sent]:
    """What a follower of a small job is sent."""
    facts = [
        JobCreated(at=NOON),
        AttemptClaimed(attempt=1, at=NOON),
        EpochEnded(attempt=1, epoch=1, metrics={"train_loss": 0.5, "validation_accuracy": 0.875}, at=NOON),
    ]
    sent: list[Sent] = [
        (f"{n}-0", fact.kind, an_event(fact).model_dump(mode="json")) for n, fact in enumerate(facts, 1)
    ]
    now = Progress(
        attempt=1, phase="training", step=5, num_steps=10, epoch=0, num_epochs=1, rows_per_s=1000, eta_s=65, at=NOON
    )
    live = ProgressEvent(job="digits-abc123", role="student", progress=now)
    sent.insert(2, (None, "progress", live.model_dump(mode="json")))
    return [*sent, (None, "end", {"state": end.value})]


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

    def add(self, job: JobRecord) -> JobRecord:
        """Know a job."""
        self.jobs[job.id] = job
        return job

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


def _known(things: dict[str, Any], identity: str) -> Any:
    if identity not in things:
        raise NotFound(f"there is no {identity!r}", got=identity)
    return things[identity]


def make_app(house: House) -> FastAPI:  # noqa: PLR0915 - one route after the other
    """The routes, over what ``house`` knows."""
    app = FastAPI()
    problems.install(app)

    @app.middleware("http")
    async def note(request: Request, call_next: Any) -> Any:
        query = f"?{request.url.query}" if request.url.query else ""
        house.asked.append((request.method, request.url.path + query, dict(request.headers)))
        return await call_next(request)

    def refuse(path: str) -> None:
        if path in house.refusals:
            raise house.refusals[path]

    @app.post("/v1/jobs", status_code=202)
    def submit_job(spec: JobSpec) -> JobRecord:
        refuse("/v1/jobs")
        return house.add(a_job(f"{spec.name}-abc123", spec=spec))

    @app.get("/v1/jobs")
    def list_jobs(state: str | None = None, cursor: int = 0) -> JobPage:
        kept = [job for job in house.jobs.values() if state in {None, job.state.value}]
        following = str(cursor + 2) if len(kept) > cursor + 2 else None
        return JobPage(items=kept[cursor : cursor + 2], next=following)

    @app.get("/v1/jobs/{job}")
    def read_job(job: str) -> JobRecord:
        return _known(house.jobs, job)

    @app.delete("/v1/jobs/{job}", status_code=204)
    def delete_job(job: str) -> None:
        refuse(f"/v1/jobs/{job}")
        del house.jobs[_known(house.jobs, job).id]

    @app.delete("/v1/studies/{study}", status_code=204)
    def delete_study(study: str) -> None:
        del house.studies[_known(house.studies, study).id]

    @app.post("/v1/jobs/{job}/cancel", status_code=202)
    def cancel_job(job: str) -> JobRecord:
        return house.add(_known(house.jobs, job).model_copy(update={"state": JobState.CANCELLING}))

    @app.post("/v1/jobs/{job}/pause", status_code=202)
    def pause_job(job: str) -> JobRecord:
        return house.add(_known(house.jobs, job).model_copy(update={"state": JobState.PAUSING}))

    @app.post("/v1/jobs/{job}/resume", status_code=202)
    def resume_job(job: str) -> JobRecord:
        return house.add(_known(house.jobs, job).model_copy(update={"state": JobState.QUEUED}))

    @app.post("/v1/jobs/{job}/priority", status_code=202)
    def set_priority(job: str, wanted: JobPriority) -> JobRecord:
        return house.add(_known(house.jobs, job).model_copy(update={"priority": wanted.priority}))

    @app.get("/v1/jobs/{job}/events")
    @app.get("/v1/studies/{job}/events")
    def events(job: str, last_event_id: str = Header("0-0")) -> StreamingResponse:
        if house.full:
            house.full -= 1
            raise TooManyStreams("there is no place for another follower")
        return StreamingResponse(_events(house, last_event_id), media_type="text/event-stream")

    @app.get("/v1/jobs/{job}/logs")
    def logs(job: str, offset: int = 0, follow: bool = False) -> Any:
        _known(house.jobs, job)
        if follow:
            return Response(house.log, media_type="text/plain")
        text = house.log[offset : offset + 11]
        after = offset + len(text)
        return LogPage(
            job=job, attempt=1, offset=offset, next_offset=after, text=text, complete=after == len(house.log)
        )

    @app.get("/v1/{kind}/{identity}/report")
    def report(kind: str, identity: str) -> Response:
        if identity not in house.jobs | house.studies:
            raise NotFound(f"there is no {identity!r}")
        if identity not in house.files:
            raise Conflict(f"{identity} is RUNNING; its report is written when it has ended")
        return Response(house.files[identity], media_type="text/markdown")

    @app.get("/v1/jobs/{job}/webhook")
    def webhook(job: str) -> Delivery:
        return Delivery(
            id=f"msg_job_{_known(house.jobs, job).id}", state="delivered", host="x", tries=1, last_try_at=NOON
        )

    @app.get("/v1/jobs/{job}/artifacts")
    def artifacts(job: str) -> ArtifactList:
        return ArtifactList(items=[house.artifact(name) for name in house.files])

    @app.get("/v1/jobs/{job}/snapshots")
    def snapshots(job: str) -> SnapshotList:
        return SnapshotList(items=house.snapshots[_known(house.jobs, job).id])

    @app.get("/v1/jobs/{job}/artifacts/{name}")
    def artifact(job: str, name: str, byte_range: str = Header("bytes=0-", alias="Range")) -> Response:
        start = int(byte_range.removeprefix("bytes=").partition("-")[0])
        content = house.files[name][start:]
        headers = {"ETag": f'"{house.artifact(name).digest}"', "Content-Length": str(len(content))}
        if house.breaks:
            return StreamingResponse(_torn(content[: house.breaks.pop(0)]), 206 if start else 200, headers)
        return Response(content, 206 if start else 200, headers)

    @app.post("/v1/studies", status_code=202)
    def submit_study(spec: StudySpec) -> StudyView:
        house.add_study(
            f"{spec.name}-s1",
            *(a_job(f"{key}-j1", role=key, spec=spec.spec_of(c, study="s")) for key, c in spec.children().items()),
        )
        return house.view(f"{spec.name}-s1")

    @app.get("/v1/studies")
    def list_studies() -> StudyPage:
        return StudyPage(items=[house.view(study) for study in house.studies])

    @app.get("/v1/studies/{study}")
    def read_study(study: str) -> StudyView:
        _known(house.studies, study)
        return house.view(study)

    @app.post("/v1/studies/{study}/cancel", status_code=202)
    def cancel_study(study: str) -> StudyView:
        for job in _known(house.studies, study).jobs.values():
            cancel_job(job)
        return house.view(study)

    @app.post("/v1/studies/{study}/{wish}", status_code=202)
    def pause_or_resume_study(study: str, wish: str) -> StudyView:
        for job in _known(house.studies, study).jobs.values():
            {"pause": pause_job, "resume": resume_job}[wish](job)
        return house.view(study)

    @app.post("/v1/teachers", status_code=201)
    def create(spec: TeacherSpec) -> TeacherRecord:
        if spec.name in house.teachers:
            raise Conflict(f"the name {spec.name} is taken", field="name", got=spec.name)
        house.teachers[spec.name] = TeacherRecord(name=spec.name, created_at=NOON, updated_at=NOON)
        return house.teachers[spec.name]

    @app.get("/v1/teachers")
    def list_teachers() -> TeacherList:
        return TeacherList(items=list(house.teachers.values()))

    @app.get("/v1/teachers/{name}")
    def read_teacher(name: str) -> TeacherRecord:
        return _known(house.teachers, name)

    @app.post("/v1/teachers/{name}/versions", status_code=202)
    def publish(name: str, spec: TeacherVersionSpec) -> TeacherVersion:
        teacher = _known(house.teachers, name)
        house.published.append(spec)
        version = TeacherVersion(version=1, members=(), resources=spec.resources, alias=spec.alias, created_at=NOON)
        house.teachers[name] = teacher.model_copy(update={"versions": (version,)})
        return version

    @app.get("/v1/teachers/{name}/versions/{number}")
    def read_version(name: str, number: int) -> TeacherVersion:
        version = _known(house.teachers, name).versions[0]
        is_checked = version.state is TeacherVersionState.CHECKING
        return version.model_copy(update={"state": TeacherVersionState.READY}) if is_checked else version

    @app.delete("/v1/teachers/{name}/versions/{number}", status_code=204)
    def delete_version(name: str, number: int) -> None:
        teacher = _known(house.teachers, name)
        gone = teacher.versions[number - 1].model_copy(update={"state": TeacherVersionState.DELETED})
        house.teachers[name] = teacher.model_copy(update={"versions": (gone,)})

    @app.put("/v1/teachers/{name}/aliases/{alias}")
    def move_alias(name: str, alias: str, target: AliasTarget) -> TeacherRecord:
        house.moved.append(target)
        return _known(house.teachers, name)

    @app.post("/v1/reservations", status_code=201)
    def reserve(spec: ReservationSpec) -> Reservation:
        made = a_reservation(f"wise-{len(house.reservations) + 1}", rows_per_s=spec.rows_per_s)
        house.reservations[made.id] = made
        return made

    @app.get("/v1/reservations")
    def list_reservations() -> ReservationList:
        return ReservationList(items=list(house.reservations.values()))

    @app.get("/v1/reservations/{reservation}")
    @app.post("/v1/reservations/{reservation}/renew")
    def read_or_renew(reservation: str) -> Reservation:
        return _known(house.reservations, reservation)

    @app.delete("/v1/reservations/{reservation}", status_code=204)
    def end_reservation(reservation: str) -> None:
        del house.reservations[_known(house.reservations, reservation).id]

    @app.post("/v1/keys", status_code=201)
    def create_key(spec: KeySpec) -> NewKey:
        view = KeyView(
            id=KEY_ID, team=spec.team or "default", name=spec.name, scopes=spec.scopes, created_at=NOON,
            expires_at=spec.expires_at,
        )  # fmt: skip
        house.keys[view.id] = view
        return NewKey(key=new_key(view.id), record=view)

    @app.get("/v1/keys")
    def list_keys() -> KeyList:
        return KeyList(items=list(house.keys.values()))

    @app.post("/v1/keys/{key}/rotate")
    def rotate_key(key: str, rotation: KeyRotation) -> NewKey:
        house.rotations.append(rotation)
        return NewKey(key=new_key(key), record=_known(house.keys, key))

    @app.delete("/v1/keys/{key}")
    def revoke_key(key: str) -> KeyView:
        house.keys[key] = _known(house.keys, key).model_copy(update={"revoked_at": NOON})
        return house.keys[key]

    @app.post("/v1/gc")
    def collect(dry_run: bool = False) -> Collected:
        freed_bytes = sum(one.size_bytes for one in house.garbage)
        return Collected(dry_run=dry_run, removed=house.garbage, freed_bytes=freed_bytes, orphans={"runs/late": NOON})

    @app.get("/v1/audit")
    def read_audit(cursor: int = 0) -> Response:
        links = seal(house.audit, START)[::-1]
        shown = [Shown(str(link.number), to_line(link)) for link in links[cursor : cursor + 2]]
        return Response(page_of(shown, str(cursor + 2) if len(links) > cursor + 2 else None))

    @app.get("/v1/audit/verify")
    def verify_audit() -> AuditVerdict:
        return house.verdict

    @app.get("/v1/usage")
    def usage() -> TeamUsage:
        return house.usage

    @app.get("/v1/teams")
    def list_teams() -> TeamList:
        return TeamList(items=[read_team(team) for team in house.teams])

    @app.get("/v1/teams/{team}")
    def read_team(team: str) -> TeamView:
        record = TeamRecord(name=team, granted=house.teams.get(team, TeamSpec()))
        return TeamView(team=record, has=TeamHolding(queued=3, jobs=2, workers=4, cpus=2.0))

    @app.put("/v1/teams/{team}")
    def grant(team: str, granted: TeamSpec) -> TeamRecord:
        house.teams[team] = granted
        return TeamRecord(name=team, granted=granted, updated_at=NOON)

    return app


async def _events(house: House, last: str) -> AsyncIterator[str]:
    remaining = house.breaks.pop(0) if house.breaks else len(house.sent)
    after = int(last.partition("-")[0])
    for identity, name, data in house.sent:
        if identity is not None and int(identity.partition("-")[0]) <= after:
            continue
        if remaining == 0:
            return
        remaining -= 1
        yield (f"id: {identity}\n" if identity else "") + f"event: {name}\ndata: {json.dumps(data)}\n\n: alive\n\n"


async def _torn(content: bytes) -> AsyncIterator[bytes]:
    """Less than the header promised: the server then drops the connection."""
    yield content


@contextmanager
def serving(house: House) -> Iterator[House]:
    """``house`` on a free port of the loopback address."""
    config = uvicorn.Config(make_app(house), host="127.0.0.1", port=0, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    house.url = f"http://127.0.0.1:{socket.getsockname()[1]}"
    try:
        yield house
    finally:
        server.should_exit = True
        thread.join()
        socket.close()
