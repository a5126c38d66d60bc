"""A cluster whose jobs are real, tiny processes: what the control plane asks of Ray's Jobs API, and nothing else."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from services.control_plane import __main__ as control_plane
from services.control_plane.ray_rest import Driver, RayJob, RayJobState
from tests.faults.tiny_worker import run
from tests.services.control_plane.fakes import FakeRay

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.faults.tiny_worker", "services.control_plane.main", "uvicorn"])


class Forked:
    """A process of its own, forked from one that has imported everything."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        self._process = FORKS.Process(target=target, args=arguments)
        self._process.start()

    def poll(self) -> int | None:
        """Its exit code; None while it is there."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """To this process alone."""
        if self.poll() is None and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, once it has ended."""
        self._process.join(timeout_s)
        return self.poll()


class ProcessRay(FakeRay):
    """Starts `tests.faults.tiny_worker` for each submission; may wrongly say of some that they FAILED."""

    def __init__(self, redis_url: str, storage: Path) -> None:
        super().__init__()
        self._redis_url = redis_url
        self._storage = storage
        self.processes: dict[str, Forked] = {}
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

    def start(self, *arguments: str) -> Forked:
        """A worker, beside those that were submitted."""
        bounds = ["--lease-s", str(self.lease_s), "--max-offline-s", str(self.max_offline_s)]
        where = ["--redis", self._redis_url, "--storage", str(self._storage)]
        return Forked(run, [*where, *bounds, *arguments, *self.options])

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
            process.send_signal(signal.SIGKILL)
            process.wait(10)

    def _kill_where_due(self, submission_id: str) -> None:
        asked = self._stopped_at.get(submission_id)
        if asked is not None and time.monotonic() - asked > self.kill_after_s:
            self.processes[submission_id].send_signal(signal.SIGKILL)


def run_control_plane(environment: dict[str, str]) -> None:
    """A whole control plane, until it is killed."""
    os.environ.update(environment)
    sys.exit(control_plane.main())


def logged(log: Path, target: Callable[..., None], *arguments: object) -> None:
    """What a forked process does, with what it prints appended to ``log``."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    target(*arguments)
