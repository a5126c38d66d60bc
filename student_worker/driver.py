"""The driver process of one attempt: it proves that the attempt counts, keeps its lease, and has the last word.

What is heavy (torch, Ray) is imported only once the attempt has said that it lives.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable

from redis import Redis

from distill.contracts.base import now
from distill.contracts.errors import AttemptSuperseded, StillhouseError
from distill.contracts.facts import AttemptEnded, PhaseReached
from distill.contracts.records import JobRecord, Outcome, Phase
from distill.contracts.settings import NodeSettings
from distill.journal.client import open_redis
from distill.journal.journal import Journal
from distill.journal.watch import DirectiveWatch, read_record
from student_worker.ending import Ending

log = logging.getLogger(__name__)

INTERRUPTED_S = 15.0
"""Whoever interrupts a driver kills it soon, which is 20 s after that where Ray was told to: so long its word may take."""


def drive(job: str, attempt: int, settings: NodeSettings) -> int:
    """Run one attempt to its end.

    Returns:
        The exit code: 0 once the last word is with Redis, or where none may be said; else 1.
    """
    interrupted = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    redis = open_redis(settings.redis_url)
    try:
        record = current_record(redis, job, attempt)
        with (
            Journal(redis, job, attempt=attempt, writer="driver") as journal,
            DirectiveWatch(redis, job, attempt=attempt, keep_lease=True) as watch,
        ):
            ending = _run(record, attempt, settings, redis, journal, watch, interrupted)
            return _deliver(ending, attempt, journal, watch, interrupted)
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


def _run(
    record: JobRecord,
    attempt: int,
    settings: NodeSettings,
    redis: Redis,
    journal: Journal,
    watch: DirectiveWatch,
    interrupted: threading.Event,
) -> Ending:
    started_at = time.time()
    journal.append(PhaseReached(attempt=attempt, at=now(), phase=Phase.STARTED))
    try:
        from student_worker.attempt import Attempt

        return Attempt(record, attempt, started_at, settings, redis, journal, watch, interrupted).run()
    except Exception as error:
        log.exception("the attempt could not be run")
        text = f"the attempt could not be run: {type(error).__name__}: {error}"
        return Ending(outcome=Outcome.FAILED, problem=StillhouseError(text).problem())


def _deliver(
    ending: Ending, attempt: int, journal: Journal, watch: DirectiveWatch, interrupted: threading.Event
) -> int:
    """Say the last word, and keep the lease until Redis has it: for ``max_offline_s``, while the attempt counts."""
    if ending.outcome is None:
        log.info("the attempt ends without a word: another one has taken over")
        journal.close(0)
        return 0
    log.info("the attempt ends: %s", ending.model_dump_json(exclude_none=True))
    journal.append(
        AttemptEnded(attempt=attempt, at=now(), outcome=ending.outcome, problem=ending.problem, result=ending.result)
    )
    is_delivered = journal.close(unless=_is_futile(watch, interrupted))
    return 0 if is_delivered or watch.is_superseded else 1


def _is_futile(watch: DirectiveWatch, interrupted: threading.Event) -> Callable[[], bool]:
    """Whether nobody waits for the last word any more, or we have been told to go, and had our time to."""
    told_at: float | None = None

    def is_futile() -> bool:
        nonlocal told_at
        if interrupted.is_set() and told_at is None:
            told_at = time.monotonic()
        return watch.is_superseded or (told_at is not None and time.monotonic() - told_at > INTERRUPTED_S)

    return is_futile
