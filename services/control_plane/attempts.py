"""Attempts at jobs, made to follow the records: claimed, launched, signalled, declared lost."""

import asyncio
import logging
import time
from collections.abc import Iterable
from pathlib import Path

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import DependencyDown, Problem
from distill.contracts.facts import AttemptClaimed, AttemptLaunched, AttemptLost, QueueReason
from distill.contracts.records import JobRecord, Reason
from services.control_plane.decisions import Confirm, DeclareLost, Launch, Observed, Signal, Wait, decide_attempt
from services.control_plane.guarded import guarded
from services.control_plane.lease import Lease
from services.control_plane.liveness import Silence
from services.control_plane.ray_rest import RayRest
from services.control_plane.store import Store

log = logging.getLogger(__name__)

KILL_AFTER_S = 20
"""A driver that is interrupted ends within a second; one that doesn't is killed after so long."""
STOP_ENVIRONMENT = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(KILL_AFTER_S)}
"""How Ray ends a job of ours. With `SIGNAL_AFTER_S`, and the lease that has to run out, it is gone within 75 s."""
SIGNAL_AGAIN_S = 10.0
"""Ray takes an order to stop without saying when it was carried out: it is repeated until the job has ended."""
INTERRUPTED = Reason(
    code="stopping", text=f"the workers were interrupted through Ray; after {KILL_AFTER_S} s they are killed"
)


class Attempts:
    """Carries out what `decisions` decides."""

    def __init__(self, store: Store, redis: Redis, ray: RayRest, lease: Lease, *, storage: Path) -> None:
        self._store = store
        self._redis = redis
        self._ray = ray
        self._lease = lease
        self._storage = storage
        self._signalled_at: dict[str, float] = {}
        self._silence = Silence()

    def forget(self) -> None:
        """This control plane was cut off, or didn't act: what it knew of attempts' silence counts no longer."""
        self._silence.forget()
        self._signalled_at.clear()

    def keep(self, jobs: Iterable[JobRecord]) -> None:
        """Of these jobs' attempts only is anything remembered."""
        self._silence.keep({names.submission_id(job.id, job.attempt) for job in jobs if job.state.has_attempt})

    async def claim(self, job: JobRecord) -> None:
        """Begin the next attempt at a queued job, and launch it."""
        await self._lease.say("job", job.id, AttemptClaimed(attempt=job.attempt + 1, at=now()))
        await self._store.apply_pending("job", job.id)
        await self.tend(await self._store.job(job.id))

    async def tend(self, job: JobRecord) -> None:
        """What the attempt of a STARTING, RUNNING, PAUSING or CANCELLING job needs now."""
        if not job.state.has_attempt:
            return
        submission = names.submission_id(job.id, job.attempt)
        match decide_attempt(job, await self._observe(job, submission)):
            case Launch():
                await self._launch(job, submission)
            case Confirm():
                await self._confirm(job, submission)
            case Wait(reason=reason):
                await self._say(job, reason)
            case Signal():
                await self._signal(job, submission)
            case DeclareLost(problem=problem):
                await self._declare_lost(job, submission, problem)

    async def _observe(self, job: JobRecord, submission: str) -> Observed:
        heartbeat = await self._redis.get(names.lease_key(job.id))
        has_heartbeat = heartbeat == str(job.attempt)
        silent_s = self._silence.of(submission, has_heartbeat=has_heartbeat)
        try:
            ray = await self._ray.job(submission)
        except DependencyDown as error:
            log.warning("whether attempt %s runs is not known: %s", submission, error)
            ray = None
        return Observed(ray=ray, has_heartbeat=has_heartbeat, silent_s=silent_s, now=now())

    async def _launch(self, job: JobRecord, submission: str) -> None:
        arguments = ["student_worker", "--job", job.id, "--attempt", str(job.attempt)]
        await self._lease.must_hold()
        try:
            await self._ray.submit(submission, arguments, environment=STOP_ENVIRONMENT)
        except DependencyDown as error:
            await self._say(job, Reason(code="waiting_for_cluster", text=error.message))
            return
        await self._confirm(job, submission)

    async def _confirm(self, job: JobRecord, submission: str) -> None:
        fact = AttemptLaunched(attempt=job.attempt, submission_id=submission, at=now())
        await self._store.append("job", job.id, fact)

    async def _signal(self, job: JobRecord, submission: str) -> None:
        if time.monotonic() - self._signalled_at.get(submission, -SIGNAL_AGAIN_S) < SIGNAL_AGAIN_S:
            return
        await self._lease.must_hold()
        await self._ray.stop(submission)
        self._signalled_at[submission] = time.monotonic()
        if job.state.is_stopping:
            await self._say(job, INTERRUPTED)

    async def _say(self, job: JobRecord, reason: Reason) -> None:
        if reason != job.reason:
            await self._store.append("job", job.id, QueueReason(code=reason.code, text=reason.text, at=now()))

    async def _declare_lost(self, job: JobRecord, submission: str, problem: Problem) -> None:
        await self._store.apply_pending("job", job.id)
        current = await self._store.job(job.id)
        if current.attempt != job.attempt or not current.state.has_attempt:
            return
        await guarded(f"keeping what {submission} printed", self._keep_ray_log, job, submission)
        await self._lease.must_hold()
        await self._store.append("job", job.id, AttemptLost(attempt=job.attempt, problem=problem, at=now()))

    async def _keep_ray_log(self, job: JobRecord, submission: str) -> None:
        folder = self._storage / names.attempt_folder(job.id, job.attempt)
        if not (folder / names.LOG_FILE).exists():
            text = await self._ray.logs(submission)
            await asyncio.to_thread(_write_log, folder, text)


def _write_log(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names.LOG_FILE).write_text(text, encoding="utf-8")
