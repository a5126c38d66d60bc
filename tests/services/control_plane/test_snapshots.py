"""Members of a teacher that are snapshots of a run: found by their epoch, and by no other."""

from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.measures import AttemptResult, Snapshot
from services.control_plane.settings import Settings
from services.control_plane.store import Store
from tests.services.control_plane.test_api import ended, submitted
from tests.services.reports.examples import facts, quality, size

DIGEST = "sha256:" + "0" * 64


async def a_finished_job(api: httpx.AsyncClient, store: Store, settings: Settings, *, at: dict[int, int]) -> str:
    """A job whose snapshots were taken by these attempts: epoch -> attempt."""
    job = await submitted(api)
    folder = names.attempt_folder(job, 1)
    kept = [
        Snapshot(epoch=epoch, path=f"runs/{job}/{attempt}/snapshots/epoch-{epoch:04d}", digest=DIGEST)
        for epoch, attempt in at.items()
    ]
    result = AttemptResult(
        job=job, attempt=1, dataset=facts(), size=size(10), quality=quality(0.5), curve=(), steps=1, phases={},
        artifacts=(), snapshots=tuple(kept), predictions=str(folder / "predictions.json"), versions={},
    )  # fmt: skip
    for left in (folder / "artifacts", *(snapshot.path for snapshot in kept)):
        (settings.node.storage / left).mkdir(parents=True)
    (settings.node.storage / folder / names.RESULT_FILE).write_text(result.model_dump_json())
    await ended(store, job, result=str(folder / names.RESULT_FILE))
    return job


async def published(api: httpx.AsyncClient, *members: dict[str, Any]) -> httpx.Response:
    await api.post("/v1/teachers", json={"name": "way"})
    return await api.post("/v1/teachers/way/versions", json={"members": list(members)})


async def test_snapshots_of_several_attempts_become_members_in_the_order_asked_for(
    api: httpx.AsyncClient, store: Store, settings: Settings
):
    job = await a_finished_job(api, store, settings, at={2: 1, 4: 3})
    listed = (await api.get(f"/v1/jobs/{job}/snapshots")).json()["items"]
    assert [snapshot["epoch"] for snapshot in listed] == [2, 4]
    answer = await published(
        api, *({"source": "job", "job": job, "epoch": epoch} for epoch in (2, 4)), {"source": "job", "job": job}
    )
    assert answer.status_code == 202, answer.text
    assert [(member["folder"], member["epoch"]) for member in answer.json()["members"]] == [
        (f"runs/{job}/1/snapshots/epoch-0002", 2),
        (f"runs/{job}/3/snapshots/epoch-0004", 4),
        (f"runs/{job}/1/artifacts", None),
    ]


@pytest.mark.parametrize(
    ("at", "expected", "said"),
    [
        ({2: 1, 4: 1}, "one of 2, 4", "it kept those of epochs 2, 4"),
        ({}, "a job with training.snapshots", "nor of any other"),
    ],
)
async def test_an_epoch_that_was_not_kept_is_answered_with_those_that_were(
    api: httpx.AsyncClient, store: Store, settings: Settings, at: dict[int, int], expected: str, said: str
):
    job = await a_finished_job(api, store, settings, at=at)
    answer = await published(api, {"source": "job", "job": job, "epoch": 3})
    problem = answer.json()
    assert (answer.status_code, problem["field"], problem["got"]) == (422, "members.0.epoch", "3")
    assert problem["expected"] == expected
    assert said in problem["detail"]


async def test_snapshots_of_a_job_that_goes_on_are_asked_too_early(api: httpx.AsyncClient, redis: Redis):
    job = await submitted(api)
    answer = await published(api, {"source": "job", "job": job, "epoch": 1})
    assert (answer.status_code, answer.json()["field"]) == (409, "members.0.job")
    assert (await api.get(f"/v1/jobs/{job}/snapshots")).status_code == 409
    assert await redis.exists(names.record_key("teacher", "way"))
