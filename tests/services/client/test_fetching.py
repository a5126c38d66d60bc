"""Pages, logs and downloads."""

import os
from pathlib import Path

import pytest

from distill.contracts.errors import DependencyDown, StillhouseError
from distill.contracts.notify import Delivery
from distill.contracts.records import JobState
from services.client import StillhouseClient
from services.client.where import find_server
from services.stack.home import StackHome, StackState
from services.stack.processes import ProcessId
from tests.services.client.stub_house import NOON, House, a_job

WEIGHTS = bytes(range(256)) * 40


def test_jobs_come_page_after_page(house: House, asking: StillhouseClient):
    for number in range(5):
        house.add(a_job(f"job-{number}"))
    assert [job.id for job in asking.jobs()] == [f"job-{number}" for number in range(5)]


def test_jobs_can_be_asked_for_by_state(house: House, asking: StillhouseClient):
    house.add(a_job("one"))
    house.add(a_job("two", state=JobState.FAILED))
    assert [job.id for job in asking.jobs(state=JobState.FAILED)] == ["two"]


def test_a_log_is_read_page_by_page(house: House, asking: StillhouseClient):
    house.add(a_job())
    assert list(asking.log("digits-abc123")) == ["first line\n", "second line", "\n"]


def test_a_followed_log_is_the_same_text(house: House, asking: StillhouseClient):
    house.add(a_job())
    assert "".join(asking.follow_log("digits-abc123")) == house.log


def test_a_download_has_the_digest_that_was_promised(house: House, asking: StillhouseClient, tmp_path: Path):
    house.files["model.safetensors"] = WEIGHTS
    assert asking.download("j", house.artifact("model.safetensors"), tmp_path / "new").read_bytes() == WEIGHTS


def test_a_torn_download_goes_on_where_it_stopped(house: House, asking: StillhouseClient, tmp_path: Path):
    house.files["model.safetensors"] = WEIGHTS
    house.breaks = [1000, 500]
    file = asking.download("j", house.artifact("model.safetensors"), tmp_path)
    assert file.read_bytes() == WEIGHTS
    assert [headers.get("range") for _, _, headers in house.asked] == [None, "bytes=1000-", "bytes=1500-"]


def test_a_file_that_is_there_already_is_not_fetched_again(house: House, asking: StillhouseClient, tmp_path: Path):
    house.files["model.safetensors"] = WEIGHTS
    for _ in range(2):
        asking.download("j", house.artifact("model.safetensors"), tmp_path)
    assert len(house.asked) == 1


def test_a_damaged_download_is_thrown_away(house: House, asking: StillhouseClient, tmp_path: Path):
    house.files["model.safetensors"] = WEIGHTS
    house.digests["model.safetensors"] = "sha256:" + "0" * 64
    with pytest.raises(StillhouseError, match="damaged"):
        asking.download("j", house.artifact("model.safetensors"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_cannot_name_a_place_outside_the_folder(house: House, asking: StillhouseClient, tmp_path: Path):
    house.files["evil"] = WEIGHTS
    evil = house.artifact("evil").model_copy(update={"name": "../../evil"})
    with pytest.raises(StillhouseError):
        asking.download("j", evil, tmp_path / "folder")
    assert not (tmp_path / "evil").exists()


def test_the_server_is_the_given_one_then_the_environments_then_the_running_stacks(tmp_path: Path):
    environment = {"STILLHOUSE_HOME": str(tmp_path)}
    StackHome(tmp_path).write(StackState(mark="m", url="http://127.0.0.1:9"))
    assert find_server(None, environment) == "http://127.0.0.1:9"
    assert find_server(None, environment | {"STILLHOUSE_URL": "http://there"}) == "http://there"
    assert find_server("http://here/", environment | {"STILLHOUSE_URL": "http://there"}) == "http://here"


def test_a_home_without_a_stack_does_not_speak_to_anothers(tmp_path: Path):
    with pytest.raises(DependencyDown, match="no stack runs on"):
        find_server(None, {"STILLHOUSE_HOME": str(tmp_path)})


def test_a_stack_that_is_still_starting_is_not_taken_for_none(tmp_path: Path):
    StackHome(tmp_path).write(StackState(mark="m", up=ProcessId.of(os.getpid())))
    with pytest.raises(DependencyDown, match="is not ready yet"):
        find_server(None, {"STILLHOUSE_HOME": str(tmp_path)})


def test_how_a_webhook_went(house: House, asking: StillhouseClient):
    went = Delivery(id="msg_job_j", state="delivered", host="hooks.example.com", tries=2, last_try_at=NOON)
    house.deliveries["digits-abc123"] = went
    assert asking.webhook("job", "digits-abc123") == asking.webhook("study", "digits-abc123") == went
