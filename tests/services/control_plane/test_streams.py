"""Followers of a real Redis: nothing lost, nothing twice, nothing out of order, whoever joins, leaves and comes back."""

import asyncio
import random
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.facts import CancelAsked, StudyReported
from distill.contracts.records import Progress, StudyRecord
from distill.contracts.study import StudySpec
from services.control_plane.connections import open_redis
from services.control_plane.history import GONE, PAGE, Kept, is_later, lacks
from services.control_plane.hub import BLOCK_MS, Hub
from services.control_plane.store import Store
from services.control_plane.streams import follow
from services.stack import redis_server
from services.stack.home import StackHome
from tests.services.control_plane.followers import EVENTS, JOB, Follower, House, frames, key, unseen, wait_for
from tests.services.control_plane.records import JOB as FILE
from tests.services.control_plane.records import NOON, a_queued_job


@pytest.fixture
async def blocking(own_redis_url: str) -> AsyncIterator[Redis]:
    client = open_redis(own_redis_url, socket_timeout_s=30)
    yield client
    await client.aclose()


@pytest.fixture
async def house(redis: Redis, own_redis_url: str, blocking: Redis) -> AsyncIterator[House]:
    opened = open_redis(own_redis_url)  # of the emptied one
    house = House(opened, Store(opened), Hub(blocking))
    await house.queue()
    yield house
    await house.hub.close()
    await opened.aclose()


@pytest.mark.parametrize("capacity", [3, 1000], ids=["most are let go", "none is let go"])
@pytest.mark.parametrize("trims", [pytest.param(False, marks=pytest.mark.long), True], ids=["kept", "trimmed"])
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long)])
async def test_whoever_joins_leaves_and_comes_back_sees_everything_once_and_in_order(
    house: House, blocking: Redis, seed: int, trims: bool, capacity: int
):
    rng = random.Random(seed)
    house.hub = Hub(blocking, capacity=capacity)
    followers = [Follower(house) for _ in range(8)]
    published: set[str] = set(await house.ids())

    async def come(follower: Follower) -> None:
        await asyncio.sleep(rng.random() * 0.3)
        await follower.until_the_end(random.Random(rng.random()))

    async with asyncio.TaskGroup() as together:
        for follower in followers:
            together.create_task(come(follower))
        for _ in range(40):
            await house.publish(rng.choice([1, 1, 1, 2, 7, 30]))
            published |= set(await house.ids())
            if trims and rng.random() < 0.2:
                # 10,000 entries are kept: nothing is ever trimmed that the reader of this process has not read
                await wait_for(house.is_read)
                await house.redis.xtrim(EVENTS, maxlen=rng.randint(0, 10), approximate=False)
            await asyncio.sleep(rng.random() * 0.01)
        await house.end()
        published |= set(await house.ids())
    everything = sorted(published, key=key)
    for follower in followers:
        assert all(key(one) < key(other) for one, other in pairwise(follower.ids))
        assert unseen(everything, follower) == []
        assert follower.names.count("end") == 1
        assert trims or follower.ids == everything
    await house.hub.close()


async def test_a_follower_from_the_beginning_is_told_of_a_gap_and_how_things_stand(house: House):
    await house.publish(300)
    await house.redis.xtrim(EVENTS, maxlen=100, approximate=False)
    oldest, newest = (await house.ids())[0], (await house.ids())[-1]
    follower = Follower(house)
    await follower.connect(leave_after=1)
    assert follower.names == ["gap", "snapshot"]
    assert follower.gaps == [("0-0", newest)]
    stream = follow(house.hub, house.store, house.redis, "job", JOB, after="1-0")
    gap, snapshot = frames(await anext(stream))
    await stream.aclose()
    assert f'"oldest":"{oldest}"' in gap["data"]
    assert (await house.store.job(JOB)).model_dump_json() in snapshot["data"]
    await house.end()
    await follower.until_the_end()
    assert follower.names[2:] == ["cancel_asked", "end"]


