"""A job's attempts one after the other, each in new processes, handed on as the control plane does: by the checkpoint's fact."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from redis import Redis

from distill.contracts import names
from distill.contracts.facts import CheckpointSaved
from distill.contracts.records import Attempt, CheckpointRef, JobRecord, Outcome
from distill.contracts.settings import NodeSettings
from student_worker.check import check
from student_worker.ending import Ending
from student_worker.plan import Plan
from tests.student_worker.bitwise.left import Left, left_by
from tests.student_worker.bitwise.rank import ENDING_FILE, Cut, run
from tests.student_worker.forked import RankDied, run_ranks
from tests.student_worker.jobs import facts_of, store


def trained(record: JobRecord, settings: NodeSettings, redis: Redis, cuts: Sequence[Cut] = ()) -> Left:
    """Train the job to its end, cut so often on the way; what it leaves."""
    checked = check(record, settings, redis)
    record = record.model_copy(update={"spec": checked.spec})
    for number, cut in enumerate([*cuts, None], 1):
        record = _next_attempt(record, number, redis)
        store(redis, record)
        plan = Plan(record=record, attempt=number, started_at=0.0, checked_at=0.0, num_steps=checked.num_steps)
        ending = _attempt(plan, settings, cut)
        if cut is not None:
            _see_that_it_was_cut(ending, _last_checkpoint(redis, record), cut)
    assert ending is not None
    assert ending.outcome is Outcome.FINISHED, ending
    last = _last_checkpoint(redis, record)
    assert last is not None
    return left_by(settings.storage / last.path, settings.storage / str(ending.result))


def _next_attempt(record: JobRecord, number: int, redis: Redis) -> JobRecord:
    attempts = tuple(Attempt(number=one) for one in range(1, number + 1))
    return record.model_copy(update={"attempts": attempts, "checkpoint": _last_checkpoint(redis, record)})


def _last_checkpoint(redis: Redis, record: JobRecord) -> CheckpointRef | None:
    saved = [fact.checkpoint for fact in facts_of(redis, record.id) if isinstance(fact, CheckpointSaved)]
    return saved[-1] if saved else None


def _attempt(plan: Plan, settings: NodeSettings, cut: Cut | None) -> Ending | None:
    """How it ended; None if it was killed."""
    (settings.storage / names.attempt_folder(plan.job, plan.attempt)).mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="ranks-") as folder:
        taken = (plan, settings, cut, Path(folder))
        try:
            run_ranks(run, taken, num_ranks=plan.record.spec.compute.workers)
        except RankDied:
            if cut is None or cut.how != "killed":
                raise
            return None
        return Ending.model_validate_json((Path(folder) / ENDING_FILE).read_bytes())


def _see_that_it_was_cut(ending: Ending | None, saved: CheckpointRef | None, cut: Cut) -> None:
    if cut.how == "killed":
        assert ending is None
        return
    assert ending is not None
    assert ending.outcome is Outcome.PAUSED, ending
    assert (saved.step if saved else 0) == cut.step
