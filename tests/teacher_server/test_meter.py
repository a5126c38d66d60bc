"""What a replica counts and says, with a real Redis."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from distill.contracts import names
from distill.contracts.pool import ReplicaLoad
from distill.journal.client import open_redis
from teacher_server import meter as meter_module
from teacher_server.meter import Gauge, Meter, Rates

APPLICATION = "teacher-metered-1"


class Gauges:
    """A queue that stands still, and weights as they came."""

    def __init__(self) -> None:
        self.weights: Mapping[str, float] = {}

    def gauge(self) -> Gauge:
        return Gauge(queued_rows=7, rows_computed=0, busy_s=0.0)

    def set_weights(self, weights: Mapping[str, float]) -> None:
        self.weights = weights


@pytest.fixture
def redis(own_redis_url: str) -> Iterator[Redis]:
    with open_redis(own_redis_url) as client:
        client.flushdb()
        yield client


@pytest.fixture
def make_meter(own_redis_url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Meter]]:
    """Meters that speak often."""
    monkeypatch.setattr(meter_module, "PERIOD_S", 0.02)
    made: list[Meter] = []

    def make(replica: str = "replica-1", month: int = 11) -> Meter:
        clock = lambda: datetime(2026, month, 28, tzinfo=UTC)  # noqa: E731
        client = open_redis(own_redis_url)
        made.append(Meter(client, teacher="wise@1", application=APPLICATION, replica=replica, clock=clock))
        return made[-1]

    yield make
    for meter in made:
        meter.close()


def until(holds: Callable[[], object]) -> None:
    ends = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < ends, "it never came"
        time.sleep(0.01)


def started(meter: Meter) -> Gauges:
    gauges = Gauges()
    meter.start(gauges.gauge, gauges.set_weights)
    return gauges


def test_what_teams_had_is_summed_by_team_and_month(make_meter, redis):
    november, december = make_meter(), make_meter("replica-2", month=12)
    for meter in (november, december):
        started(meter)
        meter.answered("vision", computed_rows=300, recalled_rows=0, device_s=0.25)
        meter.answered("vision", computed_rows=30, recalled_rows=70, device_s=0.5)
        meter.answered("text", computed_rows=5, recalled_rows=0, device_s=0.0)
        meter.refused("text")
        meter.close()
    assert redis.hgetall(names.usage_key("vision", "2026-11")) == {
        "wise@1|rows_computed": "330",
        "wise@1|rows_recalled": "70",
        "wise@1|device_seconds": "0.75",
    }
    assert redis.hgetall(names.usage_key("text", "2026-12")) == {"wise@1|rows_computed": "5", "wise@1|refusals": "1"}


def test_replicas_of_a_teacher_add_to_the_same_sums(make_meter, redis):
    for replica in ("replica-1", "replica-2"):
        meter = make_meter(replica)
        started(meter)
        meter.refused("vision")
        meter.close()
    assert redis.hgetall(names.usage_key("vision", "2026-11")) == {"wise@1|refusals": "2"}


def test_sums_that_redis_did_not_take_are_sent_later_and_counted_once(make_meter, redis, monkeypatch):
    meter = make_meter()
    send, lost = meter_module.add_usage, []

    def send_and_lose_the_confirmation(*arguments: object, **options: object) -> None:
        if len(lost) == 0:
            lost.append("before")
            raise RedisConnectionError("away")
        send(*arguments, **options)  # type: ignore[arg-type]
        if len(lost) == 1:
            lost.append("after")
            raise RedisConnectionError("away")

    monkeypatch.setattr(meter_module, "add_usage", send_and_lose_the_confirmation)
    meter.refused("vision")
    started(meter)
    until(lambda: len(lost) == 2)
    meter.refused("vision")
    meter.close()
    assert redis.hgetall(names.usage_key("vision", "2026-11")) == {"wise@1|refusals": "2"}


def test_a_replica_says_how_loaded_it_is_and_takes_it_back_when_it_ends(make_meter, redis):
    meter = make_meter()
    started(meter)
    until(lambda: redis.hlen(names.load_key(APPLICATION)))
    load = ReplicaLoad.model_validate_json(str(redis.hget(names.load_key(APPLICATION), "replica-1")))
    assert (load.replica, load.queued_rows, load.rows_per_s, load.busy) == ("replica-1", 7, 0.0, 0.0)
    assert 0 < redis.ttl(names.load_key(APPLICATION)) <= 10
    meter.close()
    assert redis.hgetall(names.load_key(APPLICATION)) == {}


def test_the_weights_of_teams_are_heard_of(make_meter, redis):
    gauges = started(make_meter())
    redis.hset(names.TEAM_WEIGHTS_KEY, mapping={"vision": "2.5"})
    until(lambda: gauges.weights == {"vision": 2.5})


def test_whoever_is_counted_never_waits_for_redis_and_closing_waits_a_little(make_meter, redis):
    meter = make_meter()
    started(meter)
    redis.client_pause(1000)
    began = time.monotonic()
    for _ in range(100):
        meter.answered("vision", computed_rows=1, recalled_rows=0, device_s=0.0)
    assert time.monotonic() - began < 0.5
    meter.close(timeout_s=5)
    assert redis.hget(names.usage_key("vision", "2026-11"), "wise@1|rows_computed") == "100"


def test_every_key_that_a_replica_writes_expires_but_the_sums(make_meter, redis):
    meter = make_meter()
    started(meter)
    meter.refused("vision")
    until(lambda: redis.exists(names.usage_key("vision", "2026-11"), names.load_key(APPLICATION)) == 2)
    assert [key for key in redis.scan_iter() if redis.ttl(key) < 0] == [names.usage_key("vision", "2026-11")]


def test_rates_are_of_the_last_five_seconds():
    rates = Rates(Gauge(0, 0, 0.0), at=100.0)
    for second in range(1, 5):
        rates.load(Gauge(0, 0, 0.0), at=100.0 + second)
    # since then, 2 s of computing in 3 s
    load = rates.load(Gauge(50, 600, 1.0), at=106.0)
    assert load == (50, 600 / 5, 1.0 / 5)
    assert rates.load(Gauge(0, 600, 1.0), at=112.0)[1:] == (0.0, 0.0)


def test_a_device_is_never_more_than_busy():
    assert Rates(Gauge(0, 0, 0.0), at=0.0).load(Gauge(0, 0, 1.5), at=1.0).busy == 1.0