async def test_who_has_seen_the_oldest_that_is_kept_misses_nothing(house: House):
    await house.publish(300)
    await house.redis.xtrim(EVENTS, maxlen=100, approximate=False)
    kept = await house.ids()
    await house.end()
    follower = Follower(house, last=kept[0])
    await follower.until_the_end()
    assert follower.ids[:-1] == kept[1:]
    assert "gap" not in follower.names


async def test_history_that_is_gone_altogether_is_a_gap_and_then_the_end(house: House):
    await house.end()
    await house.redis.delete(EVENTS)
    follower = Follower(house)
    await follower.until_the_end()
    assert follower.names == ["gap", "snapshot", "end"]


@pytest.mark.parametrize(
    ("kept", "after", "missing"),
    [
        (Kept(oldest="5-0", last="9-0", num_trimmed=0), "0-0", False),
        (Kept(oldest="5-0", last="9-0", num_trimmed=4), "4-7", True),
        (Kept(oldest="5-0", last="9-0", num_trimmed=4), "5-0", False),
        (Kept(oldest="5-0", last="9-0", num_trimmed=4), "10-0", False),
        (Kept(oldest=None, last="9-0", num_trimmed=9), "8-0", True),
        (Kept(oldest=None, last="9-0", num_trimmed=9), "9-0", False),
        (GONE, "7-0", True),
    ],
)
def test_entries_are_missing_only_where_some_were_trimmed_and_not_seen(kept: Kept, after: str, missing: bool):
    assert lacks(kept, after=after) is missing


def test_ids_are_numbers_and_no_texts():
    assert is_later("1700000000000-10", "1700000000000-9")
    assert not is_later("999-0", "1000-0")


async def test_a_slow_follower_is_let_go_and_replays_while_others_go_on(house: House, blocking: Redis):
    house.hub = Hub(blocking, capacity=20)
    slow = follow(house.hub, house.store, house.redis, "job", JOB, after="0-0")
    seen = [sent["id"] for sent in frames(await anext(slow))]
    quick = Follower(house)
    following = asyncio.create_task(quick.until_the_end())
    for _ in range(10):
        await house.publish(5)
        newest = (await house.ids())[-1]
        await wait_for(lambda newest=newest: quick.last == newest)
    # it goes on with what Redis has, and is let go instead of waiting for more: it was more than 20 behind
    rest = [sent async for part in slow for sent in frames(part)]
    assert "end" not in {sent["event"] for sent in rest}
    seen += [sent["id"] for sent in rest]
    await house.publish(5)
    again = Follower(house, last=seen[-1])
    await house.end()
    await again.until_the_end()
    await following
    assert seen + again.ids == quick.ids == await house.ids()
    await house.hub.close()


async def test_two_hundred_followers_cost_one_reader_and_the_last_one_ends_it(house: House, redis: Redis):
    async def reading() -> int:
        waiting = [client for client in await redis.client_list() if "b" in client["flags"]]
        return sum(client["cmd"] == "xread" for client in waiting)

    followers = [Follower(house) for _ in range(200)]
    tasks = [asyncio.create_task(follower.until_the_end()) for follower in followers]
    start = (await house.ids())[-1]
    await wait_for(lambda: all(follower.last == start for follower in followers))
    await redis.config_resetstat()
    for _ in range(20):
        await house.publish()
        newest = (await house.ids())[-1]
        await wait_for(lambda newest=newest: all(follower.last == newest for follower in followers))
        assert await reading() <= 1
    calls = (await redis.info("commandstats"))["cmdstat_xread"]["calls"]
    # each event wakes it once, and five times a second it looks whether there is more to follow
    assert calls < 20 + 100
    await house.end()
    await asyncio.gather(*tasks)
    everything = await house.ids()
    assert all(follower.ids == everything for follower in followers)

    async def is_idle() -> bool:
        return await reading() == 0

    await wait_for(is_idle)
    calls = (await redis.info("commandstats"))["cmdstat_xread"]["calls"]
    await asyncio.sleep(2 * BLOCK_MS / 1000)
    assert (await redis.info("commandstats"))["cmdstat_xread"]["calls"] == calls


