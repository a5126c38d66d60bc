"""``python -m tests.chaos --minutes 10 --seed 0``: a stack of its own, a storm, and what it left."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from services.client.client import StillhouseClient
from services.stack.settings import StackSettings
from services.stack.stack import Stack
from tests.chaos.storm import Log, rage
from tests.chaos.teacher import publish


def main() -> int:
    """Returns 0 if every job succeeded with the losses that it would have had."""
    parser = argparse.ArgumentParser(description="Kill at random, and see that nothing is lost.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.1f} s  {text}", flush=True)

    with (
        tempfile.TemporaryDirectory(prefix="storm-") as home,
        Stack(StackSettings(home=Path(home)), port=0, num_cpus=6) as stack,
    ):
        with StillhouseClient(stack.url, key=stack.key) as client:
            teacher = publish(client)
        log = rage(stack, teacher, seconds=60 * asked.minutes, seed=asked.seed, say=say)
        aside = sorted((stack.node.storage / "answers").rglob("*.aside"))
    _tell(log, aside)
    return int(bool(log.lost or log.changed or aside or not log.disturbed))


def _tell(log: Log, aside: list[Path]) -> None:
    killed = ", ".join(f"{kind} {count}" for kind, count in sorted(log.kills.items()))
    attempts = sum(job.attempts for job in log.disturbed)
    print(f"killed: {killed} ({log.kills.total()} in all)")
    print(f"disturbed jobs: {len(log.disturbed)} in {attempts} attempts; not SUCCEEDED: {len(log.lost)}")
    print(f"with other losses than undisturbed: {len(log.changed)}; torn segments: {len(aside)}")


if __name__ == "__main__":
    sys.exit(main())
