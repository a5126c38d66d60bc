"""A baseline is trained once: other studies of the team take it, and it goes on whatever becomes of them."""

import os
from pathlib import Path
from typing import Any, get_args, get_type_hints

import httpx
import numpy
import pytest
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.datasets import DatasetSpec
from distill.contracts.datasets import Path as DataPath
from distill.contracts.events import Event
from distill.contracts.facts import AttemptClaimed, BaselinesReused, CancelAsked
from distill.contracts.job import JobSpec
from distill.contracts.records import JobState, Outcome
from services.control_plane.reuse import reuse_digest
from services.control_plane.settings import Settings
from services.control_plane.store import Store
from services.control_plane.submit import Submission
from tests.services.control_plane.records import JOB, TAUGHT, a_teacher
from tests.services.control_plane.test_api import ended


@pytest.fixture(autouse=True)
async def teacher(store: Store) -> None:
    """Every study here has one."""
    await store.create_teacher(a_teacher())


async def posted(api: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await api.post("/v1/studies", json={"name": "compared", "job": TAUGHT} | changes)
    assert answer.status_code == 202, answer.text
    view: dict[str, Any] = answer.json()
    return view


def ids(view: dict[str, Any]) -> dict[str, str]:
    """Key -> job id."""
    jobs: dict[str, str] = view["study"]["jobs"]
    assert {key: job["id"] for key, job in view["children"].items()} == jobs
    return jobs


async def test_a_second_study_takes_the_baseline_of_the_first(api: httpx.AsyncClient):
    first = ids(await posted(api))
    renamed = TAUGHT | {"name": "another", "labels": {"who": "me"}, "priority": 9}
    second = await posted(api, name="again", job=renamed)
    assert ids(second)["baseline"] == first["baseline"]
    assert ids(second)["student"] != first["student"]
    assert second["children"]["baseline"]["study"] != second["study"]["id"]


async def test_what_the_teachers_do_does_not_change_the_baseline(api: httpx.AsyncClient):
    first = ids(await posted(api))
    hotter = [{"kind": "labels", "weight": 0.5}, {"kind": "soft_targets", "weight": 0.5, "temperature": 8.0}]
    job = TAUGHT | {"objective": hotter, "answers": {"precision": "fp32"}, "ensemble": {"combine": "mean_logit"}}
    assert ids(await posted(api, job=job))["baseline"] == first["baseline"]


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"seed": 1}},
        {"training": {"epochs": 3}},
        {"student": {"source": "zoo", "name": "mlp", "args": {"hidden": [3]}}},
        {"dataset": {"source": "digits", "labels": {"kind": "count", "count": 50}}},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_another_training_is_another_baseline(api: httpx.AsyncClient, change: dict[str, Any]):
    first = ids(await posted(api))
    assert ids(await posted(api, job=TAUGHT | change))["baseline"] != first["baseline"]


async def test_only_the_seeds_that_are_new_are_trained(api: httpx.AsyncClient):
    first = ids(await posted(api, seeds=[1, 2]))
    second = ids(await posted(api, seeds=[2, 3]))
    assert second["baseline-s2"] == first["baseline-s2"]
    assert second["baseline-s3"] == f"{(second['student-s3']).removesuffix('-student-s3')}-baseline-s3"


async def test_a_baseline_that_failed_or_is_to_end_is_not_taken(api: httpx.AsyncClient, store: Store):
    first = ids(await posted(api, job=TAUGHT | {"limits": {"max_failures": 0}}))
    await ended(store, first["baseline"], Outcome.FAILED)
    second = ids(await posted(api, job=TAUGHT | {"limits": {"max_failures": 0}}))
    assert second["baseline"] != first["baseline"]
    await store.append("job", second["baseline"], AttemptClaimed(attempt=1, at=now()))
    await store.append("job", second["baseline"], CancelAsked(at=now()))
    assert (await store.job(second["baseline"])).state is JobState.CANCELLING
    third = ids(await posted(api, job=TAUGHT | {"limits": {"max_failures": 0}}))
    assert third["baseline"] not in {first["baseline"], second["baseline"]}


async def test_a_finished_baseline_is_taken_as_it_is(api: httpx.AsyncClient, store: Store):
    first = ids(await posted(api))
    await ended(store, first["baseline"])
    view = await posted(api)
    assert view["children"]["baseline"]["state"] == JobState.SUCCEEDED
    assert view["state"] == JobState.QUEUED


