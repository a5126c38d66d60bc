"""A study of many children: what is stored of it, and what is refused."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from distill.contracts.base import Name
from distill.contracts.errors import NoRoom
from distill.contracts.records import Outcome
from distill.contracts.study import Child, StudySpec
from services.control_plane.ray_rest import ClusterResources
from services.control_plane.reconciler import Reconciler
from services.control_plane.store import Store
from services.control_plane.submit import Submission
from tests.services.control_plane.records import TAUGHT, a_teacher
from tests.services.control_plane.test_api import ended


@pytest.fixture(autouse=True)
async def teacher(store: Store) -> None:
    """Every study here may have one."""
    await store.create_teacher(a_teacher())


def mlp(*hidden: int) -> dict[str, Any]:
    return {"source": "zoo", "name": "mlp", "args": {"hidden": list(hidden)}}


SWEEP = [{"name": "small", "student": mlp(8)}, {"name": "wide-deep", "student": mlp(64, 64)}]
BOTH = {"name": "a" * 48, "job": TAUGHT, "seeds": [1, 2**32 - 1], "sweep": SWEEP}


async def test_a_study_says_of_each_job_what_it_is_for(api: httpx.AsyncClient):
    study = (await api.post("/v1/studies", json=BOTH)).json()["study"]
    assert len(study["jobs"]) == 8
    children = {key: Child.model_validate(child) for key, child in study["children"].items()}
    assert children["student-small-s1"] == Child(role="student", point="small", seed=1)
    assert children.keys() == study["jobs"].keys()


async def test_every_id_is_a_name_whatever_the_study_is_called(api: httpx.AsyncClient):
    view = (await api.post("/v1/studies", json=BOTH)).json()
    jobs = view["study"]["jobs"]
    longest = max(jobs, key=len)
    assert (longest, len(jobs[longest])) == ("baseline-wide-deep-s4294967295", 48)
    for key, job in jobs.items():
        assert TypeAdapter(Name).validate_python(job) == f"{view['study']['id']}-{key}"


async def test_all_students_of_a_sweep_have_the_same_teachers(store: Store, tmp_path: Path):
    _, jobs = await Submission(store, team="default", data_root=tmp_path, storage=tmp_path, room=None).study(
        StudySpec.model_validate(BOTH)
    )
    teachers = {job.role.split("-")[0]: [one.reference for one in job.teachers] for job in jobs}
    assert teachers == {"student": ["wise@1"], "baseline": []}
    assert len({job.spec_digest for job in jobs}) == 8


async def test_a_wrong_file_of_a_point_is_named_as_the_study_names_it(api: httpx.AsyncClient):
    student = mlp(8) | {"init_from": {"source": "file", "path": "never-was.safetensors"}}
    answer = await api.post("/v1/studies", json=BOTH | {"sweep": [SWEEP[0], {"name": "own", "student": student}]})
    assert (answer.status_code, answer.json()["field"]) == (422, "sweep.1.student.init_from.path")


MUTUAL = TAUGHT | {"objective": [{"kind": "soft_targets"}, {"kind": "soft_targets", "target": {"from": "peers"}}]}


@pytest.mark.parametrize(
    ("start", "field"),
    [
        ({"source": "file", "path": "never-was.safetensors"}, "scheme.peers.1.init_from.path"),
        ({"source": "file", "path": "../out.safetensors"}, "scheme.peers.1.init_from.path"),
        ({"source": "job", "job": "never-was"}, "scheme.peers.1.init_from.job"),
    ],
)
async def test_weights_that_a_peer_starts_from_must_be_there(api: httpx.AsyncClient, start: dict[str, Any], field: str):
    job = MUTUAL | {"scheme": {"kind": "online", "peers": [mlp(8), mlp(8) | {"init_from": start}]}}
    answer = await api.post("/v1/jobs", json=job)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    answer = await api.post("/v1/studies", json=BOTH | {"job": job})
    assert (answer.status_code, answer.json()["field"]) == (422, f"job.{field}")


async def test_a_generation_that_can_not_be_served_beside_the_next_is_refused(store: Store, tmp_path: Path):
    body = {"name": "again", "job": TAUGHT, "generations": 2, "generation_replica": {"num_gpus": 1}}
    submission = Submission(store, team="default", data_root=tmp_path, storage=tmp_path, room=ClusterResources(cpus=4))
    with pytest.raises(NoRoom, match="1 GPUs"):
        await submission.study(StudySpec.model_validate(body))


async def test_cancelling_a_study_ends_what_waits_for_a_generation_too(api: httpx.AsyncClient):
    study = (await api.post("/v1/studies", json={"name": "again", "job": TAUGHT, "generations": 3})).json()["study"]
    answer = (await api.post(f"/v1/studies/{study['id']}/cancel")).json()
    assert {job["state"] for job in answer["children"].values()} == {"CANCELLED"}
    assert len(answer["children"]) == 4


async def test_a_study_is_reported_when_the_baseline_of_another_ends_last(store: Store, reconciler: Reconciler):
    submission = Submission(store, team="default", data_root=Path(), storage=Path(), room=None)
    spec = StudySpec.model_validate({"name": "pair", "job": TAUGHT | {"limits": {"max_failures": 0}}})
    first, jobs = await submission.study(spec)
    await store.create_jobs(jobs, first)
    second, jobs = await submission.study(spec)
    await store.create_jobs(jobs, second)
    assert second.jobs["baseline"] == first.jobs["baseline"]
    await ended(store, second.jobs["student"], Outcome.FAILED)
    await reconciler.round()
    await reconciler.tidy()
    assert (await store.study(second.id)).report is None
    await ended(store, second.jobs["baseline"], Outcome.FAILED)
    await reconciler.round()
    await reconciler.tidy()
    assert (await store.study(second.id)).report == f"reports/study-{second.id}"
    assert (await store.study(first.id)).report is None
