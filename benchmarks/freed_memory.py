"""``python -m benchmarks.freed_memory``: what it gains that a process keeps the memory it frees (`distill.science.allocator`).

A forward pass of a teacher in a thread, as a replica runs it, and a step of a student in the main thread, one torch thread
each; in fresh processes, since a process is lucky or unlucky for as long as it lives. Those with and without take turns.
"""

import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

from benchmarks.intervals import in_turns, interval_of, ratios

ROUNDS, SECONDS, WARM_CALLS = 10, 1.5, 5
BATCH, SIDE, NUM_CLASSES = 128, 28, 10


def main() -> None:
    """Print a table."""
    print("| what | kept over not kept | 95 % interval | us a row, kept | not kept | faults a row, kept | not kept |")
    print("|---|---|---|---|---|---|---|")
    for what in ("forward", "step"):
        faults: dict[bool, list[float]] = {True: [], False: []}
        measured = in_turns(
            {
                "kept": partial(_side, what, keep=True, faults=faults[True]),
                "not": partial(_side, what, keep=False, faults=faults[False]),
            },
            rounds=ROUNDS,
        )
        speed = interval_of(ratios(measured["not"], measured["kept"]))
        cells = [_range(values) for values in (measured["kept"], measured["not"], faults[True], faults[False])]
        print(
            f"| {what} | {speed.median:.2f} | {speed.low:.2f} to {speed.high:.2f} | {' | '.join(cells)} |", flush=True
        )


def _range(values: list[float]) -> str:
    return f"{min(values):.1f} to {max(values):.1f}"


def _side(what: str, *, keep: bool, faults: list[float]) -> float:
    """Microseconds a row in a process of its own; its page faults a row go to ``faults``."""
    command = [sys.executable, "-m", "benchmarks.freed_memory", what, *(["keep"] if keep else [])]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    faults.append(found["faults"])
    return float(found["us"])


def _measure(what: str, *, keep: bool) -> dict[str, float]:
    import torch

    from distill.contracts.models import ImageInput, ZooArgs, ZooModel
    from distill.science.allocator import keep_freed_memory
    from distill.science.models import build

    torch.set_num_threads(1)
    if keep and not keep_freed_memory():
        raise SystemExit("this C library has no such setting")
    width = 24 if what == "forward" else 12
    images = ImageInput(channels=1, height=SIDE, width=SIDE, mean=(0.5,), std=(0.5,))
    net = build(ZooModel(name="cnn", args=ZooArgs(width=width)), input=images, num_classes=NUM_CLASSES)
    rows = torch.randint(0, 256, (BATCH, 1, SIDE, SIDE), dtype=torch.uint8)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    def forward() -> None:
        with torch.inference_mode():
            net(rows)

    def step() -> None:
        optimizer.zero_grad()
        net(rows).logsumexp(dim=1).sum().backward()
        optimizer.step()

    if what == "step":
        return _timed(step)
    net.eval()
    found: dict[str, float] = {}
    thread = threading.Thread(target=lambda: found.update(_timed(forward)))
    thread.start()
    thread.join()
    return found


def _timed(call: Callable[[], None]) -> dict[str, float]:
    for _ in range(WARM_CALLS):
        call()
    calls, began, faults = 0, time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    while time.perf_counter() - began < SECONDS:
        call()
        calls += 1
    rows = calls * BATCH
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    return {"us": (time.perf_counter() - began) / rows * 1e6, "faults": faults / rows}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(_measure(sys.argv[1], keep="keep" in sys.argv)))
    else:
        main()
