"""The troubles of a run: a pure function of its seed and its length, so that a run that broke can be tried again."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

PAUSE_S = (1.0, 5.0)
"""Between the beginnings of two troubles."""


class Place(StrEnum):
    """What a trouble befalls: one trouble at a time in each place, but workers have as many as there are."""

    CONTROL_PLANE = "the control plane"
    SECOND = "a second control plane"
    REDIS = "Redis"
    RAY = "Ray"
    WORKERS = "a worker"


@dataclass(frozen=True)
class Kind:
    """A kind of trouble."""

    name: str
    place: Place
    lasts_s: tuple[float, float] = (0.0, 0.0)
    """From and to; 0 for what is over as soon as it is done."""


KINDS: Sequence[Kind] = (
    Kind("control plane killed", Place.CONTROL_PLANE, (0.0, 8.0)),
    Kind("control plane killed at once again", Place.CONTROL_PLANE, (0.0, 0.3)),
    Kind("control plane frozen", Place.CONTROL_PLANE, (1.0, 12.0)),
    Kind("second control plane, then killed", Place.SECOND, (5.0, 30.0)),
    Kind("second control plane, then stopped", Place.SECOND, (5.0, 30.0)),
    Kind("worker killed", Place.WORKERS),
    Kind("worker interrupted", Place.WORKERS),
    Kind("worker frozen", Place.WORKERS, (4.0, 15.0)),
    Kind("worker frozen and called FAILED", Place.WORKERS, (15.0, 45.0)),
    Kind("worker wrongly called FAILED", Place.WORKERS),
    Kind("Redis killed", Place.REDIS, (0.0, 6.0)),
    Kind("Redis restarted", Place.REDIS, (0.0, 3.0)),
    Kind("Redis frozen", Place.REDIS, (0.5, 9.0)),
    Kind("Ray refuses", Place.RAY, (1.0, 10.0)),
    Kind("Ray hangs", Place.RAY, (1.0, 25.0)),
    Kind("Ray answers 500", Place.RAY, (1.0, 10.0)),
    Kind("Ray is slow", Place.RAY, (2.0, 10.0)),
    Kind("Ray's replies are lost", Place.RAY, (1.0, 8.0)),
    Kind("Ray's answers are cut", Place.RAY, (1.0, 6.0)),
)
BY_NAME: Mapping[str, Kind] = {kind.name: kind for kind in KINDS}


@dataclass(frozen=True)
class Trouble:
    """One of them."""

    at_s: float
    """Since the beginning of the run."""
    kind: str
    lasts_s: float
    draw: float
    """From 0 to 1: says whom it befalls of those that are there."""

    @property
    def place(self) -> Place:
        """What it befalls."""
        return BY_NAME[self.kind].place


def plan(seed: int, seconds: float) -> tuple[Trouble, ...]:
    """What happens when: every kind once, in some order, then at random; no trouble lasts beyond the end.

    Args:
        seed: the same one gives the same plan.
        seconds: of trouble; a longer run begins with the plan of a shorter one.
    """
    chance = random.Random(seed)
    to_come = chance.sample(KINDS, len(KINDS))
    free_at = dict.fromkeys(Place, 0.0)
    troubles: list[Trouble] = []
    moment = chance.uniform(*PAUSE_S)
    while moment < seconds:
        kind = _next(to_come, free_at, moment, chance)
        lasts_s, draw = chance.uniform(*kind.lasts_s), chance.random()
        if kind.place is not Place.WORKERS:
            free_at[kind.place] = moment + lasts_s + 1.0
        troubles.append(Trouble(moment, kind.name, min(lasts_s, seconds - moment), draw))
        moment += chance.uniform(*PAUSE_S)
    return tuple(troubles)


def _next(to_come: list[Kind], free_at: Mapping[Place, float], moment: float, chance: random.Random) -> Kind:
    """A kind whose place is free: the first that hasn't come yet, or else any."""
    for kind in to_come:
        if free_at[kind.place] <= moment:
            to_come.remove(kind)
            return kind
    return chance.choice([kind for kind in KINDS if free_at[kind.place] <= moment])
