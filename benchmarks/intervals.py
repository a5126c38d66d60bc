"""Medians with their 95 % intervals, and sides of a comparison that take turns.

Not called ``statistics``: a script of this folder would meet it in place of Python's own.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

CONFIDENCE = 0.95
FEWEST = 6
"""Of five values not even the least and the greatest hold the median between them with 95 %."""

METHOD = "median and distribution-free 95 % interval of order statistics (David, Nagaraja, 2003, section 7.1)"


@dataclass(frozen=True)
class Interval:
    """A median, and what holds it with 95 %."""

    median: float
    low: float
    high: float


def interval_of(values: Iterable[float]) -> Interval:
    """The median of at least six values, and the narrowest pair of order statistics that holds it with 95 %.

    The k-th least and the k-th greatest of n values hold the median between them with probability
    1 - 2 P(Binomial(n, 1/2) < k), whatever the values' distribution.

    Raises:
        ValueError: fewer than six values.

    Source:
        David, Nagaraja (2003), Order Statistics, 3rd edition, section 7.1.
    """
    ordered = sorted(values)
    count = len(ordered)
    if count < FEWEST:
        raise ValueError(f"a 95 % interval of a median takes at least {FEWEST} values, not {count}")
    rank = max(k for k in range(1, count // 2 + 1) if coverage(count, k) >= CONFIDENCE)
    return Interval(_median(ordered), ordered[rank - 1], ordered[count - rank])


def coverage(count: int, rank: int) -> float:
    """With what probability the ``rank``-th least and greatest of ``count`` values hold the median between them."""
    return 1 - 2 * sum(math.comb(count, k) for k in range(rank)) / 2**count


def counted(value: float) -> Interval:
    """What was counted or worked out once, and isn't uncertain."""
    return Interval(value, value, value)


Sides = Mapping[str, Callable[[], float]]


def in_turns(sides: Sides | Callable[[], AbstractContextManager[Sides]], *, rounds: int) -> dict[str, list[float]]:
    """Measure every side once a round; who is first changes from round to round, so that no side gains by a drift.

    Args:
        sides: what is measured; or opens it anew for each round, where what runs can be lucky for as long as it lives.
        rounds: how many.

    Returns:
        What each side gave, one value a round.
    """
    measured: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        with sides() if callable(sides) else nullcontext(sides) as opened:
            names = list(opened)
            first = number % len(names)
            for name in names[first:] + names[:first]:
                measured[name].append(opened[name]())
    return dict(measured)


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Round by round: a drift from one round to the next cancels out."""
    return [one / other for one, other in zip(over, under, strict=True)]


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
