"""How many replicas each served teacher has, from round to round: what `scaling` decides, within the room there is."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from redis.asyncio import Redis

from distill.contracts.base import now
from distill.contracts.pool import Reservation
from distill.contracts.records import JobRecord
from distill.contracts.teachers import TeacherRecord
from services.control_plane.decisions import needs, waits_for_room
from services.control_plane.deployment import applications_of, fewest, served_versions, taken
from services.control_plane.measured import read_loads
from services.control_plane.ray_rest import ClusterResources
from services.control_plane.scaling import Scale, decide_scale, demand_of, fit


class Replicas:
    """Remembers since when each teacher has had too few or too many."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._scales: dict[str, Scale] = {}

    @property
    def counts(self) -> dict[str, int]:
        """Application -> replicas that were last asked for."""
        return {name: scale.replicas for name, scale in self._scales.items()}

    def adopt(self, counts: Mapping[str, int]) -> None:
        """Take over what another control plane has asked for."""
        self._scales = {name: Scale(count) for name, count in counts.items()}

    async def follow(
        self,
        applications: Iterable[str],
        jobs: Sequence[JobRecord],
        teachers: Sequence[TeacherRecord],
        reservations: Sequence[Reservation],
        *,
        total: ClusterResources | None,
    ) -> None:
        """Decide anew for the teachers among ``applications``; the others are forgotten.

        While it isn't known what the cluster has (``total`` is None) all stays as it is, and a new teacher has its fewest.
        """
        few = fewest(applications, teachers)
        if total is None:
            self._scales = {name: self._scales.get(name, Scale(count)) for name, count in few.items()}
            return
        spare = total - spoken_for(jobs, teachers, few.keys(), now=now())
        versions = served_versions(teachers)
        resources = {name: versions[name][1].resources for name in few}
        self._scales = fit(await self._decide(few, jobs, teachers, reservations), resources, spare=spare)

    async def _decide(
        self,
        applications: Iterable[str],
        jobs: Sequence[JobRecord],
        teachers: Sequence[TeacherRecord],
        reservations: Sequence[Reservation],
    ) -> dict[str, Scale]:
        versions, demand = served_versions(teachers), demand_of(jobs, reservations)
        loads = await read_loads(self._redis, applications, now=now())
        decided = {}
        for name in applications:
            _, version = versions[name]
            assert version.manifest is not None  # noqa: S101 - it is served
            decided[name] = decide_scale(
                version.resources,
                demand=demand.get(name, 0.0),
                rated=version.manifest.rows_per_s,
                loads=loads[name],
                before=self._scales.get(name),
                now=now(),
            )
        return decided


def spoken_for(
    jobs: Iterable[JobRecord], teachers: Sequence[TeacherRecord], applications: Iterable[str], *, now: datetime
) -> ClusterResources:
    """What is taken, or will be as soon as it can: workers of attempts, then of jobs in the queue, and fewest replicas.

    A teacher's further replicas have what is left: a job that waits for room gets it from them.
    """
    counted = [job for job in jobs if job.state.has_attempt or waits_for_room(job, now)]
    there = {*applications, *applications_of(counted)}
    workers = sum((needs(job.spec.compute) for job in counted), ClusterResources())
    return workers + taken(fewest(there, teachers), teachers)
