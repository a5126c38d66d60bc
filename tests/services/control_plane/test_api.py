"""The REST API without a cluster: what is stored, listed, followed, paged and served."""

import hashlib
import json
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.facts import AttemptClaimed, AttemptEnded, CancelAsked, PhaseReached
from distill.contracts.measures import Artifact, AttemptResult
from distill.contracts.records import JobState, Outcome, Phase
from distill.journal.client import open_redis
from distill.journal.journal import append_fact
from services.control_plane.settings import Settings
from services.control_plane.store import Store
from tests.services.control_plane.records import JOB, TAUGHT, a_teacher, said
from tests.services.reports.examples import facts, quality, size


async def submitted(api: httpx.AsyncClient, **changes: Any) -> str:
    answer = await api.post("/v1/jobs", json=JOB | changes)
    assert answer.status_code == 202, answer.text
    identity: str = answer.json()["id"]
    return identity


async def ended(store: Store, job: str, outcome: Outcome = Outcome.FINISHED, **more: Any) -> None:
    await store.append("job", job, AttemptClaimed(attempt=1, at=now()))
    await store.append("job", job, said(PhaseReached(attempt=1, phase=Phase.WORKERS_READY, at=now()), 1))
    await store.append("job", job, said(AttemptEnded(attempt=1, outcome=outcome, at=now(), **more), 2))


