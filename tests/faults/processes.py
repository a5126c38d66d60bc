"""A cluster whose jobs are real, tiny processes: what the control plane asks of Ray's Jobs API, and nothing else."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from services.control_plane.ray_rest import Driver, RayJob, RayJobState
from tests.services.control_plane.fakes import FakeRay

ROOT = Path(__file__).parents[2]


class ProcessRay(FakeRay):
    """Starts `tests.faults.tiny_worker` for each submission; may wrongly say of some that they FAILED."""

    def __init__(self, redis_url: str, storage: Path) -> None:
        super().__init__()
        self._redis_url = redis_url
        self._storage = storage
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.options: list[str] = []
        """Of the workers that are started from now on."""
        self.lease_s = 0.5
        self.max_offline_s = 60.0
        self.kill_after_s = 20.0
        self.wrongly_failed: set[str] = set()
        self._stopped_at: dict[str, float] = {}

    async def submit(self, submission_id: str, arguments: list[str], *, environment: Mapping[str, str]) -> None:
        if submission_id not in self.processes:
            self.processes[submission_id] = self.start(*arguments[1:])

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """A worker, beside those that were submitted."""
        bounds = ["--lease-s", str(self.lease_s), "--max-offline-s", str(self.max_offline_s)]
        command = [sys.executable, "-m", "tests.faults.tiny_worker", "--storage", str(self._storage), *bounds]
        return subprocess.Popen(
            [*command, *arguments, *self.options], cwd=ROOT, env={**os.environ, "REDIS_TO_BREAK": self._redis_url}
        )

    async def job(self, submission_id: str) -> RayJob:
        process = self.processes.get(submission_id)
        if process is None:
            return RayJob(RayJobState.ABSENT)
        if submission_id in self.wrongly_failed:
            return RayJob(RayJobState.FAILED, "the control store failed over")
        self._kill_where_due(submission_id)
        code = process.poll()
        if code is None:
            return RayJob(RayJobState.RUNNING)
        if submission_id in self._stopped_at:
            return RayJob(RayJobState.STOPPED)
        return RayJob(RayJobState.FAILED if code else RayJobState.SUCCEEDED, f"exit code {code}")

    async def stop(self, submission_id: str) -> None:
        if self.processes[submission_id].poll() is None and submission_id not in self._stopped_at:
            self._stopped_at[submission_id] = time.monotonic()
            self.processes[submission_id].send_signal(signal.SIGINT)

    async def drivers(self) -> list[Driver]:
        living = [one for one, process in self.processes.items() if process.poll() is None]
        return [Driver(one, one.rpartition("-")[0], int(one.rpartition("-")[2])) for one in living]

    def kill_all(self) -> None:
        """So that nothing is left of a test."""
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(10)

    def _kill_where_due(self, submission_id: str) -> None:
        asked = self._stopped_at.get(submission_id)
        if asked is not None and time.monotonic() - asked > self.kill_after_s:
            self.processes[submission_id].kill()
