"""``python -m tests.chaos.jobs --seconds 600 --seed 1``: users, troubles by the seed, and what must hold afterwards."""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path


def main() -> int:
    """Returns 0 if every invariant holds, 1 if one is broken."""
    # not at the top: each process that is forked for the run imports this module
    from tests.chaos.jobs.checks import broken
    from tests.chaos.jobs.run import rage
    from tests.chaos.jobs.summary import summary

    parser = argparse.ArgumentParser(prog="python -m tests.chaos.jobs", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of troubles")
    parser.add_argument("--seed", type=int, default=0, help="the same one gives the same troubles")
    parser.add_argument("--keep", type=Path, help="a new folder for logs and all else that is left; otherwise removed")
    asked = parser.parse_args()
    # as Ctrl-C does: what is started here must not outlive this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {text}", flush=True)

    with tempfile.TemporaryDirectory(prefix="chaos-") as made:
        folder = Path(made) if asked.keep is None else asked.keep
        folder.mkdir(parents=True, exist_ok=asked.keep is None)
        outcome = asyncio.run(rage(folder, seed=asked.seed, seconds=asked.seconds, say=say))
    found = broken(outcome.evidence)
    print("\n" + summary(outcome, found))
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
