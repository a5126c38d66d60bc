"""Ranks as processes of this machine, each new, and there in a moment: forked off one that has only imported what they need."""

import multiprocessing
from collections.abc import Callable
from typing import Any

from torch import multiprocessing as mp

IMPORTED = (
    "tests.student_worker.bitwise.__main__",
    "tests.student_worker.two_ranks",
    # what is imported on first use, which takes seconds
    "sklearn.datasets",
    "torch._dynamo",
    "torch.export",
)
multiprocessing.set_forkserver_preload(list(IMPORTED))


class RankDied(Exception):
    """A rank was killed, or failed: then the others are ended too."""


def run_ranks(rank: Callable[..., None], taken: tuple[Any, ...], *, num_ranks: int) -> None:
    """Run ``rank(number, *taken)`` in so many processes, and wait for all of them.

    Raises:
        RankDied: what the first to fail said of it.
    """
    try:
        mp.start_processes(rank, taken, nprocs=num_ranks, start_method="forkserver")
    except (mp.ProcessExitedException, mp.ProcessRaisedException) as error:
        raise RankDied(str(error)) from error
