"""A stand-in for Ray: its REST, whose jobs are tiny workers, each a process of its own that can be killed or frozen."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from distill.contracts.base import now
from services.control_plane.attempts import KILL_AFTER_S
from services.control_plane.ray_rest import DRIVER
from tests.chaos.jobs.evidence import Run, Span
from tests.faults.processes import Forked, logged
from tests.faults.ray_server import RayServer
from tests.faults.tiny_worker import run

LOOK_S = 0.05


@dataclass
class Worker:
    """The process of one submission."""

    submission: str
    job: str
    attempt: int
    entrypoint: str
    process: Forked
    began: datetime
    ended: datetime | None = None
    code: int | None = None
    asked_to_stop: float | None = None
    """When, by the loop's clock."""
    called_failed: bool = False
    frozen_since: datetime | None = None
    frozen: list[Span] = field(default_factory=list)

    @property
    def status(self) -> str:
        """As Ray would say it."""
        if self.called_failed:
            return "FAILED"
        if self.ended is None:
            return "RUNNING"
        if self.asked_to_stop is not None:
            return "STOPPED"
        return "FAILED" if self.code else "SUCCEEDED"

    def freeze(self) -> None:
        """It stands still."""
        self.process.send_signal(signal.SIGSTOP)
        self.frozen_since = now()

    def thaw(self) -> None:
        """It goes on."""
        if self.frozen_since is not None:
            self.process.send_signal(signal.SIGCONT)
            self.frozen.append((self.frozen_since, now()))
            self.frozen_since = None

    def as_run(self) -> Run:
        """What is left of it when all is over."""
        return Run(self.submission, self.job, self.attempt, self.began, self.ended, tuple(self.frozen))


class RayWithWorkers(RayServer):
    """As Ray does, it starts a submission once, stops with SIGINT, then SIGKILL, and can't stop what it calls FAILED."""

    def __init__(self, redis_url: str, folder: Path, *, cpus: float, options: Sequence[str]) -> None:
        """``options`` go to every worker; all of them print into ``workers.log`` of the folder."""
        super().__init__()
        self.workers: dict[str, Worker] = {}
        self._cpus = cpus
        self._log = folder / "workers.log"
        self._arguments = ["--redis", redis_url, "--storage", str(folder), *options]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Serve; in the end no worker is left."""
        async with super().running():
            looks = asyncio.create_task(self._look_after_workers())
            try:
                yield self
            finally:
                looks.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await looks
                for worker in self.workers.values():
                    worker.process.send_signal(signal.SIGKILL)
                    await asyncio.to_thread(worker.process.wait, 10)

    def living(self) -> list[Worker]:
        """Workers that have not ended, and are not frozen, in the order of their submissions."""
        there = [one for one in self.workers.values() if one.ended is None and one.frozen_since is None]
        return sorted(there, key=lambda one: one.submission)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """As the base does for what is no job."""
        match method, path.strip("/").split("/"):
            case "POST", ["api", "jobs"]:
                return self._start(json.loads(body))
            case "GET", ["api", "jobs"]:
                return 200, [_details(worker) for worker in self.workers.values()]
            case "GET", ["api", "jobs", submission]:
                there = self.workers.get(submission)
                return (200, _details(there)) if there else (404, {})
            case "POST", ["api", "jobs", submission, "stop"]:
                return self._stop(submission)
            case "GET", ["nodes"]:
                node = {"state": "ALIVE", "resourcesTotal": {"CPU": self._cpus}}
                return 200, {"data": {"summary": [{"raylet": node}]}}
        return super().answer(method, path, body)

    def _start(self, asked: dict[str, Any]) -> tuple[int, Any]:
        submission, entrypoint = asked["submission_id"], asked["entrypoint"]
        if submission in self.workers:
            return 500, {"error": f"Job with submission_id {submission} already exists."}
        named = DRIVER.fullmatch(entrypoint)
        assert named is not None, entrypoint
        attempt = ["--job", named["job"], "--attempt", named["attempt"]]
        process = Forked(logged, self._log, run, [*self._arguments, *attempt])
        self.workers[submission] = Worker(submission, named["job"], int(named["attempt"]), entrypoint, process, now())
        return 200, {"submission_id": submission}

    def _stop(self, submission: str) -> tuple[int, Any]:
        worker = self.workers.get(submission)
        if worker is None:
            return 404, {}
        if worker.status == "RUNNING" and worker.asked_to_stop is None:
            worker.asked_to_stop = asyncio.get_running_loop().time()
            worker.process.send_signal(signal.SIGINT)
        return 200, {"stopped": True}

    async def _look_after_workers(self) -> None:
        while True:
            moment = asyncio.get_running_loop().time()
            for worker in self.workers.values():
                if worker.ended is not None:
                    continue
                worker.code = worker.process.poll()
                if worker.code is not None:
                    worker.thaw()
                    worker.ended = now()
                elif worker.asked_to_stop is not None and moment - worker.asked_to_stop > KILL_AFTER_S:
                    worker.process.send_signal(signal.SIGKILL)
            await asyncio.sleep(LOOK_S)


def _details(worker: Worker) -> dict[str, Any]:
    return {
        "submission_id": worker.submission, "entrypoint": worker.entrypoint, "status": worker.status, "message": "",
    }  # fmt: skip
