"""The attempt as its driver sees it: check, connect to Ray, start workers, and end early where no rank can say so."""

import concurrent.futures
import logging
import threading
import time
from concurrent.futures import Future
from typing import TypeVar

import ray
from redis import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import AttemptSuperseded, DependencyDown
from distill.contracts.facts import AttemptChecked, PhaseReached
from distill.contracts.records import JobRecord, Phase, Progress, Wish
from distill.contracts.settings import NodeSettings
from distill.journal.journal import Journal
from distill.journal.watch import DirectiveWatch
from student_worker.background import in_background
from student_worker.check import check
from student_worker.ending import SUPERSEDED, Ending
from student_worker.fit import start_workers
from student_worker.outcomes import as_wished, ending_of, out_of_wall_time
from student_worker.plan import WORKERS_READY_FILE, Plan

log = logging.getLogger(__name__)

LOOK_S = 0.2
CONNECT_S = 120.0

T = TypeVar("T")


class Attempt:
    """One attempt, run by `run` to its ending."""

    def __init__(
        self,
        record: JobRecord,
        attempt: int,
        started_at: float,
        settings: NodeSettings,
        redis: Redis,
        journal: Journal,
        watch: DirectiveWatch,
        interrupted: threading.Event,
    ) -> None:
        self._record = record
        self._attempt = attempt
        self._settings = settings
        self._redis = redis
        self._journal = journal
        self._watch = watch
        self._started_at = started_at
        self._folder = settings.storage / names.attempt_folder(record.id, attempt)
        self._interrupted = interrupted

    def run(self) -> Ending:
        """The attempt, whatever happens, as an ending."""
        try:
            connected = in_background("connect", _connect)
            plan = self._checked()
            ending = self._unless_ended_early(connected, patience_s=CONNECT_S)
            if ending is not None:
                return ending
            return self._work(plan)
        except Exception as error:
            log.exception("the attempt failed")
            return ending_of(error)

    def _checked(self) -> Plan:
        self._says("checking the data and the student")
        checked = check(self._record, self._settings, self._redis)
        self._reached(Phase.CHECKED)
        self._journal.append(
            AttemptChecked(attempt=self._attempt, at=now(), dataset=checked.facts, num_steps=checked.num_steps)
        )
        return Plan(
            record=self._record.model_copy(update={"spec": checked.spec}),
            attempt=self._attempt,
            started_at=self._started_at,
            num_steps=checked.num_steps,
            checked_at=time.time(),
        )

    def _work(self, plan: Plan) -> Ending:
        compute = self._record.spec.compute
        self._says("waiting for a worker" if compute.workers == 1 else f"waiting for {compute.workers} workers")
        workers = start_workers(plan, self._settings.storage)
        return self._unless_ended_early(workers) or workers.result()

    def _unless_ended_early(self, future: "Future[T]", *, patience_s: float | None = None) -> Ending | None:
        """Wait for ``future``; an ending if the attempt has to end before that."""
        started = time.monotonic()
        while not future.done():
            concurrent.futures.wait([future], timeout=LOOK_S)
            ending = self._early_end()
            if ending is not None and not future.done():
                return ending
            if patience_s is not None and time.monotonic() - started > patience_s:
                raise DependencyDown(f"Ray has not answered for {patience_s:g} s: the attempt could not connect")
        error = future.exception()
        return None if error is None else ending_of(error)

    def _early_end(self) -> Ending | None:
        """An end that no rank can make: superseded, interrupted, or ended before ranks were up."""
        try:
            wish = self._watch.wish
        except AttemptSuperseded:
            return SUPERSEDED
        if self._interrupted.is_set():
            return as_wished(wish)
        if (self._folder / WORKERS_READY_FILE).exists():
            return None
        wall_s = self._record.spec.limits.wall_s
        if wall_s is not None and time.time() - self._started_at > wall_s:
            return out_of_wall_time(wall_s)
        return None if wish is Wish.RUN else as_wished(wish)

    def _reached(self, phase: Phase) -> None:
        self._journal.append(PhaseReached(attempt=self._attempt, at=now(), phase=phase))

    def _says(self, phase: str) -> None:
        training = self._record.spec.training
        self._journal.progress(
            Progress(
                attempt=self._attempt,
                phase=phase,
                step=self._record.checkpoint.step if self._record.checkpoint else 0,
                num_steps=self._record.num_steps or 0,
                epoch=self._record.checkpoint.epoch if self._record.checkpoint else 0,
                num_epochs=training.epochs,
                at=now(),
            )
        )


def _connect() -> None:
    try:
        ray.init(logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError) as error:
        raise DependencyDown(f"Ray doesn't answer: {error}") from error
