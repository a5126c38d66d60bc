"""One job trained by two ranks that are processes of this machine, without Ray."""

import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch import distributed as dist
from torch import multiprocessing as mp

from distill.contracts.measures import CurvePoint
from distill.contracts.records import JobRecord
from distill.contracts.settings import NodeSettings
from distill.journal.client import open_redis
from distill.science.datasets import load
from student_worker.checkpoints import TrainingState
from student_worker.plan import Plan
from student_worker.ranks import Ranks, Stop
from student_worker.reporting import Reporter
from student_worker.session import Session
from student_worker.setup import make_training, prepare
from tests.student_worker.fakes import FakePool
from tests.student_worker.test_checkpoints import saved_at

Trained = tuple[dict[str, Tensor], tuple[CurvePoint, ...]]
"""The weights and the curve that rank 0 ends with."""


def trained_by_two(record: JobRecord, settings: NodeSettings, folder: Path, *, cut: int) -> tuple[Trained, Trained]:
    """The same training twice: as a whole, and paused before step ``cut`` and resumed."""
    mp.spawn(_rank, (record, settings, folder, cut), nprocs=2)
    return _read(folder / "whole"), _read(folder / "resumed")


def _rank(rank: int, record: JobRecord, settings: NodeSettings, folder: Path, cut: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    ranks = Ranks(rank, 2, torch.device("cpu"))
    _keep(_taught(record, settings, ranks, attempt=9), ranks, folder / "whole")
    _taught(record, settings, ranks, attempt=1, stop_at=cut)
    dist.barrier()
    _keep(_taught(saved_at(record, settings, cut), settings, ranks, attempt=2), ranks, folder / "resumed")
    dist.barrier()
    # as Ray ends its workers: gloo's threads can outlive Python's own end, and abort the process then
    os._exit(0)


def _taught(
    record: JobRecord, settings: NodeSettings, ranks: Ranks, *, attempt: int, stop_at: int | None = None
) -> Session:
    plan = Plan(record=record, attempt=attempt, started_at=0.0, checked_at=0.0, num_steps=30)
    reporter = Reporter(None, attempt=attempt, training=record.spec.training, num_steps=30)
    dataset = load(record.spec.dataset, settings)
    sessions: list[Session] = []

    def wanted() -> Stop:
        # one rank alone knows it: the others stop there because they agree to
        return Stop.PAUSE if sessions[0].steps_done == stop_at and ranks.rank == 1 else Stop.NO

    training = make_training(plan, settings, open_redis(settings.redis_url), ranks, dataset)
    session, lessons = prepare(
        plan, settings, ranks, reporter, dataset, training, FakePool(), wanted=wanted, applied=lambda: None
    )
    sessions.append(session)
    session.teach(lessons)
    return session


def _keep(session: Session, ranks: Ranks, folder: Path) -> None:
    if ranks.is_first:
        folder.mkdir()
        save_file(session.training.model.state_dict(), folder / "weights.safetensors")
        (folder / "state.json").write_text(session.state.model_dump_json())


def _read(folder: Path) -> Trained:
    state = TrainingState.model_validate_json((folder / "state.json").read_bytes())
    return load_file(folder / "weights.safetensors"), state.curve
