"""The audit log while Redis takes no writes: no entry, no change; only what makes room is let through."""

from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.facts import CancelAsked
from services.control_plane.store import Store
from tests.faults.redis_to_break import RedisToBreak
from tests.faults.test_redis_trouble import REFUSALS, Break, everything, refused, submitted
from tests.services.control_plane.audits import entries, verdict


@pytest.mark.parametrize(("breaks", "mends", "words"), [one[1:] for one in REFUSALS], ids=[one[0] for one in REFUSALS])
async def test_what_can_not_be_written_down_is_not_done(
    api: httpx.AsyncClient,
    server: RedisToBreak,
    breaks: Break,
    mends: Break,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
):
    done: list[str] = []

    async def create(self: Store, jobs: Any, *_: Any, **__: Any) -> None:
        done.extend(job.id for job in jobs)

    async with Redis.from_url(server.url, decode_responses=True) as redis:
        await submitted(api)
        monkeypatch.setattr(Store, "create_jobs", create)
        await breaks(redis)
        before = await everything(redis)
        assert words in await refused(api)
        assert (done, await everything(redis)) == ([], before)
        await mends(redis)
        assert (await api.post("/v1/jobs", json={})).status_code == 422
    found = await verdict(api)
    assert (found["whole"], found["num_entries"], found["num_unanswered"]) == (True, 5, 0)


async def test_a_full_redis_lets_what_makes_room_through_and_writes_it_down(
    api: httpx.AsyncClient, server: RedisToBreak
):
    async with Redis.from_url(server.url, decode_responses=True) as redis:
        job = await submitted(api)
        await Store(redis).append("job", job, CancelAsked(at=now()))
        await redis.config_set("maxmemory", 1)
        assert (await api.delete(f"/v1/jobs/{job}")).status_code == 204
        assert not await redis.exists(names.record_key("job", job))
        await redis.config_set("maxmemory", 0)
    answered, asked = (await entries(api))[:2]
    assert (asked["route"], answered["status"], answered["asked"]) == ("/v1/jobs/{job}", 204, asked["number"])
    assert (await verdict(api))["whole"]


async def test_an_answer_that_can_not_be_written_down_is_sent_all_the_same(
    api: httpx.AsyncClient, server: RedisToBreak, monkeypatch: pytest.MonkeyPatch
):
    create = Store.create_jobs
    async with Redis.from_url(server.url, decode_responses=True) as redis:

        async def create_and_fill(self: Store, *jobs: Any, **more: Any) -> None:
            await create(self, *jobs, **more)
            await redis.config_set("maxmemory", 1)

        monkeypatch.setattr(Store, "create_jobs", create_and_fill)
        job = await submitted(api)
        await redis.config_set("maxmemory", 0)
    (asked, *_) = await entries(api)
    assert (asked["kind"], asked["route"]) == ("asked", "/v1/jobs")
    found = await verdict(api)
    assert (found["whole"], found["unanswered"]) == (True, [asked["number"]])
    assert (await api.get(f"/v1/jobs/{job}")).status_code == 200
