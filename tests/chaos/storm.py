"""The storm: jobs go on being taught while their replicas, their answer book, their ranks and Serve itself are killed.

First each kind of job runs once undisturbed. Then, for as long as is asked, jobs of these kinds follow each other, and
every few seconds something is killed with SIGKILL: each kind of victim in turn, then at random. A job that was disturbed
must end SUCCEEDED with the very losses of the one that was not: its answers are recalled, and what a killed book lost is
computed again.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from distill.contracts.job import JobSpec
from distill.contracts.records import JobRecord, JobState
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from tests.chaos.victims import KINDS, hit

AT_A_TIME = 2
KINDS_OF_JOBS = 2
PAUSE_S = (4.0, 12.0)
"""Between two kills."""
PATIENCE_S = 900.0
"""For the jobs that run when the storm is over."""


@dataclass(frozen=True)
class Ended:
    """A job at its end."""

    job: str
    kind: int
    state: JobState
    attempts: int
    losses: tuple[float, ...]
    """Of each epoch."""
    problem: str | None

    @classmethod
    def of(cls, record: JobRecord, kind: int) -> "Ended":
        """From its record."""
        losses = tuple(epoch["train_loss"] for epoch in record.epochs)
        problem = None if record.state is JobState.SUCCEEDED else record.reason.text
        return cls(record.id, kind, record.state, record.attempt, losses, problem)


@dataclass
class Log:
    """What happened."""

    undisturbed: list[Ended] = field(default_factory=list)
    disturbed: list[Ended] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)

    @property
    def lost(self) -> list[Ended]:
        """Jobs that did not succeed."""
        return [job for job in self.disturbed if job.state is not JobState.SUCCEEDED]

    @property
    def changed(self) -> list[Ended]:
        """Jobs whose losses are not those of the undisturbed one of their kind."""
        return [job for job in self.disturbed if job.losses != self.undisturbed[job.kind].losses]


def a_job(teacher: str, kind: int) -> JobSpec:
    """A small student that sees other views of its rows in every epoch, so that its teacher is asked to the end."""
    return JobSpec.model_validate(
        {
            "name": f"storm-{kind}",
            "dataset": {
                "source": "digits",
                "labels": {"kind": "count", "count": 50},
                "augmentation": {"policy": "crop-flip", "views": 64, "flip": False, "seed": kind},
            },
            "student": {"source": "zoo", "name": "mlp", "args": {"hidden": [64]}},
            "teachers": [{"name": teacher}],
            "objective": [{"kind": "labels", "weight": 0.1}, {"kind": "soft_targets", "weight": 0.9}],
            "training": {"epochs": 40, "batch_size": 4, "optimizer": {"kind": "sgd", "lr": 0.01}, "seed": kind},
            "compute": {"cpus_per_worker": 0.5},
            "limits": {"max_failures": 100},
        }
    )


def rage(
    stack: Stack, teacher: str, *, seconds: float, seed: int, say: Callable[[str], None], kinds: int = KINDS_OF_JOBS
) -> Log:
    """Let the storm rage over jobs that ``teacher`` (``name@version``) teaches."""
    log = Log()
    with StillhouseClient(stack.url, key=stack.key) as client:
        specs = [a_job(teacher, kind) for kind in range(kinds)]
        for kind, spec in enumerate(specs):
            log.undisturbed.append(_ended(client, client.submit_job(spec), kind))
            say(f"undisturbed: {_in_words(log.undisturbed[-1])}")
        _rage(stack, client, specs, log, seconds=seconds, chance=random.Random(seed), say=say)
    return log


def _rage(
    stack: Stack,
    client: StillhouseClient,
    specs: list[JobSpec],
    log: Log,
    *,
    seconds: float,
    chance: random.Random,
    say: Callable[[str], None],
) -> None:
    started = time.monotonic()
    running: dict[str, int] = {}
    victims = _victims(chance)
    next_kill = started + PAUSE_S[0]
    while running or time.monotonic() - started < seconds:
        is_over = time.monotonic() - started >= seconds
        while not is_over and len(running) < AT_A_TIME:
            kind = (len(log.disturbed) + len(running)) % len(specs)
            running[client.submit_job(specs[kind]).id] = kind
        if not is_over and time.monotonic() > next_kill:
            _kill(stack, next(victims), chance, log, say)
            next_kill = time.monotonic() + chance.uniform(*PAUSE_S)
        for job, kind in list(running.items()):
            record = client.job(job)
            if record.state.is_final:
                del running[job]
                log.disturbed.append(Ended.of(record, kind))
                say(f"disturbed: {_in_words(log.disturbed[-1])}")
        assert time.monotonic() - started < seconds + PATIENCE_S, f"these jobs never end: {sorted(running)}"
        time.sleep(0.5)


def _victims(chance: random.Random) -> Iterator[str]:
    yield from KINDS
    while True:
        yield chance.choice(list(KINDS))


def _kill(stack: Stack, kind: str, chance: random.Random, log: Log, say: Callable[[str], None]) -> None:
    pid = hit(stack, kind, chance)
    if pid is not None:
        log.kills[kind] += 1
        say(f"killed: {kind}")


def _ended(client: StillhouseClient, job: JobRecord, kind: int) -> Ended:
    for _ in client.follow("job", job.id):
        pass
    return Ended.of(client.job(job.id), kind)


def _in_words(job: Ended) -> str:
    why = f", {job.problem}" if job.problem else ""
    last = f", last loss {job.losses[-1]:.9f}" if job.losses else ""
    return f"{job.job} of kind {job.kind}: {job.state.value} in {job.attempts} attempts{last}{why}"
