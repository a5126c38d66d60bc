"""What accelerators noted and askers saw, laid beside each other: one clock, since it is one machine."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True)
class Computed:
    """A device batch."""

    began: float
    """Seconds on the machine's monotonic clock."""
    ended: float
    rows: int


def read_notes(folder: Path) -> list[Computed]:
    """All batches of all replicas that noted to ``folder``."""
    lines = [line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    return [Computed(**json.loads(line)) for line in lines]


def idle_while_waiting(
    computed: Sequence[Computed],
    asked: Sequence[float],
    *,
    batch_rows: int,
    num_replicas: int,
    since: float,
    until: float,
) -> float:
    """Share of replica time in which a replica computed nothing while more than one batch waited anywhere.

    Args:
        computed: by all replicas; each computes one batch at a time.
        asked: when each window of ``batch_rows`` rows was asked for; it waits from then on until a batch takes it up, so
            the way to the replica counts as waiting.
        batch_rows: rows of a device batch.
        num_replicas: how many there are.
        since: of the time that counts.
        until: its end.
    """
    changes = [(at, batch_rows, 0) for at in asked]
    changes += [(batch.began, -batch.rows, 1) for batch in computed]
    changes += [(batch.ended, 0, -1) for batch in computed]
    idle = waiting = busy = 0.0
    changes = sorted([*changes, (since, 0, 0), (until, 0, 0)])
    for (at, rows, begun), (then, _, _) in pairwise(changes):
        waiting, busy = waiting + rows, busy + begun
        if waiting > batch_rows and since <= at < until:
            idle += (then - at) * max(0.0, num_replicas - busy)
    return idle / ((until - since) * num_replicas)
