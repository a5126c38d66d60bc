"""The loop that makes the cluster follow the records and reservations: attempts, generations, teachers, reports.

Only the holder of a short lease in Redis acts, so two control planes at once are safe.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from redis.asyncio import Redis

from distill.contracts.base import now
from distill.contracts.errors import DependencyDown
from distill.contracts.facts import StudyReported
from distill.contracts.records import JobRecord, JobState, StudyRecord
from distill.contracts.teachers import TeacherRecord
from services.control_plane.active_jobs import ActiveJobs
from services.control_plane.attempts import Attempts
from services.control_plane.deleting import Deletion
from services.control_plane.generations import Generations
from services.control_plane.guarded import guarded
from services.control_plane.lease import Lease
from services.control_plane.pool import Pool
from services.control_plane.queue import Foreseen, Queue, Seen
from services.control_plane.ray_rest import ClusterResources, RayRest
from services.control_plane.replicas import Replicas
from services.control_plane.reservations import Reservations
from services.control_plane.scheduling.jobs import Ledger
from services.control_plane.scheduling.policy import decide
from services.control_plane.store import Store
from services.control_plane.strays import Strays
from services.control_plane.teams import Teams
from services.control_plane.webhooks.outbox import Webhooks
from services.reports.write import write_study_report

log = logging.getLogger(__name__)

ROUND_S = 1.0
RESOURCES_AGE_S = 5.0


class Reconciler:
    """Owns no state that matters: everything it knows is read again each round."""

    def __init__(
        self,
        store: Store,
        redis: Redis,
        ray: RayRest,
        reservations: Reservations,
        *,
        storage: Path,
        teacher_idle_s: float,
        door_port: int,
        webhooks: Webhooks | None = None,
    ) -> None:
        """Without ``webhooks`` nobody is told anything."""
        self._webhooks = webhooks
        self._store = store
        self._ray = ray
        self._reservations = reservations
        self._storage = storage
        self._lease = Lease(redis)
        self._jobs = ActiveJobs(store)
        self._attempts = Attempts(store, redis, ray, self._lease, storage=storage)
        self._queue = Queue(store, Teams(redis), self._attempts)
        self._deletion = Deletion(store, redis, drivers=ray.drivers)
        self._strays = Strays(store, ray, self._lease, self._deletion)
        self._generations = Generations(store)
        self._pool = Pool(store, ray, Replicas(redis), self._lease, idle_s=teacher_idle_s, door_port=door_port)
        self._woken = asyncio.Event()
        self._resources: tuple[float, ClusterResources | None] | None = None
        self._asking = asyncio.Lock()

    def wake(self) -> None:
        """Something changed: begin a round now."""
        self._woken.set()

    async def run(self) -> None:
        """Go round until cancelled."""
        while True:
            self._woken.clear()
            if not await guarded("this round", self.round):
                self._attempts.forget()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ROUND_S):  # Python 3.11's wait_for can swallow a cancellation
                    await self._woken.wait()

    async def round(self) -> None:
        """Look at everything that needs care once, if this control plane holds the lease."""
        if not await self._lease.hold():
            self._attempts.forget()
            self._pool.forget()
            return
        jobs = await self._jobs.read()
        self._attempts.keep(jobs)
        await asyncio.gather(*(guarded(f"job {job.id}", self._attempts.tend, job) for job in jobs))
        await guarded("generations", self._generations.tend, jobs)
        if self._webhooks is not None:
            await guarded("webhooks", self._webhooks.tend)
        teachers = await self._store.teachers()
        await guarded("starting jobs", self._start_queued)
        await asyncio.gather(*(guarded(f"teacher {one.name}", self._pool.tend_checks, one) for one in teachers))
        await guarded("deploying teachers", self._deploy, teachers)
        await guarded("drivers that nobody waits for", self._strays.tend)

    async def run_tidying(self) -> None:
        """Tidy up until cancelled, beside the rounds: no job that is to stop waits for a large folder or a report."""
        while True:
            await asyncio.sleep(ROUND_S)
            await guarded("tidying up", self.tidy)

    async def tidy(self) -> None:
        """Remove the files of what is deleted and write the reports that are due, if this control plane holds the lease."""
        if not await self.acts():
            return
        await guarded("files of what is deleted", self._deletion.sweep, self._storage)
        studies = await self._store.studies(await self._store.active("study"))
        for study in studies:
            await guarded(f"the report of {study.id}", self._report, study)

    async def acts(self) -> bool:
        """Whether this control plane is the one that acts."""
        return await self._lease.is_ours()

    async def give_up_lease(self) -> None:
        """Let another control plane act at once."""
        await self._lease.give_up()

    async def resources(self) -> ClusterResources | None:
        """What the cluster has in all; None while Ray doesn't answer, or doesn't know its nodes yet.

        While it hangs one caller at a time waits for it, mostly the round; the others have its silence told at once.
        """
        was_silent = self._resources is not None and self._resources[1] is None
        if was_silent and self._asking.locked():
            return None
        async with self._asking:
            if self._resources is None or time.monotonic() - self._resources[0] > RESOURCES_AGE_S:
                try:
                    found = await self._ray.resources()
                except DependencyDown as error:
                    log.warning("%s", error)
                    self._resources = (time.monotonic(), None)
                    return None
                self._resources = (time.monotonic(), found) if found.cpus else None
            return None if self._resources is None else self._resources[1]

    async def ledger(self) -> Ledger:
        """What there is and who has it, as the queue's policy would be told now; teachers that idle are left out."""
        return (await self._queue.view(await self._see(await self.resources(), {}), now())).ledger

    async def foresee(self, new: Sequence[JobRecord]) -> Foreseen:
        """What would be decided now if these jobs were in the queue too; nothing is changed."""
        total, moment = await self.resources(), now()
        deployed = {} if total is None else await self._ray.applications()
        view = await self._queue.view(await self._see(total, deployed, new), moment)
        return Foreseen(view, decide(view.waiting, view.ledger, moment), deployed)

    async def _start_queued(self) -> None:
        is_queued = any(job.state is JobState.QUEUED for job in await self._jobs.read())
        total = await self.resources() if is_queued else None
        await self._queue.follow(await self._see(total, {} if total is None else await self._pool.replicas()))

    async def _see(
        self, total: ClusterResources | None, deployed: Mapping[str, int], new: Sequence[JobRecord] = ()
    ) -> Seen:
        jobs, teachers = await self._jobs.read(), await self._store.teachers()
        return Seen([*jobs, *new], teachers, await self._reservations.living(), deployed, total)

    async def _deploy(self, teachers: Sequence[TeacherRecord]) -> None:
        jobs, reservations = await self._jobs.read(), await self._reservations.living()
        await self._pool.deploy(jobs, teachers, reservations, total=await self.resources())

    async def _report(self, study: StudyRecord) -> None:
        jobs = await self._store.children(study)
        if all(job.state.is_final for job in jobs.values()):
            folder = await asyncio.to_thread(write_study_report, study, jobs, storage=self._storage)
            await self._store.append("study", study.id, StudyReported(report=folder, at=now()))