@pytest.mark.parametrize("vanishes", ["_reusable", "children"], ids=["before it is read", "before the study is stored"])
async def test_a_baseline_that_is_deleted_while_a_study_is_submitted_is_trained_anew(
    api: httpx.AsyncClient, store: Store, redis: Redis, monkeypatch: pytest.MonkeyPatch, vanishes: str
):
    first = ids(await posted(api))
    await ended(store, first["baseline"])
    owner: type[Any] = Submission if vanishes == "_reusable" else Store
    found = getattr(owner, vanishes)

    async def delete_after(self: Any, of: Any) -> Any:
        told = await found(self, of)
        await redis.delete(names.record_key("job", first["baseline"]))
        return told

    monkeypatch.setattr(owner, vanishes, delete_after)
    second = ids(await posted(api))
    assert second["baseline"] != first["baseline"]
    assert {job.id for job in await store.jobs(list(second.values()))} == set(second.values())


async def test_cancelling_a_study_leaves_the_baseline_of_another_alone(api: httpx.AsyncClient, store: Store):
    first = ids(await posted(api))
    second = await posted(api)
    answer = (await api.post(f"/v1/studies/{second['study']['id']}/cancel")).json()
    assert answer["children"]["student"]["state"] == JobState.CANCELLED
    assert (await store.job(first["baseline"])).state is JobState.QUEUED


async def test_followers_are_told_what_is_reused_and_by_which_name(api: httpx.AsyncClient, redis: Redis):
    first = ids(await posted(api, seeds=[1]))
    second = await posted(api, seeds=[1, 2])
    [(_, first_event), *_] = await redis.xrange(names.events_key("study", second["study"]["id"]))
    fact = Event.model_validate_json(first_event["event"]).fact
    assert isinstance(fact, BaselinesReused)
    assert fact.jobs == {"baseline-s1": first["baseline-s1"]}


async def test_the_jobs_of_a_study_hold_what_it_reuses(api: httpx.AsyncClient):
    first = ids(await posted(api))
    second = await posted(api)
    found = (await api.get("/v1/jobs", params={"study": second["study"]["id"]})).json()["items"]
    assert {job["id"] for job in found} == {ids(second)["student"], first["baseline"]}


def test_a_file_that_was_written_anew_is_another_training(settings: Settings):
    root = settings.node.data_root
    spec = JobSpec.model_validate(JOB | {"dataset": {"source": "npz", "train": "own.npz"}})
    numpy.savez(root / "own.npz", inputs=numpy.zeros((4, 2)))
    once = reuse_digest(spec, root)
    assert once == reuse_digest(spec, root)
    os.utime(root / "own.npz", ns=(0, 1))
    assert reuse_digest(spec, root) not in {once, None}


def test_a_folders_content_is_not_taken_on_trust(settings: Settings):
    (settings.node.data_root / "pictures").mkdir()
    spec = JobSpec.model_validate(JOB | {"dataset": {"source": "image-folder", "train": "pictures", "size": [8, 8]}})
    assert reuse_digest(spec, settings.node.data_root) is None


def test_texts_are_not_taken_on_trust_as_their_tokenizer_is_a_folder(settings: Settings):
    root = settings.node.data_root
    (root / "words").mkdir()
    (root / "reviews.csv").write_text("text,label\nfine,1\n")
    texts = {"source": "text", "train": "reviews.csv", "tokenizer": "words"}
    spec = JobSpec.model_validate(JOB | {"dataset": texts, "student": {"source": "zoo", "name": "text-cnn"}})
    assert reuse_digest(spec, root) is None


def test_code_of_the_operators_own_is_not_taken_on_trust(tmp_path: Path):
    plugin = {"source": "plugin", "import": "ours.nets:small"}
    assert reuse_digest(JobSpec.model_validate(JOB), tmp_path) is not None
    assert reuse_digest(JobSpec.model_validate(JOB | {"student": plugin}), tmp_path) is None


def test_every_file_that_a_data_set_names_is_one_of_its_own():
    for form in get_args(get_args(DatasetSpec)[0]):
        fields = {
            field
            for field, kind in get_type_hints(form, include_extras=True).items()
            if kind in (DataPath, DataPath | None)
        }
        named = form.model_construct(**dict.fromkeys(fields, "somewhere"))
        assert named.own_paths == dict.fromkeys(fields, "somewhere"), form


def test_a_job_that_others_teach_is_nobodys_baseline(tmp_path: Path):
    assert reuse_digest(JobSpec.model_validate(TAUGHT), tmp_path) is None
