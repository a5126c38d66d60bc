"""What is troubled: a Redis, one or two control planes, a Ray that starts tiny workers; and how each trouble befalls them."""

import asyncio
import contextlib
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

from distill.contracts.base import now
from distill.contracts.keys import new_key, new_key_id
from services.stack.home import StackHome
from services.stack.processes import free_ports
from tests.chaos.jobs.evidence import Span
from tests.chaos.jobs.plan import Trouble
from tests.chaos.jobs.ray import RayWithWorkers, Worker
from tests.faults.processes import Forked, logged, run_control_plane
from tests.faults.ray_server import Manner
from tests.faults.redis_to_break import RedisToBreak, until
from tests.services.control_plane.processes import answers, environment_of

LEASE_S = 3.0
CPUS = 6.0
WORKER = ("--finishes", "--step-s", "0.25", "--lease-s", str(LEASE_S), "--max-offline-s", "60")
LOOK_S = 0.1
VICTIM_S = 15.0
"""A trouble of a worker waits for one at most so long."""
MANNERS: Mapping[str, Manner] = {
    "Ray hangs": "hangs", "Ray answers 500": "500", "Ray is slow": "slow", "Ray's replies are lost": "breaks after doing",
    "Ray's answers are cut": "cuts the JSON",
}  # fmt: skip
NO_BUG = re.compile(
    r"uvicorn\.error: (Traceback[\s\S]*redis\.exceptions\.|Application startup failed|[\s\S]*graceful shutdown exceeded)"
)
"""What uvicorn calls an error and is none: it starts while Redis is away, or is told to stop while a request is answered."""
ENTRY = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ ", re.MULTILINE)


