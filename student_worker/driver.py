"""One attempt's driver: it checks, asks Ray for workers, follows the directive, and has the last word."""

import logging
import signal
import threading
import time
from concurrent.futures import Future

import ray
from redis import Redis

from distill.contracts.base import now
from distill.contracts.errors import AttemptSuperseded
from distill.contracts.facts import AttemptChecked, AttemptEnded, PhaseReached
from distill.contracts.records import JobRecord, Phase, Progress, Wish
from distill.contracts.settings import NodeSettings
from distill.journal.client import open_redis
from distill.journal.journal import Journal
from distill.journal.watch import DirectiveWatch, read_record
from student_worker.check import check
from student_worker.endings import SUPERSEDED, Ending, as_wished, ending_of, out_of_wall_time
from student_worker.fit import start_workers
from student_worker.plan import WORKERS_READY_FILE, Plan

log = logging.getLogger(__name__)

LOOK_S = 0.2
DELIVERY_S = 60.0


def drive(job: str, attempt: int, settings: NodeSettings) -> int:
    """Run one attempt to its end.

    Returns:
        The exit code: 0 once the last word is with Redis, or where none may be said; else 1.
    """
    redis = open_redis(settings.redis_url)
    try:
        record = current_record(redis, job, attempt)
        with (
            Journal(redis, job, attempt=attempt, writer="driver") as journal,
            DirectiveWatch(redis, job, attempt=attempt, keep_lease=True) as watch,
        ):
            ending = _Driver(record, attempt, settings, redis, journal, watch).run()
            return _deliver(ending, attempt, journal)
    except AttemptSuperseded as error:
        log.info("nothing to do: %s", error)
        return 0


def current_record(redis: Redis, job: str, attempt: int) -> JobRecord:
    """The job's record, if this attempt is the one that counts.

    Raises:
        AttemptSuperseded: the job is gone or has ended, or another attempt has taken over.
    """
    record = read_record(redis, job)
    if record.state.is_final:
        raise AttemptSuperseded(f"job {job} has ended: it is {record.state}")
    if record.attempt != attempt:
        raise AttemptSuperseded(f"attempt {attempt} of job {job} was asked for, and attempt {record.attempt} counts")
    return record


def _deliver(ending: Ending, attempt: int, journal: Journal) -> int:
    if ending.outcome is None:
        log.info("the attempt ends without a word: another one has taken over")
        return 0
    log.info("the attempt ends: %s", ending.model_dump_json(exclude_none=True))
    journal.append(
        AttemptEnded(attempt=attempt, at=now(), outcome=ending.outcome, problem=ending.problem, result=ending.result)
    )
    return 0 if journal.flush(DELIVERY_S) else 1


class _Driver:
    def __init__(
        self,
        record: JobRecord,
        attempt: int,
        settings: NodeSettings,
        redis: Redis,
        journal: Journal,
        watch: DirectiveWatch,
    ) -> None:
        self._record = record
        self._attempt = attempt
        self._settings = settings
        self._redis = redis
        self._journal = journal
        self._watch = watch
        self._started_at = time.time()
        self._interrupted = threading.Event()

    def run(self) -> Ending:
        """The attempt, whatever happens, as an ending."""
        signal.signal(signal.SIGINT, lambda *_: self._interrupted.set())
        try:
            self._reached(Phase.STARTED)
            plan = self._checked()
            if (ending := self._early_end(plan)) is not None:
                return ending
            return self._await(start_workers(plan, self._settings.storage), plan)
        except Exception as error:
            log.exception("the attempt failed")
            return ending_of(error)

    def _checked(self) -> Plan:
        self._says("checking the data and the student")
        connecting = threading.Thread(target=_connect, name="connect")
        connecting.start()
        checked = check(self._record, self._settings, self._redis)
        connecting.join()
        self._reached(Phase.CHECKED)
        self._journal.append(
            AttemptChecked(attempt=self._attempt, at=now(), dataset=checked.facts, num_steps=checked.num_steps)
        )
        return Plan(
            record=self._record,
            attempt=self._attempt,
            started_at=self._started_at,
            num_steps=checked.num_steps,
            checked_at=time.time(),
        )

    def _await(self, workers: "Future[Ending]", plan: Plan) -> Ending:
        compute = self._record.spec.compute
        self._says(f"waiting for room for {compute.workers} workers" if compute.workers > 1 else "waiting for a worker")
        while True:
            try:
                return workers.result(timeout=LOOK_S)
            except TimeoutError:
                ending = self._early_end(plan)
            if ending is not None:
                return ending

    def _early_end(self, plan: Plan) -> Ending | None:
        """An end that no rank can make: the attempt is superseded or interrupted, or was ended before ranks were up."""
        try:
            wish = self._watch.wish
        except AttemptSuperseded:
            return SUPERSEDED
        if self._interrupted.is_set():
            return as_wished(wish)
        if (plan.folder_in(self._settings.storage) / WORKERS_READY_FILE).exists():
            return None
        if wish is not Wish.RUN:
            return as_wished(wish)
        wall_s = self._record.spec.limits.wall_s
        is_over = wall_s is not None and time.time() - self._started_at > wall_s
        return out_of_wall_time(wall_s or 0.0) if is_over else None

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
    ray.init(logging_level=logging.WARNING)