def read_events(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.replace("\r\n", "\n").split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


async def test_submitting_stores_the_record_and_says_where(api: httpx.AsyncClient):
    answer = await api.post("/v1/jobs", json=JOB)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    stored = (await api.get(answer.headers["location"])).json()
    assert stored["spec"] == answer.json()["spec"]
    assert stored["state"] == "QUEUED"


async def test_a_study_and_its_children_are_stored_as_one(api: httpx.AsyncClient, store: Store):
    await store.create_teacher(a_teacher())
    answer = await api.post("/v1/studies", json={"name": "compared", "job": TAUGHT})
    assert answer.status_code == 202, answer.text
    children = answer.json()["children"]
    assert set(children) == {"student", "baseline"}
    assert children["baseline"]["spec"]["teachers"] == []
    assert children["student"]["teachers"][0]["version"] == 1
    assert children["student"]["spec"]["training"] == children["baseline"]["spec"]["training"]


async def test_an_alias_means_for_ever_what_it_meant_when_the_job_was_made(api: httpx.AsyncClient, store: Store):
    await store.create_teacher(a_teacher())
    job = (await api.post("/v1/jobs", json=TAUGHT)).json()["id"]
    assert (await api.put("/v1/teachers/wise/aliases/prod", json={"version": 1})).status_code == 200
    assert (await api.get(f"/v1/jobs/{job}")).json()["teachers"][0]["version"] == 1


async def test_lists_are_newest_first_and_filters_reach_past_the_page(api: httpx.AsyncClient, store: Store):
    first = await submitted(api)
    later = [await submitted(api) for _ in range(4)]
    await ended(store, first)
    found = (await api.get("/v1/jobs", params={"limit": 2})).json()
    assert [job["id"] for job in found["items"]] == later[:1:-1]
    assert found["next"]
    found = (await api.get("/v1/jobs", params={"limit": 2, "state": "SUCCEEDED"})).json()
    assert [job["id"] for job in found["items"]] == [first]
    assert found["next"] is None


async def test_a_queued_job_is_cancelled_at_once_and_a_second_time_changes_nothing(api: httpx.AsyncClient):
    job = await submitted(api)
    first = (await api.post(f"/v1/jobs/{job}/cancel")).json()
    second = await api.post(f"/v1/jobs/{job}/cancel")
    assert first["state"] == "CANCELLED"
    assert second.status_code == 202
    assert second.json()["revision"] == first["revision"]


@pytest.mark.usefixtures("another_acts")
async def test_a_queued_job_is_paused_and_resumed_and_twice_changes_nothing(api: httpx.AsyncClient):
    job = await submitted(api)
    for wish, state in (("pause", "PAUSED"), ("resume", "QUEUED")):
        first, second = [await api.post(f"/v1/jobs/{job}/{wish}") for _ in range(2)]
        assert (first.status_code, first.json()["state"]) == (202, state)
        assert second.json()["revision"] == first.json()["revision"]


async def test_a_job_that_has_ended_can_be_neither_paused_nor_resumed(api: httpx.AsyncClient, store: Store):
    job = await submitted(api)
    await ended(store, job)
    for wish in ("pause", "resume"):
        answer = await api.post(f"/v1/jobs/{job}/{wish}")
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert f"{job} is SUCCEEDED" in answer.json()["detail"]


async def test_pausing_a_study_pauses_its_children_and_resuming_it_lets_them_go_on(
    api: httpx.AsyncClient, store: Store
):
    await store.create_teacher(a_teacher())
    study = (await api.post("/v1/studies", json={"name": "compared", "job": TAUGHT})).json()["study"]["id"]
    for wish, state in (("pause", "PAUSED"), ("resume", "QUEUED")):
        answer = (await api.post(f"/v1/studies/{study}/{wish}")).json()
        assert {job["state"] for job in answer["children"].values()} == {state}
        assert answer["state"] == state


async def test_a_study_that_has_ended_can_not_be_paused(api: httpx.AsyncClient, store: Store):
    await store.create_teacher(a_teacher())
    study = (await api.post("/v1/studies", json={"name": "compared", "job": TAUGHT})).json()["study"]["id"]
    await api.post(f"/v1/studies/{study}/cancel")
    assert (await api.post(f"/v1/studies/{study}/pause")).status_code == 409


async def test_cancelling_a_study_cancels_its_children(api: httpx.AsyncClient, store: Store):
    await store.create_teacher(a_teacher())
    study = (await api.post("/v1/studies", json={"name": "compared", "job": TAUGHT})).json()["study"]["id"]
    answer = (await api.post(f"/v1/studies/{study}/cancel")).json()
    assert {job["state"] for job in answer["children"].values()} == {"CANCELLED"}
    assert answer["state"] == "CANCELLED"


async def test_events_are_replayed_from_any_point_and_end(api: httpx.AsyncClient, store: Store):
    job = await submitted(api)
    await ended(store, job)
    url = f"/v1/jobs/{job}/events"
    everything = read_events((await api.get(url)).text)
    assert [event["event"] for event in everything][-2:] == ["attempt_ended", "end"]
    assert json.loads(everything[-2]["data"])["state"] == "SUCCEEDED"
    numbered = [event for event in everything if "id" in event]
    rest = read_events((await api.get(url, headers={"Last-Event-ID": numbered[1]["id"]})).text)
    assert rest == everything[2:]


async def test_a_stream_of_an_unknown_job_is_a_plain_404(api: httpx.AsyncClient):
    answer = await api.get("/v1/jobs/never-was/events")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_follower_that_names_no_id_of_ours_is_told_so(api: httpx.AsyncClient):
    job = await submitted(api)
    answer = await api.get(f"/v1/jobs/{job}/events", headers={"Last-Event-ID": "yesterday"})
    assert (answer.status_code, answer.json()["field"]) == (422, "Last-Event-ID")


async def test_pages_of_a_log_join_to_the_log_whatever_their_size(
    api: httpx.AsyncClient, store: Store, settings: Settings
):
    job = await submitted(api)
    log = "loss 0,5 — ünïcödé ✓ 🦉\n" * 20
    folder = settings.node.storage / names.attempt_folder(job, 1)
    folder.mkdir(parents=True)
    (folder / names.LOG_FILE).write_text(log, encoding="utf-8")
    await ended(store, job)
    for num_bytes in (4, 7, 64, 100_000):
        text, offset, complete = "", 0, False
        while not complete:
            page = (await api.get(f"/v1/jobs/{job}/logs", params={"offset": offset, "limit": num_bytes})).json()
            text, offset, complete = text + page["text"], page["next_offset"], page["complete"]
        assert text == log
    assert (await api.get(f"/v1/jobs/{job}/logs", params={"follow": True})).text == log


async def test_an_attempt_that_never_was_has_no_log(api: httpx.AsyncClient):
    answer = await api.get(f"/v1/jobs/{await submitted(api)}/logs", params={"attempt": 3})
    assert (answer.status_code, answer.json()["field"]) == (422, "attempt")


@pytest.fixture
async def artifact(api: httpx.AsyncClient, store: Store, settings: Settings) -> str:
    """The path in the API of an artifact of 1,000 bytes."""
    job = await submitted(api)
    folder = names.attempt_folder(job, 1)
    content = bytes(range(250)) * 4
    (settings.node.storage / folder).mkdir(parents=True)
    (settings.node.storage / folder / "student.bin").write_bytes(content)
    kept = Artifact(
        name="student.bin", path=str(folder / "student.bin"), size_bytes=len(content),
        digest="sha256:" + hashlib.sha256(content).hexdigest(), media_type="application/octet-stream",
    )  # fmt: skip
    result = AttemptResult(
        job=job, attempt=1, dataset=facts(), size=size(10), quality=quality(0.5), curve=(), steps=1, phases={},
        artifacts=(kept,), predictions=str(folder / "predictions.json"), versions={},
    )  # fmt: skip
    (settings.node.storage / folder / names.RESULT_FILE).write_text(result.model_dump_json())
    await ended(store, job, result=str(folder / names.RESULT_FILE))
    return f"/v1/jobs/{job}/artifacts/student.bin"


async def test_an_artifact_comes_whole_by_range_or_not_again(api: httpx.AsyncClient, artifact: str):
    whole = await api.get(artifact)
    assert whole.headers["etag"] == f'"sha256:{hashlib.sha256(whole.content).hexdigest()}"'
    part = await api.get(artifact, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    again = await api.get(artifact, headers={"If-None-Match": whole.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_a_range_beyond_the_file_is_refused(api: httpx.AsyncClient, artifact: str):
    assert (await api.get(artifact, headers={"Range": "bytes=5000-"})).status_code == 416


async def test_a_missing_artifact_is_answered_with_those_that_exist(api: httpx.AsyncClient, artifact: str):
    answer = await api.get(artifact.replace("student.bin", "..%2Fresult.json"))
    assert answer.status_code == 404
    answer = await api.get(artifact.replace("student.bin", "model.pt"))
    assert (answer.status_code, answer.json()["expected"]) == (404, "one of student.bin")


async def test_what_a_job_left_is_asked_too_early(api: httpx.AsyncClient):
    job = await submitted(api)
    for what in ("report", "artifacts"):
        answer = await api.get(f"/v1/jobs/{job}/{what}")
        assert (answer.status_code, answer.json()["got"]) == (409, "QUEUED")


async def test_a_job_that_failed_has_a_report_that_says_why(api: httpx.AsyncClient, store: Store):
    job = await submitted(api, limits={"max_failures": 0})
    await ended(store, job, Outcome.FAILED)
    report = await api.get(f"/v1/jobs/{job}/report")
    assert report.status_code == 200, report.text
    assert report.json()["jobs"][0]["state"] == JobState.FAILED
    markdown = await api.get(f"/v1/jobs/{job}/report", params={"format": "markdown"})
    assert markdown.headers["content-type"].startswith("text/markdown")


async def test_a_teacher_is_named_once(api: httpx.AsyncClient):
    assert (await api.post("/v1/teachers", json={"name": "wise"})).status_code == 201
    answer = await api.post("/v1/teachers", json={"name": "wise"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_health_is_the_process_and_readiness_names_what_is_missing(api: httpx.AsyncClient):
    assert (await api.get("/healthz")).status_code == 200
    answer = await api.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["dependencies"]["redis"] == "ok"
    assert "doesn't answer" in answer.json()["dependencies"]["ray"]
    assert answer.json()["warnings"] == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/jobs?sate=FAILED", "created_after, "),
        ("/v1/gc?dryrun=true", "dry_run"),
        ("/v1/jobs/one-abc234?limit=3", "team"),
    ],
)
async def test_a_query_that_nobody_reads_is_refused(api: httpx.AsyncClient, path: str, expected: str):
    method = "POST" if "gc" in path else "GET"
    answer = await api.request(method, path)
    problem = answer.json()
    name = path.partition("?")[2].partition("=")[0]
    assert (answer.status_code, problem["code"], problem["field"]) == (422, "invalid_spec", name)
    assert f"no parameter '{name}'" in problem["detail"]
    assert problem["expected"].startswith(expected)


@pytest.mark.usefixtures("another_acts")
async def test_a_record_that_can_not_be_read_holds_up_no_other_jobs_facts(
    api: httpx.AsyncClient, store: Store, redis: Redis, own_redis_url: str
):
    broken, whole = await submitted(api, name="a-broken"), await submitted(api, name="b-whole")
    await redis.set(names.record_key("job", broken), "{torn")
    with open_redis(own_redis_url) as worker:
        append_fact(worker, "job", broken, CancelAsked(at=now()))
        append_fact(worker, "job", whole, CancelAsked(at=now()))
    events = names.events_key("job", whole)
    [[created, _]] = await redis.xrange(events, count=1)
    assert await redis.xread({events: created}, block=4000)
    assert (await store.job(whole)).state is JobState.CANCELLED
