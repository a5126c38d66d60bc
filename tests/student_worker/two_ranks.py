"""Jobs trained by two ranks that are processes of this machine, without Ray."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch import distributed as dist

from distill.contracts.measures import CurvePoint
from distill.contracts.records import JobRecord
from distill.contracts.settings import NodeSettings
from distill.contracts.taps import MemberTap
from distill.journal.client import open_redis
from distill.science.datasets import load
from student_worker.checkpoints import TrainingState
from student_worker.plan import Plan
from student_worker.pool import Pool
from student_worker.ranks import Ranks, Stop
from student_worker.reporting import Reporter
from student_worker.session import Session
from student_worker.setup import make_training, prepare
from tests.student_worker.fakes import FakePool
from tests.student_worker.forked import run_ranks
from tests.student_worker.knowledge import OpenPool
from tests.student_worker.test_checkpoints import saved_at

Trained = tuple[dict[str, Tensor], tuple[CurvePoint, ...]]
"""All that is trained, by name, and the curve, as rank 0 ends with them."""


def trained_by_two(
    records: Sequence[JobRecord], settings: NodeSettings, folder: Path, *, cut: int, open_pool: OpenPool
) -> dict[str, tuple[Trained, Trained]]:
    """Each training twice: as a whole, and paused before step ``cut`` and resumed; by the job's identity."""
    run_ranks(_rank, (records, settings, folder, cut, open_pool), num_ranks=2)
    return {
        record.id: (_read(folder / record.id / "whole"), _read(folder / record.id / "resumed")) for record in records
    }


def fake_pool(record: JobRecord, settings: NodeSettings, taps: Sequence[MemberTap]) -> Pool:
    """Teachers without weights."""
    return FakePool()


def _rank(
    rank: int, records: Sequence[JobRecord], settings: NodeSettings, folder: Path, cut: int, open_pool: OpenPool
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    ranks = Ranks(rank, 2, torch.device("cpu"))
    for record in records:
        _keep(_taught(record, settings, ranks, open_pool, attempt=9), ranks, folder / record.id / "whole")
        _taught(record, settings, ranks, open_pool, attempt=1, stop_at=cut)
        dist.barrier()
        again = _taught(saved_at(record, settings, cut), settings, ranks, open_pool, attempt=2)
        _keep(again, ranks, folder / record.id / "resumed")
        dist.barrier()
    # as Ray ends its workers: gloo's threads can outlive Python's own end, and abort the process then
    os._exit(0)


def _taught(
    record: JobRecord,
    settings: NodeSettings,
    ranks: Ranks,
    open_pool: OpenPool,
    *,
    attempt: int,
    stop_at: int | None = None,
) -> Session:
    dataset, spec = load(record.spec.dataset, settings), record.spec.training
    num_steps = dataset.facts.num_train // spec.batch_size * spec.epochs
    plan = Plan(record=record, attempt=attempt, started_at=0.0, checked_at=0.0, num_steps=num_steps)
    reporter = Reporter(None, attempt=attempt, training=spec, num_steps=num_steps)
    sessions: list[Session] = []

    def wanted() -> Stop:
        # one rank alone knows it: the others stop there because they agree to
        return Stop.PAUSE if sessions[0].steps_done == stop_at and ranks.rank == 1 else Stop.NO

    training = make_training(plan, settings, open_redis(settings.redis_url), ranks, dataset)
    pool = open_pool(record, settings, training.learner.served_taps)
    session, lessons = prepare(
        plan, settings, ranks, reporter, dataset, training, pool, wanted=wanted, applied=lambda: None
    )
    sessions.append(session)
    session.teach(lessons)
    return session


def _keep(session: Session, ranks: Ranks, folder: Path) -> None:
    if ranks.is_first:
        folder.mkdir(parents=True)
        save_file(session.training.learner.state_dict(), folder / "weights.safetensors")
        (folder / "state.json").write_text(session.state.model_dump_json())


def _read(folder: Path) -> Trained:
    state = TrainingState.model_validate_json((folder / "state.json").read_bytes())
    return load_file(folder / "weights.safetensors"), state.curve
