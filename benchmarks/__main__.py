"""``python -m benchmarks [--full] [--only KEY ...] | --profile``: what the teacher pool costs and gains, as a table and as JSON.

By default within 15 minutes on two quiet cores, in shorter turns than with ``--full``; how long each was stands in the
JSON, ``benchmarks/results/latest.json``, with thread counts, measured costs and the machine.
"""

import argparse
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import FULL, QUICK, Bench
from benchmarks.figures import Figure, table
from benchmarks.intervals import METHOD
from benchmarks.machine import describe
from distill.science.allocator import keep_freed_memory

RESULTS = Path(__file__).parent / "results" / "latest.json"

MEASUREMENTS = {
    "wire": ("wire_bytes_per_row",),
    "fair_share": ("fair_share",),
    "batch_fill": ("batch_fill",),
    "idle_share": ("idle_share",),
    "hidden_teacher": ("hidden_teacher_ratio",),
    "warm_epoch": ("warm_epoch_ratio",),
    "forwards": ("forwards_per_distinct_row",),
    "same_budget": ("same_budget_first_epoch", "same_budget_bound"),
    "ten_epochs": ("ten_epoch_speedup", "ten_epoch_bound"),
    "recovery": ("recover_s", "failed_steps"),
}
"""Module of this package, and the keys that its figures begin with; in the order in which they are measured."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and keep; 1 where a measurement broke, whatever the figures are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="longer turns and more of them; no limit of time")
    parser.add_argument("--only", nargs="+", metavar="KEY", help="only the figures whose key begins so")
    parser.add_argument(
        "--profile", action="store_true", help="instead: where the student's process spends CPU for its teachers"
    )
    given = parser.parse_args(arguments)
    os.environ["RAY_AUTH_MODE"] = "token"  # Ray reads it when it is imported, which may be before the stack is up
    # as Ctrl-C does: the stack must not outlive this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    keep_freed_memory()  # as ranks and replicas do; it is for loops without a pool too, which run in this process
    if given.profile:
        return _profile()
    chosen = _chosen(given.only)
    if not chosen:
        parser.error(f"no figure begins with {' or '.join(given.only)}: {', '.join(sum(MEASUREMENTS.values(), ()))}")
    machine = describe()
    figures: list[Figure] = []
    took: dict[str, float] = {}
    broke: dict[str, str] = {}
    with Bench(FULL if given.full else QUICK, say=_say) as bench:
        for name in chosen:
            began = time.monotonic()
            try:
                figures += importlib.import_module(f"benchmarks.{name}").measure(bench)
            except Exception as error:  # one that breaks must not take the others' figures along
                traceback.print_exc()
                broke[name] = f"{type(error).__name__}: {error}"
            took[name] = round(time.monotonic() - began, 1)
            _say(f"{name} took {took[name]:.0f} s")
            # after each: a run that is interrupted leaves what it found
            _keep(machine | {"seconds": took, "broke": broke, "full": given.full}, figures)
    print(table(figures))
    for name, why in broke.items():
        print(f"\n{name} broke: {why}")
    print(f"\n{RESULTS}")
    return 1 if broke else 0


def _profile() -> int:
    with Bench(QUICK, say=_say) as bench:
        print(importlib.import_module("benchmarks.client_profile").report(bench))
    return 0


def _chosen(only: Sequence[str] | None) -> list[str]:
    return [
        name
        for name, keys in MEASUREMENTS.items()
        if only is None or any(key.startswith(wanted) for key in keys for wanted in only)
    ]


def _keep(machine: dict[str, Any], figures: Sequence[Figure]) -> None:
    command = " ".join(["python -m benchmarks", *sys.argv[1:]])
    found = {
        "machine": machine,
        "method": METHOD,
        "figures": {figure.key: figure.to_json(command) for figure in figures},
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
