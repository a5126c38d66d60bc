"""Which applications there should be, as a pure function of the records."""

from datetime import timedelta
from typing import Any

from distill.contracts.facts import PhaseReached
from distill.contracts.records import Phase
from distill.contracts.teachers import TeacherRecord, TeacherResources, TeacherVersionState
from services.control_plane.deployment import drop_idle, fewest, needed_applications, serve_config, taken
from services.control_plane.ray_rest import ClusterResources, Proxy, asked_replicas
from services.control_plane.routes.health import warn_of_door
from tests.services.control_plane.records import (
    MANIFEST,
    NOON,
    a_reservation,
    a_taught_job,
    a_teacher,
    a_version,
    after,
    said,
)
from tests.services.control_plane.test_life import AttemptClaimed


def config_of(teacher: TeacherRecord, *, replicas: int = 1, has_door: bool = False) -> dict[str, Any]:
    """What Serve is asked for while version 1 of ``wise`` is needed."""
    return serve_config({"teacher-wise-1": replicas}, [teacher], door_port=8471, has_door=has_door)


def test_a_teacher_is_needed_once_an_attempt_has_checked_its_data():
    claimed = after(a_taught_job(), AttemptClaimed(attempt=1, at=NOON))
    assert needed_applications([a_taught_job(), claimed]) == set()
    checked = after(claimed, said(PhaseReached(attempt=1, phase=Phase.CHECKED, at=NOON), 1))
    assert needed_applications([checked]) == {"teacher-wise-1"}


def test_a_reservation_needs_its_teacher_and_the_door():
    assert needed_applications([], [a_reservation()]) == {"teacher-wise-1", "door"}


def test_the_same_records_give_the_same_configuration():
    assert config_of(a_teacher()) == config_of(a_teacher())


def test_an_application_says_what_it_serves_and_on_what():
    version = a_version(
        resources=TeacherResources(num_cpus=0.25, num_gpus=1, replicas=2, threads=4, max_batch_tokens=4096)
    )
    teacher, _ = config_of(a_teacher(version), replicas=2)["applications"]
    assert teacher["import_path"] == "teacher_server.app:build"
    assert teacher["args"] == {
        "teacher": "wise",
        "version": 1,
        "digest": MANIFEST.digest,
        "threads": 4,
        "max_batch_rows": 1024,
        "max_batch_tokens": 4096,
    }
    [deployment] = teacher["deployments"]
    assert deployment["num_replicas"] == 2
    assert deployment["ray_actor_options"] == {"num_cpus": 0.25, "num_gpus": 1}


def test_the_number_of_replicas_is_no_argument_so_that_changing_it_keeps_processes():
    few, many = (config_of(a_teacher(), replicas=count)["applications"][0] for count in (1, 3))
    assert few["args"] == many["args"]
    assert (few["deployments"][0].pop("num_replicas"), many["deployments"][0].pop("num_replicas")) == (1, 3)
    assert few == many


def test_with_any_teacher_there_is_the_answer_book_and_with_the_last_it_leaves():
    assert [one["name"] for one in config_of(a_teacher())["applications"]] == ["teacher-wise-1", "answer-book"]
    assert serve_config({}, [a_teacher()], door_port=8471, has_door=False)["applications"] == []


def test_the_door_alone_is_reached_over_http():
    applications = config_of(a_teacher(), has_door=True)["applications"]
    assert {one["name"]: one["route_prefix"] for one in applications} == {
        "teacher-wise-1": None,
        "answer-book": None,
        "door": "/v1/pool",
    }


def test_the_proxy_stands_on_the_head_and_listens_on_loopback_door_or_not():
    for has_door in (False, True):
        config = config_of(a_teacher(), has_door=has_door)
        assert config["proxy_location"] == "HeadOnly"
        assert config["http_options"] == {"host": "127.0.0.1", "port": 8471}


def test_a_serve_that_was_started_otherwise_is_warned_of():
    assert warn_of_door(None, port=8471) == warn_of_door(Proxy("HeadOnly", 8471), port=8471) == []
    for proxy in (Proxy("Disabled", 8471), Proxy("HeadOnly", 8000)):
        [warning] = warn_of_door(proxy, port=8471)
        assert f"proxy_location {proxy.location} and port {proxy.port}" in warning


def test_a_version_without_a_manifest_is_never_served():
    rejected = a_version(state=TeacherVersionState.REJECTED, manifest=None)
    assert config_of(a_teacher(rejected))["applications"] == []
    assert fewest({"teacher-wise-1"}, [a_teacher(rejected)]) == {}


def test_a_teacher_that_nobody_needs_leaves_after_its_idle_time():
    needed = {"teacher-wise-1": NOON}
    assert drop_idle(needed, now=NOON + timedelta(seconds=59), idle_s=60) == needed
    assert drop_idle(needed, now=NOON + timedelta(seconds=60), idle_s=60) == {}


def test_what_replicas_take_is_what_there_are_of_them():
    version = a_version(resources=TeacherResources(num_cpus=0.5, num_gpus=0.25, replicas=2, max_replicas=9))
    teachers = [a_teacher(version)]
    assert taken({"teacher-wise-1": 4, "answer-book": 1}, teachers) == ClusterResources(cpus=2, gpus=1)
    assert taken(fewest({"teacher-wise-1", "door"}, teachers), teachers) == ClusterResources(cpus=1, gpus=0.5)


def test_what_was_asked_for_is_read_back_from_a_configuration():
    config = config_of(a_teacher(), replicas=3, has_door=True)
    assert asked_replicas(config["applications"]) == {"teacher-wise-1": 3, "answer-book": 1, "door": 1}
