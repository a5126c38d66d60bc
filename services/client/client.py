"""The one public door to a Stillhouse server."""

import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote

import httpx

from distill.contracts.errors import NotFound
from distill.contracts.job import JobSpec
from distill.contracts.lineage import JobLineage
from distill.contracts.measures import Artifact, Snapshot
from distill.contracts.notify import Delivery
from distill.contracts.records import JobRecord, JobState
from distill.contracts.report import Report
from distill.contracts.study import StudySpec
from services.client.download import download
from services.client.following import Followed, follow
from services.client.operating import Operating
from services.client.teaching import Teaching
from services.client.where import find_key, find_server
from services.client.wire import Wire, error_of
from services.control_plane.plans import Plan
from services.control_plane.views import (
    ArtifactList,
    JobPage,
    LogPage,
    SnapshotList,
    StudyPage,
    StudyView,
)

Kind = Literal["job", "study"]
Page = TypeVar("Page", JobPage, StudyPage)
NO_LABELS: Mapping[str, str] = MappingProxyType({})
LOG_POLL_S = 1.0
PATIENCE_S = 45.0
"""A server that dies in the middle of an answer leaves word for 30 s that it still gives it."""


class StillhouseClient(Teaching, Operating):
    """A blocking client; safe to use from one thread at a time.

    Without ``url`` it finds the server itself, without ``key`` its API key (`services.client.where`): this machine's own
    stack needs neither. ``team`` says in whose name an admin asks; left out: the key's own.

    What makes something is sent with a fresh ``Idempotency-Key``, and again where the connection breaks: it is made once.
    With a ``key`` of your own that holds across clients and their restarts, for a day.

    Every method may raise:
        DependencyDown: the server doesn't answer, or one of its own dependencies doesn't.
        StillhouseError: the server refused; the class says why, ``details`` name the field.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        key: str | None = None,
        team: str | None = None,
        timeout_s: float = 30.0,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """``patience_s``: how long one thing that is to be made is asked for again where connection or server fails."""
        found = find_server(url)
        self._wire = Wire(found, timeout_s=timeout_s, patience_s=patience_s, key=key or find_key(found), team=team)
        self._again = partial(StillhouseClient, found, key=key, team=team, timeout_s=timeout_s, patience_s=patience_s)

    @property
    def url(self) -> str:
        """Base URL of the server."""
        return self._wire.url

    def again(self) -> "StillhouseClient":
        """Another client of the same server and key, for another thread."""
        return self._again()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close connections."""
        self._wire.close()

    # Jobs

    def submit_job(self, spec: JobSpec, *, key: str | None = None) -> JobRecord:
        """Queue a job."""
        return self._wire.make(JobRecord, "/v1/jobs", body=spec.model_dump(mode="json"), key=key)

    def plan(self, spec: JobSpec | StudySpec) -> Plan:
        """What would become of a job or a study: refused as a submit would be; nothing is stored."""
        path = "/v1/studies/plan" if isinstance(spec, StudySpec) else "/v1/jobs/plan"
        return self._wire.ask(Plan, "POST", path, body=spec.model_dump(mode="json"))

    def job(self, job: str) -> JobRecord:
        """The stored record."""
        return self._wire.ask(JobRecord, "GET", _path("job", job))

    def jobs(
        self,
        *,
        state: JobState | None = None,
        study: str | None = None,
        teacher: str | None = None,
        labels: Mapping[str, str] = NO_LABELS,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        team: str | None = None,
    ) -> Iterator[JobRecord]:
        """Jobs, newest first, page after page; what they are narrowed to must all hold: ``teacher`` is a ``name@version``."""
        query = _narrowed(state, labels, created_after, created_before, team) | {"study": study, "teacher": teacher}
        for page in self._pages(JobPage, "/v1/jobs", query):
            yield from page.items

    def cancel_job(self, job: str) -> JobRecord:
        """Ask a job to end, keeping a checkpoint."""
        return self._wire.ask(JobRecord, "POST", _path("job", job, "cancel"))

    def pause_job(self, job: str) -> JobRecord:
        """Let a job save a checkpoint and give its resources back."""
        return self._wire.ask(JobRecord, "POST", _path("job", job, "pause"))

    def resume_job(self, job: str) -> JobRecord:
        """Let a paused job go on from its checkpoint."""
        return self._wire.ask(JobRecord, "POST", _path("job", job, "resume"))

    def set_priority(self, job: str, priority: int) -> JobRecord:
        """Let a job start sooner, or later, than others of its team that wait.

        Raises:
            Conflict: it has ended.
        """
        return self._wire.ask(JobRecord, "POST", _path("job", job, "priority"), body={"priority": priority})

    def delete_job(self, job: str) -> None:
        """Forget a job that has ended.

        Raises:
            Conflict: it has not ended, or something refers to it.
        """
        self._wire.send("DELETE", _path("job", job))

    def job_lineage(self, job: str) -> JobLineage:
        """Where its student comes from, and what came of it: one step each way."""
        return self._wire.ask(JobLineage, "GET", _path("job", job, "lineage"))

    # Studies

    def submit_study(self, spec: StudySpec, *, key: str | None = None) -> StudyView:
        """Queue a study and its jobs."""
        return self._wire.make(StudyView, "/v1/studies", body=spec.model_dump(mode="json"), key=key)

    def study(self, study: str) -> StudyView:
        """The study, its jobs and its state."""
        return self._wire.ask(StudyView, "GET", _path("study", study))

    def studies(
        self,
        *,
        state: JobState | None = None,
        labels: Mapping[str, str] = NO_LABELS,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        team: str | None = None,
    ) -> Iterator[StudyView]:
        """Studies, newest first, page after page; what they are narrowed to must all hold."""
        query = _narrowed(state, labels, created_after, created_before, team)
        for page in self._pages(StudyPage, "/v1/studies", query):
            yield from page.items

    def cancel_study(self, study: str) -> StudyView:
        """Ask every job of a study to end."""
        return self._wire.ask(StudyView, "POST", _path("study", study, "cancel"))

    def pause_study(self, study: str) -> StudyView:
        """Pause every job of a study."""
        return self._wire.ask(StudyView, "POST", _path("study", study, "pause"))

    def resume_study(self, study: str) -> StudyView:
        """Let every paused job of a study go on."""
        return self._wire.ask(StudyView, "POST", _path("study", study, "resume"))

    def delete_study(self, study: str) -> None:
        """Forget a study and its own jobs. Raises as `delete_job`."""
        self._wire.send("DELETE", _path("study", study))

    def kind_of(self, identity: str) -> Kind:
        """Whether this is a job or a study.

        Raises:
            NotFound: it is neither.
        """
        try:
            self.study(identity)
        except NotFound:
            try:
                self.job(identity)
            except NotFound as error:
                raise NotFound(f"there is no job and no study {identity!r}", got=identity) from error
            return "job"
        return "study"

    # What they do and leave

    def follow(
        self, kind: Kind, identity: str, *, after: str | None = None, give_up_s: float = 120.0
    ) -> Iterator[Followed]:
        """Everything that happens, from the beginning or after an event id, until the end; survives broken connections.

        Raises:
            DependencyDown: the server was away for ``give_up_s``.
        """
        return follow(self._wire, _path(kind, identity, "events"), after=after, give_up_s=give_up_s)

    def log_pages(self, job: str, *, attempt: int | None = None, follow: bool = False) -> Iterator[LogPage]:
        """An attempt's log (of the newest, if None) page by page: what is there now, or until it is complete."""
        offset = 0
        while True:
            query = {"attempt": attempt, "offset": offset}
            page = self._wire.ask(LogPage, "GET", _path("job", job, "logs"), query=query)
            attempt, offset = page.attempt, page.next_offset
            if page.text:
                yield page
            elif follow and not page.complete:
                time.sleep(LOG_POLL_S)
            if page.complete or not (page.text or follow):
                return

    def log(self, job: str, *, attempt: int | None = None) -> Iterator[str]:
        """All that is in an attempt's log now, part by part."""
        return (page.text for page in self.log_pages(job, attempt=attempt))

    def follow_log(self, job: str, *, attempt: int | None = None) -> Iterator[str]:
        """The log as it grows, until the job ends."""
        query: dict[str, Any] = {"follow": "true"} | ({"attempt": attempt} if attempt else {})
        timeout = httpx.Timeout(None, connect=5.0)  # an idle log may be silent for as long as an epoch takes
        path = _path("job", job, "logs")
        with self._wire.mapped(), self._wire.http.stream("GET", path, params=query, timeout=timeout) as response:
            if not response.is_success:
                response.read()
                raise error_of(response)
            yield from response.iter_text()

    def report(self, kind: Kind, identity: str) -> Report:
        """What was gained and what it cost.

        Raises:
            Conflict: it isn't written yet.
        """
        return self._wire.ask(Report, "GET", _path(kind, identity, "report"))

    def report_markdown(self, kind: Kind, identity: str) -> str:
        """The report as Markdown. Raises as `report`."""
        return self._wire.send("GET", _path(kind, identity, "report"), query={"format": "markdown"}).text

    def report_file(self, kind: Kind, identity: str, file: str) -> bytes:
        """A plot of the report. Raises as `report`, and NotFound."""
        return self._wire.send("GET", _path(kind, identity, "report", file)).content

    def artifacts(self, job: str) -> list[Artifact]:
        """The files that a finished job left.

        Raises:
            Conflict: it has left nothing (yet).
        """
        return self._wire.ask(ArtifactList, "GET", _path("job", job, "artifacts")).items

    def snapshots(self, job: str) -> list[Snapshot]:
        """The weights that a finished job kept of its way, by epoch.

        Raises:
            Conflict: it has left nothing (yet).
        """
        return self._wire.ask(SnapshotList, "GET", _path("job", job, "snapshots")).items

    def download(self, job: str, artifact: Artifact, folder: Path) -> Path:
        """Fetch one of them into ``folder``, and check its digest; returns the file."""
        return download(self._wire, _path("job", job, "artifacts", artifact.name), artifact, folder)

    def webhook(self, kind: Kind, identity: str) -> Delivery:
        """How telling ``notify.url`` of its end goes, or went.

        Raises:
            NotFound: nobody has been told yet, or nobody is to be.
        """
        return self._wire.ask(Delivery, "GET", _path(kind, identity, "webhook"))

    def _pages(self, model: type[Page], path: str, query: Mapping[str, Any]) -> Iterator[Page]:
        cursor: str | None = None
        while True:
            page = self._wire.ask(model, "GET", path, query={**query, "cursor": cursor})
            yield page
            cursor = page.next
            if cursor is None:
                return


def _narrowed(
    state: JobState | None,
    labels: Mapping[str, str],
    created_after: datetime | None,
    created_before: datetime | None,
    team: str | None,
) -> dict[str, Any]:
    return {
        "state": state and state.value,
        "label": [f"{key}={value}" for key, value in labels.items()] or None,
        "created_after": created_after and created_after.isoformat(),
        "created_before": created_before and created_before.isoformat(),
        "team": team,
    }


def _path(kind: Kind, identity: str, *more: str) -> str:
    plural = {"job": "jobs", "study": "studies"}[kind]
    return "/" + "/".join(quote(part, safe="") for part in ("v1", plural, identity, *more))
