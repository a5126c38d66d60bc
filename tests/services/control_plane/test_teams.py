"""Teams and priorities over REST: what an operator grants, and where a job stands."""

from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.facts import AttemptClaimed, CancelAsked
from services.control_plane.store import Store
from tests.services.control_plane.records import JOB, NOON, a_queued_job


async def test_a_team_of_whom_nobody_spoke_has_weight_one_and_no_quota(api: httpx.AsyncClient):
    view = (await api.get("/v1/teams/vision")).json()
    assert view["team"]["granted"] == {
        "weight": 1.0,
        "max_jobs": None,
        "max_workers": None,
        "max_gpus": None,
        "max_teacher_rows_per_s": None,
        "max_teacher_rows_per_month": None,
    }
    assert view["team"]["updated_at"] is None


async def test_what_is_granted_replaces_what_was(api: httpx.AsyncClient):
    await api.put("/v1/teams/vision", json={"weight": 2, "max_jobs": 3})
    answer = await api.put("/v1/teams/vision", json={"max_gpus": 1})
    assert answer.status_code == 200
    granted = (await api.get("/v1/teams/vision")).json()["team"]["granted"]
    assert (granted["weight"], granted["max_jobs"], granted["max_gpus"]) == (1.0, None, 1.0)


async def test_the_list_has_those_who_are_granted_something_or_have_jobs_and_what_they_have(
    api: httpx.AsyncClient, store: Store, redis: Redis
):
    await api.put("/v1/teams/vision", json={"weight": 2})
    jobs = [a_queued_job(f"job-{n}", compute={"workers": 2, "cpus_per_worker": 0.5}) for n in range(3)]
    await store.create_jobs([job.model_copy(update={"team": "text"}) for job in jobs])
    await store.append("job", "job-0", AttemptClaimed(attempt=1, at=NOON))
    await redis.hset(names.usage_key("text", f"{now():%Y-%m}"), mapping={"wise@1|rows_computed": "7"})
    items = {one["team"]["name"]: one["has"] for one in (await api.get("/v1/teams")).json()["items"]}
    assert items.keys() == {"default", "text", "vision"}
    assert items["text"] == {
        "queued": 2, "jobs": 1, "workers": 2, "cpus": 1.0, "gpus": 0.0, "teacher_rows_this_month": 7,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"weight": 0}, "weight"),
        ({"max_jobs": -1}, "max_jobs"),
        ({"max_job": 1}, "max_job"),
        ({"weight": "x"}, "weight"),
    ],
)
async def test_a_wrong_grant_is_refused_with_its_field(api: httpx.AsyncClient, body: dict[str, Any], field: str):
    answer = await api.put("/v1/teams/vision", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert (await api.put("/v1/teams/No Team", json={})).status_code == 422


async def test_replicas_read_the_weight_that_was_granted(api: httpx.AsyncClient, redis: Redis):
    await api.put("/v1/teams/vision", json={"weight": 2.5})
    stored = await redis.hgetall(names.TEAM_WEIGHTS_KEY)
    assert {team: float(weight) for team, weight in stored.items()} == {"vision": 2.5}


async def test_a_jobs_priority_is_what_its_file_says_until_somebody_changes_it(api: httpx.AsyncClient):
    job = (await api.post("/v1/jobs", json=JOB | {"priority": 3})).json()
    assert (job["priority"], job["spec"]["priority"]) == (3, 3)
    changed = await api.post(f"/v1/jobs/{job['id']}/priority", json={"priority": -4})
    assert changed.status_code == 202
    assert (changed.json()["priority"], changed.json()["spec"]["priority"]) == (-4, 3)


@pytest.mark.parametrize("priority", [-101, 101, 1.5, "high", None])
async def test_a_priority_is_a_whole_number_within_bounds(api: httpx.AsyncClient, priority: Any):
    job = (await api.post("/v1/jobs", json=JOB)).json()
    answer = await api.post(f"/v1/jobs/{job['id']}/priority", json={"priority": priority})
    assert (answer.status_code, answer.json()["field"]) == (422, "priority")
    assert (await api.post("/v1/jobs", json=JOB | {"priority": priority})).status_code == 422


async def test_a_job_that_has_ended_or_is_not_there_has_no_place_in_the_queue(api: httpx.AsyncClient, store: Store):
    await store.create_jobs([a_queued_job("over-abc234")])
    await store.append("job", "over-abc234", CancelAsked(at=NOON))
    answer = await api.post("/v1/jobs/over-abc234/priority", json={"priority": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert (await api.post("/v1/jobs/none-abc234/priority", json={"priority": 1})).status_code == 404
