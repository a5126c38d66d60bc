"""``python -m benchmarks.submit_to_first_step [ROUNDS]``: from a posted job to its first training step, phase by phase,
beside a bare `TorchTrainer` script that does the same on the same cluster, in turns. Prints a Markdown table of medians.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from distill.contracts.job import JobSpec
from services.client.client import StillhouseClient
from services.reports.timeline import stations
from services.stack.ray_head import ray_environment
from services.stack.settings import StackSettings
from services.stack.stack import Stack

JOB = {
    "name": "first-step",
    "dataset": {"source": "digits"},
    "student": {"source": "zoo", "name": "mlp", "args": {"hidden": [64]}},
    "training": {"epochs": 1, "batch_size": 128},
}


def main() -> None:
    """Take turns, and print both."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    ours, bare = [], []
    with (
        tempfile.TemporaryDirectory() as home,
        Stack(StackSettings(home=Path(home)), port=0) as stack,
        StillhouseClient(stack.url, key=stack.key) as client,
    ):
        for number in range(rounds + 1):
            print(f"round {number} of {rounds}" + (" (not counted)" if number == 0 else ""), file=sys.stderr)
            one, other = _ours(client), _bare(stack, Path(home) / f"marks-{number}.json")
            if number:
                ours.append(one)
                bare.append(other)
    _print("Stillhouse: submit to first step", ours)
    _print("a bare TorchTrainer script", bare)
    ratio = statistics.median(one["first step"] for one in ours) / statistics.median(one["first step"] for one in bare)
    print(f"\nratio of the medians to the first step: {ratio:.2f}")


def _ours(client: StillhouseClient) -> dict[str, float]:
    job = client.submit_job(JobSpec.model_validate(JOB))
    for _ in client.follow("job", job.id):
        pass
    return {station.name: station.at_s for station in stations(client.job(job.id))}


def _bare(stack: Stack, marks: Path) -> dict[str, float]:
    script = Path(__file__).with_name("bare_trainer.py")
    command = [sys.executable, str(script), str(time.time()), str(marks)]
    ray = stack.state.ray
    assert ray is not None
    address = {"RAY_ADDRESS": f"127.0.0.1:{ray.ports['port']}"}
    environment = os.environ | ray_environment(stack.home) | address
    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(ended.stdout.strip().splitlines()[-1])
    return found


def _print(title: str, runs: Sequence[Mapping[str, float]]) -> None:
    print(f"\n| {title} | at s (median of {len(runs)}) | after s | fastest | slowest |\n|---|---|---|---|---|")
    before = 0.0
    for name in runs[0]:
        at = sorted(run[name] for run in runs)
        middle = statistics.median(at)
        print(f"| {name} | {middle:.1f} | {middle - before:.1f} | {at[0]:.1f} | {at[-1]:.1f} |")
        before = middle


if __name__ == "__main__":
    main()
