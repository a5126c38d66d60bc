"""``python -m benchmarks.half_precision [SEEDS]``: what changes when teachers answer in half precision, on digits.

The same students learn from the same teachers, in this process, whose answers come in fp32 and in fp16. Prints a
Markdown table: the relative difference of the losses of the first 50 steps and of all steps, and the accuracies at the end.
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis import Redis

from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import ResolvedTeacher
from tests.student_worker.knowledge import a_job, a_trained_teacher, accuracy, step_by_step

FIRST = 50
STAGES = [{"student": "stages.1", "teacher": "stages.1"}]
ANSWERS = [{"kind": "labels", "weight": 0.1}, {"kind": "soft_targets", "weight": 0.9}]
KNOWLEDGE: dict[str, list[dict[str, Any]]] = {
    "soft targets": ANSWERS,
    "and attention": [*ANSWERS, {"kind": "attention", "weight": 100.0, "pairs": STAGES}],
    "and a hint": [*ANSWERS, {"kind": "hint", "pairs": STAGES}],
}


def main() -> None:
    """Train each student twice for each seed, and print a row for each kind of knowledge."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
    print(f"| learns from | loss, first {FIRST} steps: max, mean | all steps: max, mean | accuracy fp32 | fp16 |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as home:
        storage = Path(home)
        (storage / "data").mkdir()
        # no student starts from another job's weights, so nothing is ever asked of this Redis
        url = "redis://127.0.0.1:1"
        settings = NodeSettings(redis_url=url, storage=storage, data_root=storage / "data", cache=storage / "cache")
        wise = a_trained_teacher(settings)
        for what, objective in KNOWLEDGE.items():
            pairs = [[_run(settings, wise, objective, seed, how) for how in ("fp32", "fp16")] for seed in seeds]
            print(_row(what, pairs), flush=True)


Run = tuple[list[float], float]
"""The loss of each step, and the accuracy on test rows at the end."""


def _run(
    settings: NodeSettings, wise: ResolvedTeacher, objective: list[dict[str, Any]], seed: int, precision: str
) -> Run:
    training = {"epochs": 10, "batch_size": 96, "optimizer": {"kind": "adamw", "lr": 0.005}, "seed": seed}
    answers = {"precision": precision}
    record = a_job(settings, "half", (wise,), objective=objective, training=training, answers=answers)
    steps = list(step_by_step(record, settings, Redis.from_url(settings.redis_url)))
    session, _ = steps[-1]
    return [loss for _, loss in steps], accuracy(session, settings)


def _row(what: str, pairs: Sequence[Sequence[Run]]) -> str:
    apart = [[abs(a - b) / abs(a) for a, b in zip(single[0], half[0], strict=True)] for single, half in pairs]
    first = [difference for differences in apart for difference in differences[:FIRST]]
    every = [difference for differences in apart for difference in differences]
    cells = [f"{max(some):.1e}, {statistics.mean(some):.1e}" for some in (first, every)]
    cells += [_mean_and_spread([pair[place][1] for pair in pairs]) for place in (0, 1)]
    return f"| {what} | " + " | ".join(cells) + " |"


def _mean_and_spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


if __name__ == "__main__":
    main()
