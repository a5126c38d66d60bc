"""A Ray dashboard that remembers what it was asked, for tests of what the control plane asks of it."""

from collections.abc import Mapping
from typing import Any

from distill.contracts.errors import DependencyDown
from services.control_plane.ray_rest import ClusterResources, RayJob, RayJobState


class FakeRay:
    """Keeps jobs and applications in memory; `refuses` names the jobs that it won't start."""

    def __init__(self, *, cpus: float = 2.0) -> None:
        self.total = ClusterResources(cpus=cpus)
        self.jobs: dict[str, RayJob] = {}
        self.arguments: dict[str, list[str]] = {}
        self.served: set[str] = set()
        self.puts: list[dict[str, Any]] = []
        self.refuses: set[str] = set()

    async def submit(self, submission_id: str, arguments: list[str], *, environment: Mapping[str, str]) -> None:
        if submission_id in self.refuses:
            raise DependencyDown(f"Ray refused to start {submission_id}: its runtime environment can't be made")
        self.arguments[submission_id] = arguments
        self.jobs.setdefault(submission_id, RayJob(RayJobState.PENDING))

    async def job(self, submission_id: str) -> RayJob:
        return self.jobs.get(submission_id, RayJob(RayJobState.ABSENT))

    async def stop(self, submission_id: str) -> None:
        self.jobs[submission_id] = RayJob(RayJobState.STOPPED)

    async def logs(self, submission_id: str) -> str:
        return f"what {submission_id} printed\n"

    async def applications(self) -> set[str]:
        return set(self.served)

    async def put_applications(self, config: Mapping[str, Any]) -> None:
        self.puts.append(dict(config))
        self.served = {application["name"] for application in config["applications"]}

    async def resources(self) -> ClusterResources:
        return self.total
