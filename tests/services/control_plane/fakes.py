"""A Ray dashboard that remembers what it was asked, for tests of what the control plane asks of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from distill.contracts.errors import DependencyDown
from services.control_plane.ray_rest import ClusterResources, Driver, RayJob, RayJobState, asked_replicas
from services.control_plane.reconciler import Reconciler
from services.control_plane.reservations import Reservations
from services.control_plane.store import Store


class FakeRay:
    """Keeps jobs and applications in memory; `refuses` names the jobs that it won't start."""

    def __init__(self, *, cpus: float = 2.0) -> None:
        self.total = ClusterResources(cpus=cpus)
        self.jobs: dict[str, RayJob] = {}
        self.arguments: dict[str, list[str]] = {}
        self.served: dict[str, int] = {}
        """Application -> its replicas."""
        self.puts: list[dict[str, Any]] = []
        self.refuses: set[str] = set()

    async def submit(self, submission_id: str, arguments: list[str], *, environment: Mapping[str, str]) -> None:
        if submission_id in self.refuses:
            raise DependencyDown(f"Ray refused to start {submission_id}: its runtime environment can't be made")
        self.arguments[submission_id] = arguments
        self.jobs.setdefault(submission_id, RayJob(RayJobState.PENDING))

    async def job(self, submission_id: str) -> RayJob:
        return self.jobs.get(submission_id, RayJob(RayJobState.ABSENT))

    async def drivers(self) -> list[Driver]:
        return [
            Driver(submission=one, job=one.rpartition("-")[0], attempt=int(one.rpartition("-")[2]))
            for one, job in self.jobs.items()
            if not job.state.has_ended and not one.startswith("check-")
        ]

    async def stop(self, submission_id: str) -> None:
        self.jobs[submission_id] = RayJob(RayJobState.STOPPED)

    async def logs(self, submission_id: str) -> str:
        return f"what {submission_id} printed\n"

    async def applications(self) -> dict[str, int]:
        return dict(self.served)

    async def put_applications(self, config: Mapping[str, Any]) -> None:
        self.puts.append(dict(config))
        self.served = asked_replicas(config["applications"])

    async def resources(self) -> ClusterResources:
        return self.total


DOOR = "http://127.0.0.1:8471/v1/pool"


def a_reconciler(redis: Redis, ray: Any, storage: Path) -> Reconciler:
    """One that acts on ``ray``, and lets a teacher leave after a minute."""
    reservations = Reservations(redis, door=DOOR)
    return Reconciler(Store(redis), redis, ray, reservations, storage=storage, teacher_idle_s=60, door_port=8471)
