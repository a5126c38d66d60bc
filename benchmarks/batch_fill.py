"""``batch_fill``: how full device batches are when many students ask little at once.

The real queue and device threads around a real, small convolutional net.
"""

import asyncio

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.intervals import interval_of
from benchmarks.one_replica import one_replica

STUDENTS, ROWS, IN_FLIGHT, BUDGET = 8, 16, 2, 64
WARM_S = 0.3


def measure(bench: Bench) -> list[Figure]:
    """Eight students asking 16 rows each, two asks in flight, batches of at most 64 rows."""
    runs = [asyncio.run(_batches(bench.effort.counted_s)) for _ in range(bench.effort.rounds)]
    fills = [sum(rows) / len(rows) / BUDGET for rows in runs]
    details = {
        "students": STUDENTS,
        "rows": ROWS,
        "in_flight": IN_FLIGHT,
        "budget": BUDGET,
        "threads": 1,
        "batches": [len(rows) for rows in runs],
        "seconds": bench.effort.counted_s,
    }
    return [Figure("batch_fill", interval_of(fills), Goal(at_least=0.8), details=details)]


async def _batches(seconds: float) -> list[int]:
    """Rows of each device batch."""
    with one_replica(batch_rows=BUDGET) as replica:
        async with asyncio.TaskGroup() as asking:
            done = asyncio.Event()
            for number in range(STUDENTS):
                header = {"job": f"job-{number}"}
                asking.create_task(replica.keep_asking(header, num_rows=ROWS, in_flight=IN_FLIGHT, until=done))
            await asyncio.sleep(WARM_S)
            replica.batches.clear()
            await asyncio.sleep(seconds)
            rows = list(replica.batches)
            done.set()
    return rows
