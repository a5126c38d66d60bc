"""Users who want something of the control plane every second, whatever happens, and remember what they were told."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from redis import Redis
from redis.exceptions import RedisError

from distill.contracts import names
from distill.contracts.errors import Conflict, DependencyDown, InProgress, NotFound, StillhouseError
from distill.contracts.job import JobSpec
from services.client.client import StillhouseClient
from tests.chaos.jobs.evidence import Submit, Trail, read_trail
from tests.services.control_plane.records import JOB

PAUSE_S = (0.3, 2.5)
"""Between two wishes of one user."""
AGAIN_S = 0.3
RECENT = 30
"""A wish is mostly about one of so many jobs that came last."""
MOST_AT_ONCE = 40
"""Nobody submits while so many jobs have not ended: what waits for long is not troubled."""
ACTS = {"submit": 40, "submit again": 8, "cancel": 12, "pause": 12, "resume": 14, "set priority": 6, "delete": 8}
"""What a user does, and how often."""
ENDS = ("", "", "", "", "", "", "dependency_down", "invalid_data")
"""How a job would end by itself: mostly well."""


@dataclass
class Ledger:
    """What users asked and what they were told; shared by their threads."""

    specs: dict[str, JobSpec] = field(default_factory=dict)
    """Key -> what was, or is to be, submitted with it."""
    answers: dict[str, list[str]] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    paused: list[str] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    archive: dict[str, Trail] = field(default_factory=dict)
    """Trails of jobs as they were before their deletion was asked for."""
    surprises: list[str] = field(default_factory=list)
    acts: Counter[str] = field(default_factory=Counter)
    troubles: Counter[str] = field(default_factory=Counter)

    def jobs(self) -> list[str]:
        """Every job that was answered, the newest last."""
        return [answers[0] for answers in list(self.answers.values()) if answers]

    def submits(self) -> list[Submit]:
        """All of them."""
        return [Submit(key, self.answers.get(key, ())) for key in self.specs]


class User:
    """One of them; a client of the control planes, which asks any that may be there."""

    def __init__(self, name: str, urls: Sequence[str], key: str, redis_url: str, ledger: Ledger, *, seed: int) -> None:
        self._name = name
        self._chance = random.Random(f"{seed}-{name}")
        self._clients = [StillhouseClient(url, key=key, patience_s=0, timeout_s=10) for url in urls]
        self._redis = Redis.from_url(redis_url, decode_responses=True, socket_timeout=5, socket_connect_timeout=2)
        self._ledger = ledger
        self._acts: dict[str, Callable[[], bool]] = {
            "submit": self._submit_new, "submit again": self._submit_again, "cancel": self._cancel, "pause": self._pause,
            "resume": self._resume, "set priority": self._set_priority, "delete": self._delete,
        }  # fmt: skip

    def live(self, over: threading.Event) -> None:
        """Want something every now and then, until it is over."""
        while not over.wait(self._chance.uniform(*PAUSE_S)):
            act = self._chance.choices(list(ACTS), list(ACTS.values()))[0]
            with self._bears_trouble(act):
                if self._acts[act]():
                    self._ledger.acts[act] += 1

    def submit(self, key: str) -> str:
        """Ask once; the job that it was answered. Raises DependencyDown and its kin."""
        job = self._client().submit_job(self._ledger.specs[key], key=key).id
        self._ledger.answers.setdefault(key, []).append(job)
        return job

    def submit_until_answered(self, key: str, *, patience_s: float) -> None:
        """Ask until there is an answer. Raises DependencyDown where there is none for so long."""
        deadline = time.monotonic() + patience_s
        while not self._ledger.answers.get(key):
            try:
                self.submit(key)
            except (DependencyDown, InProgress) as error:
                if time.monotonic() > deadline:
                    raise DependencyDown(f"{key} was not answered for {patience_s:.0f} s: {error}") from error
                time.sleep(AGAIN_S)

    def close(self) -> None:
        """Close connections."""
        for client in self._clients:
            client.close()
        self._redis.close()

    def _client(self) -> StillhouseClient:
        """Mostly the first one's, which is nearly always there."""
        return self._chance.choices(self._clients, [3, 1])[0]

    @contextmanager
    def _bears_trouble(self, act: str) -> Iterator[None]:
        try:
            yield
        except (DependencyDown, InProgress, RedisError) as error:
            self._ledger.troubles[type(error).__name__] += 1
        except (Conflict, NotFound) as error:
            self._ledger.troubles["refused"] += 1
            if act.startswith("submit"):
                self._ledger.surprises.append(f"{act}: {error}")
        except StillhouseError as error:
            self._ledger.surprises.append(f"{act}: {error.code}: {error}")

    def _submit_new(self) -> bool:
        if self._num_active() >= MOST_AT_ONCE:
            return False
        key = f"{self._name}-{len(self._ledger.specs)}"
        ends = self._chance.choice(ENDS)
        limits = {"max_failures": self._chance.randint(0, 3), "max_preemptions": self._chance.choice([0, 1, 100])}
        self._ledger.specs[key] = JobSpec.model_validate(
            JOB
            | {
                "labels": {"number": key} | ({"ends": ends} if ends else {}),
                "training": {"epochs": self._chance.randint(4, 40)},
                "limits": limits,
                "priority": self._chance.randint(-2, 2),
            }
        )
        return bool(self.submit(key))

    def _submit_again(self) -> bool:
        """With a key of before, whether it was answered or not."""
        keys = list(self._ledger.specs)[-RECENT:]
        return bool(keys and self.submit(self._chance.choice(keys)))

    def _cancel(self) -> bool:
        if job := self._some_job():
            self._client().cancel_job(job)
            self._ledger.cancelled.add(job)
        return job is not None

    def _pause(self) -> bool:
        if job := self._some_job():
            self._client().pause_job(job)
            self._ledger.paused.append(job)
        return job is not None

    def _resume(self) -> bool:
        paused = self._ledger.paused[-RECENT:]
        return bool(paused and self._client().resume_job(self._chance.choice(paused)))

    def _set_priority(self) -> bool:
        job = self._some_job()
        return bool(job and self._client().set_priority(job, self._chance.randint(-5, 5)))

    def _delete(self) -> bool:
        """One that has ended, whose trail is kept first."""
        trail = read_trail(self._redis, job) if (job := self._some_job()) else None
        if trail is None or not trail.record.state.is_final:
            return False
        self._ledger.archive[trail.record.id] = trail
        self._ledger.deleted.add(trail.record.id)
        self._client().delete_job(trail.record.id)
        self._ledger.gone.add(trail.record.id)
        return True

    def _some_job(self) -> str | None:
        jobs = self._ledger.jobs()[-RECENT:]
        return self._chance.choice(jobs) if jobs else None

    def _num_active(self) -> int:
        return int(self._redis.scard(names.active_key("job")))  # type: ignore[arg-type]
