"""How many requests a team may make: a token bucket, and what the API says when it is empty."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.contracts.errors import TooManyRequests
from services.control_plane.main import create_app
from services.control_plane.rate import Bucket, Rates, refilled, wait_s
from services.control_plane.settings import Settings
from tests.services.control_plane.conftest import AUTHORIZED

MOMENTS = st.lists(st.floats(0, 5), max_size=60)


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(rates: Rates, team: str, num: int) -> int:
    """How many of so many requests are free."""
    free = 0
    for _ in range(num):
        try:
            rates.spend(team)
        except TooManyRequests:
            continue
        free += 1
    return free


def test_a_bucket_fills_by_its_rate_and_never_over_its_brim():
    assert refilled(Bucket(0, at=10), now=12, rate=3, burst=100) == Bucket(6, at=12)
    assert refilled(Bucket(0, at=10), now=1000, rate=3, burst=100) == Bucket(100, at=1000)
    assert refilled(Bucket(5, at=10), now=4, rate=3, burst=100).tokens == 5
    assert wait_s(Bucket(0.25, at=0), rate=3) == 0.25


def test_a_rested_team_may_ask_a_burst_at_once_and_then_by_the_rate():
    clock = Clock()
    rates = Rates(rate=2, burst=10, clock=clock)
    assert taken(rates, "vision", 50) == 10
    clock.now = 1.5
    assert taken(rates, "vision", 50) == 3


def test_one_team_takes_nothing_from_another():
    rates = Rates(rate=1, burst=5, clock=Clock())
    assert [taken(rates, team, 50) for team in ("vision", "speech", "vision")] == [5, 5, 0]


def test_who_asks_too_fast_is_told_when_to_come_again():
    clock = Clock()
    rates = Rates(rate=1, burst=1, clock=clock)
    rates.spend("vision")
    with pytest.raises(TooManyRequests) as refused:
        rates.spend("vision")
    assert refused.value.retry_after_s == 1
    clock.now = 1.0
    rates.spend("vision")


@given(MOMENTS)
def test_in_any_time_no_more_go_through_than_burst_and_rate_allow(pauses: list[float]):
    clock = Clock()
    rates = Rates(rate=2, burst=4, clock=clock)
    free = 0
    for pause in pauses:
        clock.now += pause
        free += taken(rates, "vision", 3)
    assert free <= 4 + 2 * clock.now + 1e-6


def test_teams_that_have_rested_are_forgotten():
    clock = Clock()
    rates = Rates(rate=10, burst=10, clock=clock)
    for number in range(10_000):
        clock.now += 1
        rates.spend(f"team-{number}")
    assert len(rates._buckets) < 10


async def test_the_api_answers_429_and_health_is_free(settings: Settings):
    slow = settings.model_copy(update={"requests_per_s": 1.0, "requests_at_once": 2.0})
    app = create_app(slow)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://stillhouse", headers=AUTHORIZED
        ) as client,
    ):
        answers = [await client.get("/v1/teachers") for _ in range(4)]
        assert [answer.status_code for answer in answers[:2]] == [200, 200]
        assert (answers[3].status_code, answers[3].json()["code"]) == (429, "too_many_requests")
        assert answers[3].headers["retry-after"] == "1"
        assert [(await client.get("/healthz")).status_code for _ in range(5)] == [200] * 5
