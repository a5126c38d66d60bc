"""``fair_share``: who gets a replica's device when two teams both want all of it.

The real queue and device threads, around a device that takes a fixed time per row.
"""

import asyncio
from collections.abc import Mapping

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.intervals import interval_of
from benchmarks.one_replica import one_replica

ROW_US = 20.0
WINDOW_ROWS, BATCH_ROWS = 128, 256
WARM_S = 0.3


def measure(bench: Bench) -> list[Figure]:
    """One team with ten times the other's windows; and two teams alike, of weights 2 and 1."""
    rounds, seconds = bench.effort.rounds, bench.effort.counted_s
    crowded = [share({"small": 2, "large": 20}, {}, seconds=seconds)["small"] for _ in range(rounds)]
    weights = {"double": 2.0, "single": 1.0}
    weighted = [share({"double": 8, "single": 8}, weights, seconds=seconds)["double"] for _ in range(rounds)]
    errors = [abs(one / (2 / 3) - 1) for one in weighted]
    details = {"window_rows": WINDOW_ROWS, "device_batch_rows": BATCH_ROWS, "row_us": ROW_US, "seconds": seconds}
    return [
        Figure(
            "fair_share",
            interval_of(crowded),
            Goal(at_least=0.45, at_most=0.55),
            details={**details, "windows_in_flight": [2, 20]},
        ),
        Figure(
            "fair_share.error_of_2_to_1",
            interval_of(errors),
            Goal(at_most=0.1),
            details={**details, "windows_in_flight": [8, 8], "shares_of_the_double": weighted},
        ),
    ]


def share(windows: Mapping[str, int], weights: Mapping[str, float], *, seconds: float) -> dict[str, float]:
    """Team -> its share of all rows that were answered, where each has so many windows under way all the time."""
    return asyncio.run(_share(windows, weights, seconds))


async def _share(windows: Mapping[str, int], weights: Mapping[str, float], seconds: float) -> dict[str, float]:
    with one_replica(batch_rows=BATCH_ROWS, row_us=ROW_US) as replica:
        replica.batcher.set_weights(weights)
        async with asyncio.TaskGroup() as asking:
            done = asyncio.Event()
            for team, count in windows.items():
                asking.create_task(
                    replica.keep_asking({"team": team}, num_rows=WINDOW_ROWS, in_flight=count, until=done)
                )
            await asyncio.sleep(WARM_S)
            before = replica.tally.rows.copy()
            await asyncio.sleep(seconds)
            rows = replica.tally.rows - before
            done.set()
    return {team: count / rows.total() for team, count in rows.items()}