async def test_a_silent_stream_is_kept_alive_by_comments(house: House):
    follower = Follower(house)
    await follower.connect(leave_after=4, keep_alive_s=0.02)
    assert follower.names == ["job_created", "alive", "alive", "alive"]


async def test_figures_go_to_whoever_follows_and_are_not_replayed(house: House, redis: Redis):
    stream = follow(house.hub, house.store, house.redis, "job", JOB, after="0-0")
    await anext(stream)
    now_ = Progress(attempt=1, phase="training", step=5, num_steps=9, epoch=0, num_epochs=1, at=NOON)
    waiting = asyncio.create_task(anext(stream))  # type: ignore[arg-type]
    while not waiting.done():  # the hub reads live figures from when the follower joined, which is by now
        await redis.xadd(names.progress_key(JOB), {"progress": now_.model_dump_json()})
        await asyncio.wait([waiting], timeout=0.05)
    sent = frames(await waiting)[0]
    await stream.aclose()
    assert sent["event"] == "progress"
    assert '"role":"student"' in sent["data"]
    assert "id" not in sent


async def test_a_study_ends_with_its_report_and_not_with_its_last_job(house: House, store: Store, redis: Redis):
    job = a_queued_job("s-1-student").model_copy(update={"study": "s-1"})
    spec = StudySpec.model_validate({"name": "s", "job": FILE})
    await store.create_jobs(
        [job], StudyRecord(id="s-1", spec=spec, jobs={"student": job.id}, created_at=NOON, updated_at=NOON)
    )
    stream = follow(house.hub, store, redis, "study", "s-1", after="0-0")
    sent: list[str] = []

    async def read() -> None:
        async for part in stream:
            sent.extend(one["event"] for one in frames(part))

    reading = asyncio.create_task(read())
    await wait_for(lambda: sent == ["job_created"])
    await store.append("job", job.id, CancelAsked(at=now()))
    await wait_for(lambda: sent[1:] == ["cancel_asked"])
    await store.append("study", "s-1", StudyReported(report="reports/study-s-1", at=now()))
    await reading
    assert sent[2:] == ["study_reported", "end"]


async def test_a_follower_of_what_was_deleted_is_let_go(house: House, redis: Redis):
    follower = Follower(house)
    following = asyncio.create_task(follower.connect(keep_alive_s=0.05))
    await wait_for(lambda: follower.ids)
    await redis.delete(names.record_key("job", JOB))
    await following
    assert "end" not in follower.names


async def test_followers_come_back_after_redis_has_died_and_miss_nothing(tmp_path: Path):
    home = StackHome(tmp_path)
    home.make()
    child, state = redis_server.start_redis(home, environment={}, last=None)
    redis = open_redis(state.url)
    house = House(redis, Store(redis), Hub(redis))
    try:
        await house.queue()
        await house.publish(PAGE + 7)  # more than a page of history
        followers = [Follower(house) for _ in range(5)]
        following = [asyncio.create_task(follower.connect()) for follower in followers]
        newest = (await house.ids())[-1]
        await wait_for(lambda: all(follower.last == newest for follower in followers))
        child.kill()
        await asyncio.gather(*following)
        assert all("end" not in follower.names for follower in followers)
        child, state = redis_server.start_redis(home, environment={}, last=state)
        await house.publish(3)
        await house.end()
        await asyncio.gather(*(follower.until_the_end() for follower in followers))
        everything = await house.ids()
        assert all(follower.ids == everything for follower in followers)
    finally:
        await house.hub.close()
        await redis.aclose()
        child.stop(10.0)
