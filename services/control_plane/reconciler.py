"""The loop that makes the cluster follow the records: it launches, watches, deploys teachers and writes reports.

Only the holder of a short lease in Redis acts, so two control planes at once are safe.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import DependencyDown, Problem
from distill.contracts.facts import (
    AttemptClaimed,
    AttemptLaunched,
    AttemptLost,
    CheckLaunched,
    QueueReason,
    StudyReported,
    VersionRejected,
)
from distill.contracts.records import JobRecord, JobState
from distill.contracts.teachers import TeacherRecord, TeacherVersion, TeacherVersionState
from services.control_plane import deployment
from services.control_plane.decisions import (
    Claim,
    DeclareLost,
    Launch,
    Observed,
    Signal,
    Wait,
    decide_attempt,
    decide_queued,
    needs,
)
from services.control_plane.ray_rest import ClusterResources, RayRest
from services.control_plane.store import Store
from services.reports.write import write_study_report

log = logging.getLogger(__name__)

ROUND_S = 1.0
LEASE_S = 10.0
RESOURCES_AGE_S = 5.0
SERVE_CHECK_S = 10.0
STOP_ENVIRONMENT = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "60"}


class Reconciler:
    """Owns no state that matters: everything it knows is read again each round."""

    def __init__(self, store: Store, redis: Redis, ray: RayRest, *, storage: Path, teacher_idle_s: float) -> None:
        self._store = store
        self._redis = redis
        self._ray = ray
        self._storage = storage
        self._teacher_idle_s = teacher_idle_s
        self._token = uuid.uuid4().hex
        self._woken = asyncio.Event()
        self._resources: tuple[float, ClusterResources] | None = None
        self._last_needed: dict[str, datetime] = {}
        self._put: dict[str, Any] | None = None
        self._serve_checked_at = 0.0
        self._signalled: set[str] = set()

    def wake(self) -> None:
        """Something changed: begin a round now."""
        self._woken.set()

    async def run(self) -> None:
        """Go round until cancelled."""
        while True:
            self._woken.clear()
            try:
                if await self._hold_lease():
                    await self._round()
            except (RedisError, DependencyDown, OSError) as error:
                log.warning("this round was cut short: %s", error)
            except Exception:
                log.exception("a round failed; the next one begins anew")
            try:
                await asyncio.wait_for(self._woken.wait(), ROUND_S)
            except TimeoutError:
                continue

    async def give_up_lease(self) -> None:
        """Let another control plane act at once."""
        if await self._redis.get(names.RECONCILER_KEY) == self._token:
            await self._redis.delete(names.RECONCILER_KEY)

    async def _hold_lease(self) -> bool:
        milliseconds = int(LEASE_S * 1000)
        if await self._redis.set(names.RECONCILER_KEY, self._token, nx=True, px=milliseconds):
            return True
        if await self._redis.get(names.RECONCILER_KEY) != self._token:
            return False
        await self._redis.pexpire(names.RECONCILER_KEY, milliseconds)
        return True

    async def _round(self) -> None:
        jobs = await self._active_jobs()
        teachers = await self._store.teachers()
        for job in jobs:
            if job.state.has_attempt:
                await self._tend_attempt(job)
        await self._start_queued(await self._active_jobs(), teachers)
        await self._tend_checks(teachers)
        await self._deploy(await self._active_jobs(), teachers)
        await self._report_studies()

    async def _active_jobs(self) -> list[JobRecord]:
        identities = await self._store.active("job")
        for identity in identities:
            await self._store.apply_pending("job", identity)
        jobs = await self._store.jobs(identities)
        return sorted((job for job in jobs if not job.state.is_final), key=lambda job: (job.created_at, job.id))

    async def _start_queued(self, jobs: Sequence[JobRecord], teachers: Sequence[TeacherRecord]) -> None:
        if not any(job.state is JobState.QUEUED for job in jobs):
            return
        free = await self._free(jobs, teachers)
        for job in jobs:
            if job.state is not JobState.QUEUED:
                continue
            match decide_queued(job, free=free, now=now()):
                case Claim():
                    await self._store.append("job", job.id, AttemptClaimed(attempt=job.attempt + 1, at=now()))
                    await self._tend_attempt(await self._store.job(job.id))
                    taken = needs(job.spec.compute)
                    free = free and ClusterResources(cpus=free.cpus - taken.cpus, gpus=free.gpus - taken.gpus)
                case Wait(reason=reason) if reason != job.reason:
                    await self._store.append("job", job.id, QueueReason(code=reason.code, text=reason.text, at=now()))

    async def _free(self, jobs: Sequence[JobRecord], teachers: Sequence[TeacherRecord]) -> ClusterResources | None:
        total = await self.resources()
        if total is None:
            return None
        replicas = deployment.taken(self._last_needed, teachers)
        running = [needs(job.spec.compute) for job in jobs if job.state.has_attempt]
        return ClusterResources(
            cpus=total.cpus - replicas.cpus - sum(one.cpus for one in running),
            gpus=total.gpus - replicas.gpus - sum(one.gpus for one in running),
        )

    async def resources(self) -> ClusterResources | None:
        """What the cluster has in all; None while Ray doesn't answer."""
        if self._resources is None or time.monotonic() - self._resources[0] > RESOURCES_AGE_S:
            try:
                self._resources = (time.monotonic(), await self._ray.resources())
            except DependencyDown as error:
                log.warning("%s", error)
                return None
        return self._resources[1]

    async def _tend_attempt(self, job: JobRecord) -> None:
        submission = names.submission_id(job.id, job.attempt)
        match decide_attempt(job, await self._observe(job, submission)):
            case Launch():
                await self._launch(job, submission)
            case Signal() if submission not in self._signalled:
                self._signalled.add(submission)
                await self._ray.stop(submission)
            case DeclareLost(problem=problem):
                await self._declare_lost(job, submission, problem)

    async def _observe(self, job: JobRecord, submission: str) -> Observed:
        heartbeat = await self._redis.get(names.lease_key(job.id))
        try:
            ray = await self._ray.job(submission)
        except DependencyDown as error:
            log.warning("attempt %s is neither alive nor dead to us: %s", submission, error)
            ray = None
        return Observed(ray=ray, has_heartbeat=heartbeat == str(job.attempt), now=now())

    async def _launch(self, job: JobRecord, submission: str) -> None:
        arguments = ["student_worker", "--job", job.id, "--attempt", str(job.attempt)]
        await self._ray.submit(submission, arguments, environment=STOP_ENVIRONMENT)
        fact = AttemptLaunched(attempt=job.attempt, submission_id=submission, at=now())
        await self._store.append("job", job.id, fact)

    async def _declare_lost(self, job: JobRecord, submission: str, problem: Problem) -> None:
        await self._store.apply_pending("job", job.id)
        current = await self._store.job(job.id)
        if current.attempt != job.attempt or not current.state.has_attempt:
            return
        await self._keep_ray_log(job, submission)
        await self._store.append("job", job.id, AttemptLost(attempt=job.attempt, problem=problem, at=now()))

    async def _keep_ray_log(self, job: JobRecord, submission: str) -> None:
        folder = self._storage / names.attempt_folder(job.id, job.attempt)
        if not (folder / names.LOG_FILE).exists():
            text = await self._ray.logs(submission)
            await asyncio.to_thread(_write_log, folder, text)

    async def _tend_checks(self, teachers: Sequence[TeacherRecord]) -> None:
        for teacher in teachers:
            await self._store.apply_pending("teacher", teacher.name)
            for version in teacher.versions:
                if version.state is TeacherVersionState.CHECKING:
                    await self._tend_check(teacher, version)

    async def _tend_check(self, teacher: TeacherRecord, version: TeacherVersion) -> None:
        submission = names.check_submission_id(teacher.name, version.version)
        if not version.check_launched:
            arguments = ["teacher_server.check", "--teacher", teacher.name, "--version", str(version.version)]
            await self._ray.submit(submission, arguments, environment=STOP_ENVIRONMENT)
            await self._store.append("teacher", teacher.name, CheckLaunched(version=version.version, at=now()))
            return
        ray = await self._ray.job(submission)
        if not ray.state.has_ended:
            return
        await self._store.apply_pending("teacher", teacher.name)
        tail = (await self._ray.logs(submission))[-2000:]
        problem = Problem(
            code="check_lost", message=f"the check ended ({ray.state.value}) without a verdict: {ray.message} {tail}"
        )
        fact = VersionRejected(version=version.version, problem=problem, at=now())
        await self._store.append("teacher", teacher.name, fact)

    async def _deploy(self, jobs: Sequence[JobRecord], teachers: Sequence[TeacherRecord]) -> None:
        if self._put is None:  # what another control plane deployed counts as needed until now
            self._last_needed = dict.fromkeys(await self._ray.applications(), now())
        self._last_needed |= dict.fromkeys(deployment.needed_applications(jobs), now())
        self._last_needed = deployment.drop_idle(self._last_needed, now=now(), idle_s=self._teacher_idle_s)
        config = deployment.serve_config(set(self._last_needed), teachers)
        is_due = time.monotonic() - self._serve_checked_at > SERVE_CHECK_S
        if config == self._put and not is_due:
            return
        wanted = {application["name"] for application in config["applications"]}
        if config != self._put or set(await self._ray.applications()) != wanted:
            if not await self._hold_lease():
                return
            await self._ray.put_applications(config)
        self._put = config
        self._serve_checked_at = time.monotonic()

    async def _report_studies(self) -> None:
        for study in await self._store.studies(await self._store.active("study")):
            jobs = {role: await self._store.job(identity) for role, identity in study.jobs.items()}
            if all(job.state.is_final for job in jobs.values()):
                folder = await asyncio.to_thread(write_study_report, study, jobs, storage=self._storage)
                await self._store.append("study", study.id, StudyReported(report=folder, at=now()))


def _write_log(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names.LOG_FILE).write_text(text)
