"""Which applications there should be, as a pure function of the records."""

from datetime import timedelta

from distill.contracts.facts import PhaseReached
from distill.contracts.records import Phase
from distill.contracts.teachers import TeacherResources, TeacherVersionState
from services.control_plane.deployment import drop_idle, needed_applications, serve_config, taken
from services.control_plane.ray_rest import ClusterResources
from tests.services.control_plane.records import NOON, a_taught_job, a_teacher, a_version, after, said
from tests.services.control_plane.test_life import AttemptClaimed


def test_a_teacher_is_needed_once_an_attempt_has_checked_its_data():
    claimed = after(a_taught_job(), AttemptClaimed(attempt=1, at=NOON))
    assert needed_applications([a_taught_job(), claimed]) == set()
    checked = after(claimed, said(PhaseReached(attempt=1, phase=Phase.CHECKED, at=NOON), 1))
    assert needed_applications([checked]) == {"teacher-wise-1"}


def test_the_same_records_give_the_same_configuration():
    assert serve_config({"teacher-wise-1"}, [a_teacher()]) == serve_config({"teacher-wise-1"}, [a_teacher()])


def test_an_application_says_what_it_serves_and_on_what():
    version = a_version(resources=TeacherResources(num_cpus=0.25, num_gpus=1, replicas=2, threads=4))
    config = serve_config({"teacher-wise-1"}, [a_teacher(version)])
    assert config["proxy_location"] == "Disabled"
    [application] = config["applications"]
    assert application["import_path"] == "teacher_server.app:build"
    assert application["args"]["digest"] == version.manifest.digest
    [deployment] = application["deployments"]
    assert deployment["num_replicas"] == 2
    assert deployment["ray_actor_options"] == {"num_cpus": 0.25, "num_gpus": 1}


def test_the_number_of_replicas_is_no_argument_so_that_changing_it_keeps_processes():
    few, many = (a_teacher(a_version(resources=TeacherResources(replicas=count))) for count in (1, 3))
    arguments = [serve_config({"teacher-wise-1"}, [one])["applications"][0]["args"] for one in (few, many)]
    assert arguments[0] == arguments[1]


def test_a_version_without_a_manifest_is_never_served():
    rejected = a_version(state=TeacherVersionState.REJECTED, manifest=None)
    assert serve_config({"teacher-wise-1"}, [a_teacher(rejected)])["applications"] == []


def test_a_teacher_that_nobody_needs_leaves_after_its_idle_time():
    needed = {"teacher-wise-1": NOON}
    assert drop_idle(needed, now=NOON + timedelta(seconds=59), idle_s=60) == needed
    assert drop_idle(needed, now=NOON + timedelta(seconds=60), idle_s=60) == {}


def test_what_replicas_take_is_summed():
    version = a_version(resources=TeacherResources(num_cpus=0.5, num_gpus=0.25, replicas=4))
    assert taken({"teacher-wise-1", "someone-elses"}, [a_teacher(version)]) == ClusterResources(cpus=2, gpus=1)
