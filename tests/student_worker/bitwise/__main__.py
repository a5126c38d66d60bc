"""``python -m tests.student_worker.bitwise --seed 1``: every scheme, cut at random steps, ends as if nobody had cut it."""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from distill.contracts.settings import NodeSettings
from distill.journal.client import open_redis
from services.stack import redis_server
from services.stack.home import StackHome
from tests.student_worker.bitwise.schemes import SCHEMES, published
from tests.student_worker.bitwise.table import rows, tell


def main(say: Callable[[str], None] = lambda text: print(text, flush=True)) -> int:
    """Returns 0 if nothing differs."""
    parser = argparse.ArgumentParser(description="Pause and resume every scheme, and compare bit for bit.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cuts", type=int, default=3, help="at random steps; others are always there")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--scheme", action="append", choices=list(SCHEMES), help="this one alone; may be repeated")
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bitwise-") as folder:
        home = StackHome(Path(folder) / "redis")
        home.make()
        child, state = redis_server.start_redis(home, environment={}, last=None)
        try:
            settings = _node(Path(folder), state.url)
            told = rows(
                settings,
                open_redis(state.url),
                published(settings),
                seed=asked.seed,
                num_cuts=asked.cuts,
                workers=asked.workers,
                schemes=asked.scheme or SCHEMES,
            )
            num_differing = tell(told, say)
        finally:
            child.stop(10.0)
    say(f"\n{num_differing} rows differ; {time.monotonic() - began:.0f} s")
    return int(bool(num_differing))


def _node(folder: Path, redis_url: str) -> NodeSettings:
    (folder / "data").mkdir()
    return NodeSettings(
        redis_url=redis_url, storage=folder / "storage", data_root=folder / "data", cache=folder / "cache"
    )


if __name__ == "__main__":
    sys.exit(main())
