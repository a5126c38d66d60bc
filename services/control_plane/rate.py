"""How many requests a team may make: a token bucket each, kept in this process's memory."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from distill.contracts.errors import TooManyRequests
from services.control_plane.context import Who


@dataclass(frozen=True)
class Bucket:
    """What a team has left."""

    tokens: float
    at: float
    """When that was so, in seconds of any clock that goes on."""


def refilled(bucket: Bucket, *, now: float, rate: float, burst: float) -> Bucket:
    """The bucket at ``now``: ``rate`` tokens come a second, and ``burst`` fit in. A clock that goes back brings none."""
    return Bucket(min(burst, bucket.tokens + max(0.0, now - bucket.at) * rate), now)


def wait_s(bucket: Bucket, *, rate: float) -> float:
    """Seconds until it holds a whole token; 0 where it does."""
    return max(0.0, 1.0 - bucket.tokens) / rate


class Rates:
    """The buckets of all who ask; a team that never asked, or not for long, has a full one, and none is kept for it."""

    def __init__(self, *, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        """``rate`` requests a second in the long run, ``burst`` at once after a rest; both 1 or more."""
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._sweep_at = 2

    def spend(self, team: str) -> None:
        """Count a request.

        Raises:
            TooManyRequests: the team has no token left; the error says when it will have one.
        """
        now = self._clock()
        bucket = refilled(
            self._buckets.get(team, Bucket(self._burst, now)), now=now, rate=self._rate, burst=self._burst
        )
        if bucket.tokens < 1:
            self._buckets[team] = bucket
            seconds = math.ceil(wait_s(bucket, rate=self._rate))
            error = TooManyRequests(
                f"team {team} has made its requests of this moment: {self._rate:g} a second and {self._burst:g} at once "
                f"are free to all; ask again in {seconds} s"
            )
            error.retry_after_s = seconds
            raise error
        self._buckets[team] = Bucket(bucket.tokens - 1, now)
        self._forget_rested(now)

    def _forget_rested(self, now: float) -> None:
        """Drop full buckets each time that the number of teams has doubled."""
        if len(self._buckets) < self._sweep_at:
            return
        rested_s = self._burst / self._rate
        self._buckets = {team: bucket for team, bucket in self._buckets.items() if now - bucket.at < rested_s}
        self._sweep_at = 2 * len(self._buckets) + 2


async def spend(request: Request, who: Who) -> None:
    """Count the request for the team that makes it; every route of a team's depends on it."""
    rates: Rates = request.app.state.rates
    rates.spend(who.team)
