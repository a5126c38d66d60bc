"""How fast an ensemble answers on its device, and whether it pays to run members of one architecture together."""

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from distill.contracts.models import InputSpec
from distill.contracts.teachers import ComputePrecision
from distill.science.inputs import example_input
from distill.science.models import Classifier
from teacher_server.fused import groups_of
from teacher_server.runner import Ensemble
from teacher_server.window import LOGITS, Array

log = logging.getLogger(__name__)

WINDOW_ROWS = 256
TIMED_S = 0.3
"""How long each way of computing is timed."""
MIN_ROUNDS = 3
"""With fewer, a median says nothing."""
GAIN = 1.1
"""Fused is so many times as fast, or not worth other last bits."""
CLOSE = 1e-5
"""Fused logits may differ by so much, and by so much of their size."""


@dataclass(frozen=True)
class Pace:
    """What was measured, of the very path that serves."""

    rows_per_s: float
    fused: bool


def measure_pace(
    members: Sequence[Classifier],
    *,
    input: InputSpec,
    num_classes: int,
    device: torch.device,
    max_batch_rows: int,
    precision: ComputePrecision,
) -> Pace:
    """Time windows of 256 rows: one member after the other and, where members share an architecture, fused.

    Both ways are timed by turns, and the medians compared. It takes half a second or so; a slow ensemble is timed over
    one window, and never fused: its time goes into the members' own work, of which fusing saves nothing.
    """
    make = partial(
        Ensemble,
        members,
        input=input,
        num_classes=num_classes,
        taps=[{} for _ in members],
        device=device,
        max_batch_rows=max_batch_rows,
        precision=precision,
    )
    rows = example_input(input, min(WINDOW_ROWS, max_batch_rows)).numpy()
    plain = make(fused=False)
    _logits(plain, rows)  # the first window on a device also loads libraries
    started = time.perf_counter()
    expected = _logits(plain, rows)
    is_slow = time.perf_counter() - started > TIMED_S
    fused = None if is_slow or not groups_of(members) else _fused(make, rows, expected)
    if fused is None:
        [seconds] = _time_by_turns(rows, [plain])
        return Pace(len(rows) / statistics.median(seconds), fused=False)
    return faster(len(rows), *_time_by_turns(rows, [plain, fused]))


def faster(num_rows: int, alone_s: list[float], together_s: list[float]) -> Pace:
    """Fused if that is a tenth faster by the medians of enough windows; the arguments are seconds of each window."""
    alone, together = (num_rows / statistics.median(seconds) for seconds in (alone_s, together_s))
    pays = len(together_s) >= MIN_ROUNDS and together > GAIN * alone
    verdict = "members are fused" if pays else "members are not fused"
    log.info("%s: %.0f rows/s as one forward pass, %.0f one after the other", verdict, together, alone)
    return Pace(together if pays else alone, fused=pays)


def _fused(make: Callable[..., Ensemble], rows: Array, expected: Array) -> Ensemble | None:
    """The ensemble with members fused, if they run so and answer the same."""
    try:
        fused = make(fused=True)
        came = _logits(fused, rows)
    except Exception as error:
        # whatever a model does that can't be mapped over stacked weights, torch raises; the version is no worse for it
        log.info("members are not fused: they can't run as one forward pass (%s: %s)", type(error).__name__, error)
        return None
    if not np.allclose(came, expected, rtol=CLOSE, atol=CLOSE):
        log.info("members are not fused: their answers would differ by %.1g", np.abs(came - expected).max())
        return None
    return fused


def _time_by_turns(rows: Array, ensembles: Sequence[Ensemble]) -> list[list[float]]:
    """Seconds of each window, for each ensemble."""
    seconds: list[list[float]] = [[] for _ in ensembles]
    until = time.perf_counter() + TIMED_S * len(ensembles)
    while not seconds[0] or time.perf_counter() < until:
        for of_one, ensemble in zip(seconds, ensembles, strict=True):
            started = time.perf_counter()
            _logits(ensemble, rows)
            of_one.append(time.perf_counter() - started)
    return seconds


def _logits(ensemble: Ensemble, rows: Array) -> Array:
    return ensemble.answer(rows, members=ensemble.choose_members(None), precision="fp32", taps=())[LOGITS]
