"""The ranks of one attempt, and how they agree: all stop at the same step, or none does."""

from datetime import timedelta
from enum import IntEnum

import torch
from torch import distributed as dist

PATIENCE = timedelta(days=1)
"""Rank 0 may measure for long while others stand at the next step; a rank that dies ends the wait at once."""


class Stop(IntEnum):
    """Why a rank wants to stop; the greatest of all ranks is what all do."""

    NO = 0
    WAITED = 1
    """No teacher answers."""
    PAUSE = 2
    WALL_TIME = 3
    CANCEL = 4
    DIVERGED = 5
    SUPERSEDED = 6
    """Nothing more may be written."""


class Ranks:
    """This rank among the others; agreement goes over a group of its own on the CPU, so that no GPU stands still."""

    def __init__(self, rank: int, world_size: int, device: torch.device) -> None:
        self.rank = rank
        self.world_size = world_size
        self.device = device
        self._group = dist.new_group(backend="gloo", timeout=PATIENCE) if world_size > 1 else None

    @property
    def is_first(self) -> bool:
        """Rank 0 alone reports, saves and measures."""
        return self.rank == 0

    def agree(self, wanted: Stop) -> Stop:
        """The greatest reason that any rank has; every rank calls this at the same step."""
        if self._group is None:
            return wanted
        greatest = torch.tensor(int(wanted))
        dist.all_reduce(greatest, op=dist.ReduceOp.MAX, group=self._group)
        return Stop(int(greatest))

    def total(self, *values: float) -> list[float]:
        """The sum of each value over all ranks."""
        if self._group is None:
            return list(values)
        totals = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(totals, group=self._group)
        return [float(total) for total in totals]
