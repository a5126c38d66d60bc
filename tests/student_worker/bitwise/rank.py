"""One rank of an attempt as a process of its own, which right before a chosen step hears a directive, or dies.

What runs is the worker's loop; only its teachers are in the same process, and the directive is looked at more often.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import distributed as dist

from distill.contracts.records import JobRecord, Wish
from distill.contracts.settings import NodeSettings
from distill.contracts.taps import MemberTap
from distill.journal import watch
from distill.journal.client import open_redis
from examples.in_process import teachers_here
from student_worker import loop, setup
from student_worker.plan import Plan
from student_worker.pool import Pool
from student_worker.ranks import Ranks, Stop
from student_worker.session import Session
from student_worker.targets import Lesson
from tests.student_worker.jobs import wants

ENDING_FILE = "ending.json"
HEARD_S = 60.0


@dataclass(frozen=True)
class Cut:
    """An attempt's end before its time."""

    step: int
    """The first that isn't taken any more, over all epochs; as many as there are: after the last one."""
    how: Literal["paused", "killed"] = "paused"


def run(rank: int, plan: Plan, settings: NodeSettings, cut: Cut | None, folder: Path) -> None:
    """Run the rank to the attempt's end, and leave the ending in ``folder`` if it is the first one."""
    watch.POLL_S = 0.01
    num_ranks = plan.record.spec.compute.workers
    if num_ranks > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=num_ranks)
    ranks = Ranks(rank, num_ranks, torch.device("cpu"))

    def open_pool(record: JobRecord, *_: object, taps: Sequence[MemberTap], **__: object) -> Pool | None:
        return teachers_here(record, settings, taps)

    def prepare(*taken: Any, wanted: Callable[[], Stop], **more: Any) -> tuple[Session, Iterator[Lesson]]:
        session, lessons = setup.prepare(*taken, wanted=wanted, **more)
        if cut is None:
            return session, lessons
        return session, _with_cut(lessons, session, lambda: _end(cut, plan, settings, ranks, wanted), cut.step)

    loop.open_pool, loop.prepare = open_pool, prepare
    ending = loop.run_rank(plan, settings, ranks)
    if ranks.is_first:
        (folder / ENDING_FILE).write_text(ending.model_dump_json())
    # as Ray ends its workers: gloo's threads can outlive Python's own end, and abort the process then
    os._exit(0)


def _with_cut(lessons: Iterator[Lesson], session: Session, end: Callable[[], None], step: int) -> Iterator[Lesson]:
    for lesson in lessons:
        if session.steps_done == step:
            end()
        yield lesson
    if session.steps_done == step:
        end()


def _end(cut: Cut, plan: Plan, settings: NodeSettings, ranks: Ranks, wanted: Callable[[], Stop]) -> None:
    is_after_the_last = cut.step == plan.num_steps
    # any rank may be the first to hear, or the one that dies
    is_mine = ranks.rank == cut.step % ranks.world_size
    if cut.how == "killed":
        if is_mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return
    if is_mine:
        wants(open_redis(settings.redis_url), plan.record, Wish.PAUSE)
    if is_mine or is_after_the_last:
        deadline = time.monotonic() + HEARD_S
        while wanted() is not Stop.PAUSE:
            assert time.monotonic() < deadline, "the directive was not heard"
            time.sleep(0.001)