class ControlPlane:
    """One that is started again whenever it ends, while it is wanted."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self.log = log
        self.url = f"http://127.0.0.1:{environment['STILLHOUSE_PORT']}"
        self.is_wanted = False
        self._process: Forked | None = None

    async def keep(self) -> None:
        """Until cancelled."""
        while True:
            if self.is_wanted and (self._process is None or self._process.poll() is not None):
                self._process = Forked(logged, self.log, run_control_plane, self._environment)
            await asyncio.sleep(LOOK_S)

    def signal(self, number: signal.Signals) -> None:
        """To its process, if there is one."""
        if self._process is not None:
            self._process.send_signal(number)

    async def ended(self, timeout_s: float) -> int | None:
        """Its exit code; None where it takes longer."""
        return None if self._process is None else await asyncio.to_thread(self._process.wait, timeout_s)

    async def answers(self) -> bool:
        """Whether somebody is there."""
        return await asyncio.to_thread(answers, int(self._environment["STILLHOUSE_PORT"]))


class House:
    """All of it."""

    def __init__(self, redis: RedisToBreak, ray: RayWithWorkers, folder: Path) -> None:
        self.key = new_key(new_key_id())
        self.redis = redis
        self.ray = ray
        self.redis_away: list[Span] = []
        self.befell: Counter[str] = Counter()
        self.first, self.second = (self._control_plane(folder, name) for name in ("first", "second"))
        self._ways: Mapping[str, Callable[[Trouble], Awaitable[bool]]] = {
            "control plane killed": self._kill_first,
            "control plane killed at once again": self._kill_first,
            "control plane frozen": self._freeze_first,
            "second control plane, then killed": self._have_second,
            "second control plane, then stopped": self._have_second,
            "worker killed": self._signal_worker,
            "worker interrupted": self._signal_worker,
            "worker frozen": self._freeze_worker,
            "worker frozen and called FAILED": self._freeze_worker,
            "worker wrongly called FAILED": self._call_failed,
            "Redis killed": self._restart_redis,
            "Redis restarted": self._restart_redis,
            "Redis frozen": self._freeze_redis,
            "Ray refuses": self._refuse,
            **dict.fromkeys(MANNERS, self._misbehave),
        }

    @classmethod
    @asynccontextmanager
    async def standing(
        cls, folder: Path, *, cpus: float = CPUS, worker: Sequence[str] = WORKER
    ) -> AsyncIterator["House"]:
        """Start it; in the end nothing of it is left. ``worker``: options of every worker."""
        home = StackHome(folder / "redis-home")
        home.make()
        redis = RedisToBreak(home)
        await asyncio.to_thread(redis.start)
        try:
            async with RayWithWorkers(redis.url, folder, cpus=cpus, options=worker).running() as ray:
                house = cls(redis, ray, folder)
                async with house._kept():
                    yield house
        finally:
            await asyncio.to_thread(redis.kill)

    async def befall(self, trouble: Trouble) -> None:
        """Let it happen, and pass."""
        if await self._ways[trouble.kind](trouble):
            self.befell[trouble.kind] += 1

    async def is_up(self) -> None:
        """Wait until the first control plane answers."""
        await until(self.first.answers, timeout_s=60)

    def calm_workers(self) -> None:
        """Nobody stays frozen."""
        for worker in self.ray.workers.values():
            worker.thaw()

    def tracebacks(self) -> Iterator[str]:
        """What the control planes logged as errors of ours."""
        for one in (self.first, self.second):
            text = one.log.read_text() if one.log.exists() else ""
            begins = [found.start() for found in ENTRY.finditer(text)]
            for begin, end in pairwise([*begins, len(text)]):
                entry = text[begin:end]
                if " ERROR " in entry and not NO_BUG.search(entry):
                    yield entry.strip()

    def _control_plane(self, folder: Path, name: str) -> ControlPlane:
        environment = environment_of(self.redis.url, folder, port=free_ports(1)[0], key=self.key)
        return ControlPlane(environment | {"STILLHOUSE_RAY_DASHBOARD": self.ray.url}, folder / f"{name}.log")

    @asynccontextmanager
    async def _kept(self) -> AsyncIterator[None]:
        self.first.is_wanted = True
        both = [asyncio.create_task(one.keep()) for one in (self.first, self.second)]
        try:
            await self.is_up()
            yield
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            for one in (self.first, self.second):
                one.signal(signal.SIGCONT)
                one.signal(signal.SIGKILL)
                await one.ended(10)

    async def _kill_first(self, trouble: Trouble) -> bool:
        self.first.is_wanted = False
        self.first.signal(signal.SIGKILL)
        await asyncio.sleep(trouble.lasts_s)
        self.first.is_wanted = True
        return True

    async def _freeze_first(self, trouble: Trouble) -> bool:
        self.first.signal(signal.SIGSTOP)
        await asyncio.sleep(trouble.lasts_s)
        self.first.signal(signal.SIGCONT)
        return True

    async def _have_second(self, trouble: Trouble) -> bool:
        self.second.is_wanted = True
        await asyncio.sleep(trouble.lasts_s)
        self.second.is_wanted = False
        self.second.signal(signal.SIGKILL if trouble.kind.endswith("killed") else signal.SIGTERM)
        await self.second.ended(20)
        return True

    async def _some_worker(self, draw: float) -> Worker | None:
        """One of those that are there, or that come soon."""
        with contextlib.suppress(TimeoutError):
            await until(self._has_workers, timeout_s=VICTIM_S)
        there = self.ray.living()
        return there[int(draw * len(there))] if there else None

    async def _has_workers(self) -> bool:
        return bool(self.ray.living())

    async def _signal_worker(self, trouble: Trouble) -> bool:
        worker = await self._some_worker(trouble.draw)
        if worker is not None:
            worker.process.send_signal(signal.SIGKILL if trouble.kind == "worker killed" else signal.SIGINT)
        return worker is not None

    async def _freeze_worker(self, trouble: Trouble) -> bool:
        worker = await self._some_worker(trouble.draw)
        if worker is None:
            return False
        worker.freeze()
        worker.called_failed = worker.called_failed or trouble.kind.endswith("FAILED")
        await asyncio.sleep(trouble.lasts_s)
        worker.thaw()
        return True

    async def _call_failed(self, trouble: Trouble) -> bool:
        worker = await self._some_worker(trouble.draw)
        if worker is not None:
            worker.called_failed = True
        return worker is not None

    async def _restart_redis(self, trouble: Trouble) -> bool:
        began = now()
        await asyncio.to_thread(self.redis.kill if trouble.kind == "Redis killed" else self.redis.stop)
        await asyncio.sleep(trouble.lasts_s)
        await asyncio.to_thread(self.redis.start)
        self.redis_away.append((began, now()))
        return True

    async def _freeze_redis(self, trouble: Trouble) -> bool:
        began = now()
        self.redis.signal(signal.SIGSTOP)
        await asyncio.sleep(trouble.lasts_s)
        self.redis.signal(signal.SIGCONT)
        self.redis_away.append((began, now()))
        return True

    async def _refuse(self, trouble: Trouble) -> bool:
        await self.ray.refuse()
        await asyncio.sleep(trouble.lasts_s)
        await self.ray.listen(int(self.ray.url.rpartition(":")[2]))
        return True

    async def _misbehave(self, trouble: Trouble) -> bool:
        self.ray.manner = MANNERS[trouble.kind]
        await asyncio.sleep(trouble.lasts_s)
        self.ray.manner = "well"
        return True
