"""The teacher pool, made to follow the records: versions are checked, and what jobs and reservations need is served."""

import logging
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import Problem
from distill.contracts.facts import VersionRejected
from distill.contracts.pool import Reservation
from distill.contracts.records import JobRecord
from distill.contracts.teachers import TeacherRecord, TeacherVersion, TeacherVersionState
from services.control_plane.attempts import STOP_ENVIRONMENT
from services.control_plane.deployment import drop_idle, needed_applications, serve_config
from services.control_plane.lease import Lease
from services.control_plane.ray_rest import ClusterResources, RayJobState, RayRest, asked_replicas
from services.control_plane.replicas import Replicas
from services.control_plane.store import Store

log = logging.getLogger(__name__)

SERVE_CHECK_S = 10.0
"""How often what Serve has is compared with what it should have."""

CHECK_GRACE_S = 15.0
"""A check that Ray calls FAILED may still give its verdict for so long."""


class Pool:
    """Checks of versions, and the set of Serve applications."""

    def __init__(
        self,
        store: Store,
        ray: RayRest,
        replicas: Replicas,
        lease: Lease,
        *,
        idle_s: float,
        door_port: int,
    ) -> None:
        self._store = store
        self._ray = ray
        self._replicas = replicas
        self._idle_s = idle_s
        self._door_port = door_port
        self._lease = lease
        self._failed_since: dict[str, float] = {}
        self._last_needed: dict[str, datetime] | None = None
        self._put: dict[str, Any] | None = None
        self._compared_at = 0.0

    def forget(self) -> None:
        """Another control plane acts: what it does to the set is looked at anew before this one acts again."""
        self._last_needed = None
        self._put = None

    async def replicas(self) -> dict[str, int]:
        """Application -> its replicas, of what is served or about to be."""
        await self._look()
        return self._replicas.counts

    async def tend_checks(self, teacher: TeacherRecord) -> None:
        """Launch the checks of new versions; reject a version whose check died without a verdict."""
        await self._store.apply_pending("teacher", teacher.name)
        for version in teacher.versions:
            if version.state is TeacherVersionState.CHECKING:
                await self._tend_check(teacher, version)

    async def deploy(
        self,
        jobs: Sequence[JobRecord],
        teachers: Sequence[TeacherRecord],
        reservations: Sequence[Reservation],
        *,
        total: ClusterResources | None,
    ) -> None:
        """Serve what attempts and reservations need, in the right number; keep what they needed lately, drop the rest.

        Raises:
            LeaseLost: another control plane changes the set now.
        """
        last_needed = await self._look() | dict.fromkeys(needed_applications(jobs, reservations), now())
        self._last_needed = drop_idle(last_needed, now=now(), idle_s=self._idle_s)
        await self._replicas.follow(self._last_needed, jobs, teachers, reservations, total=total)
        config = serve_config(
            self._replicas.counts,
            teachers,
            door_port=self._door_port,
            has_door=names.DOOR_APPLICATION in self._last_needed,
        )
        if config == self._put and not await self._has_drifted(config):
            return
        await self._lease.must_hold()
        log.info("Serve is asked for %s", _in_words(config))
        await self._ray.put_applications(config)
        self._put = config

    async def _look(self) -> dict[str, datetime]:
        """When what is served was last needed; what another control plane deployed counts as needed until now."""
        if self._last_needed is None:
            served = await self._ray.applications()
            self._replicas.adopt(served)
            self._last_needed = dict.fromkeys(served, now())
        return self._last_needed

    async def _has_drifted(self, config: dict[str, Any]) -> bool:
        if time.monotonic() - self._compared_at < SERVE_CHECK_S:
            return False
        self._compared_at = time.monotonic()
        return await self._ray.applications() != asked_replicas(config["applications"])

    async def _tend_check(self, teacher: TeacherRecord, version: TeacherVersion) -> None:
        submission = names.check_submission_id(teacher.name, version.version)
        ray = await self._ray.job(submission)
        if ray.state is RayJobState.ABSENT:  # not yet launched, or forgotten by a cluster that was started again
            arguments = ["teacher_server.check", "--teacher", teacher.name, "--version", str(version.version)]
            await self._lease.must_hold()
            await self._ray.submit(submission, arguments, environment=STOP_ENVIRONMENT)
            return
        if not self._has_ended(submission, ray.state):
            return
        await self._store.apply_pending("teacher", teacher.name)
        tail = (await self._ray.logs(submission))[-2000:]
        problem = Problem(
            code="check_lost", message=f"the check ended ({ray.state.value}) without a verdict: {ray.message} {tail}"
        )
        self._failed_since.pop(submission, None)
        fact = VersionRejected(version=version.version, problem=problem, at=now())
        await self._store.append("teacher", teacher.name, fact)

    def _has_ended(self, submission: str, state: RayJobState) -> bool:
        """Ray may wrongly say FAILED while its own control store fails over: a verdict that comes meanwhile counts."""
        if state is RayJobState.FAILED:
            moment = time.monotonic()
            return moment - self._failed_since.setdefault(submission, moment) >= CHECK_GRACE_S
        return state.has_ended


def _in_words(config: dict[str, Any]) -> str:
    counts = asked_replicas(config["applications"])
    return ", ".join(f"{name} x {count}" for name, count in counts.items()) or "no teacher"
