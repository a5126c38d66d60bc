"""`stillhouse lineage`: a small tree in each direction."""

import json

import pytest

from distill.contracts.lineage import (
    JobLineage,
    JobLink,
    JobLinks,
    MemberLink,
    VersionLineage,
    VersionLink,
    VersionLinks,
)
from distill.contracts.records import JobState
from distill.contracts.teachers import TeacherVersionState
from services.cli.lineage import MOST_SHOWN
from tests.services.cli.conftest import Run
from tests.services.client.stub_house import House, a_job
from tests.services.control_plane.records import a_teacher

DONE, WAITS, READY = JobState.SUCCEEDED, JobState.QUEUED, TeacherVersionState.READY


def of_job(job: str, **more: object) -> JobLineage:
    """Of a job that comes from nothing, and from which nothing came, but for what is said."""
    fields = {
        "job": JobLink(id=job, state=DONE), "study": None, "role": "student", "baselines": [], "taught_by": [],
        "begins_from": [], "generation_before": None, "published_as": VersionLinks(items=[]),
        "begun": JobLinks(items=[]), "generations_after": JobLinks(items=[]),
    }  # fmt: skip
    return JobLineage.model_validate(fields | more)


def a_version(reference: str, state: TeacherVersionState | None = READY) -> VersionLink:
    name, _, version = reference.partition("@")
    return VersionLink(teacher=name, version=int(version), state=state)


def of_version(reference: str, *members: MemberLink, students: JobLinks | None = None) -> VersionLineage:
    return VersionLineage(
        version=a_version(reference), members=list(members), students=students or JobLinks(items=[])
    )  # fmt: skip


@pytest.fixture
def family(house: House) -> None:
    """``big`` and a file are ``wise@1``, which taught ``small``; ``small`` is ``tiny@2``, which taught ``last``."""
    for job in ("big", "small", "last"):
        house.add(a_job(job))
    house.lineages = {
        "big": of_job("big", begins_from=[JobLink(id="old")], published_as=VersionLinks(items=[a_version("wise@1")])),
        "wise@1": of_version(
            "wise@1", MemberLink(job=JobLink(id="big", state=DONE), epoch=3), MemberLink(file="nets/[a].safetensors"),
            students=JobLinks(items=[JobLink(id="small", state=DONE)]),
        ),
        "small": of_job(
            "small", study="s-1", baselines=[JobLink(id="plain", state=DONE)],
            taught_by=[a_version("wise@1"), a_version("secret@4", None)],
            published_as=VersionLinks(items=[a_version("tiny@2")]),
            generations_after=JobLinks(items=[JobLink(id="last", state=WAITS)]),
        ),
        "tiny@2": of_version("tiny@2", MemberLink(), students=JobLinks(items=[JobLink(id="last", state=WAITS)])),
        "last": of_job("last"),
    }  # fmt: skip


@pytest.mark.usefixtures("family")
def test_a_tree_grows_in_both_directions(stillhouse: Run):
    done = stillhouse("lineage", "small")
    assert done.exit_code == 0, done.output
    assert [line.rstrip() for line in done.stdout.splitlines()] == [
        "job small, SUCCEEDED; student of study s-1, compared with plain, SUCCEEDED",
        "comes from",
        "├── taught by wise@1, READY",
        "│   ├── member 0: the student after epoch 3 of job big, SUCCEEDED",
        "│   └── member 1: the file nets/[a].safetensors",
        "└── taught by secret@4, hidden by its team",
        "led to",
        "├── a member of tiny@2, READY",
        "│   └── taught job last, QUEUED",
        "└── the generation before job last, QUEUED",
    ]


@pytest.mark.usefixtures("family")
def test_it_grows_as_far_as_is_asked_and_asks_about_nothing_twice(house: House, stillhouse: Run):
    shallow = stillhouse("lineage", "small", "--depth", "1").stdout
    assert "member 0" not in shallow
    house.asked.clear()
    deep = stillhouse("lineage", "small", "--depth", "4").stdout
    assert "begins from job old, deleted" in deep
    asked = [path for _, path, _ in house.asked if path.endswith("/lineage")]
    assert len(asked) == len(set(asked)) == 5


@pytest.mark.usefixtures("family")
def test_a_version_is_named_by_number_or_alias(house: House, stillhouse: Run):
    house.teachers["wise"] = a_teacher()
    by_alias = stillhouse("lineage", "wise@prod")
    assert by_alias.stdout == stillhouse("lineage", "wise@1").stdout
    assert by_alias.stdout.splitlines()[0] == "teacher wise@1, READY"
    missed = stillhouse("lineage", "wise@gone")
    assert (missed.exit_code, "one of: prod" in missed.stderr) == (3, True), missed.output
    assert stillhouse("lineage", "wise@9").exit_code == 3


@pytest.mark.usefixtures("family")
def test_another_teams_member_and_nothing_at_all_are_said_so(stillhouse: Run):
    assert "member 0: another team's" in stillhouse("lineage", "tiny@2").stdout
    nothing = stillhouse("lineage", "last").stdout
    assert "nothing that is known" in nothing
    assert "nothing yet" in nothing


def test_of_many_some_are_shown_and_where_the_rest_is(house: House, stillhouse: Run):
    many = [JobLink(id=f"job-{n}", state=DONE) for n in range(MOST_SHOWN + 1)]
    house.lineages["wise@1"] = of_version("wise@1", students=JobLinks(items=many))
    shown = stillhouse("lineage", "wise@1", "--depth", "1").stdout
    assert shown.count("taught job") == MOST_SHOWN
    assert "more of them: stillhouse jobs --teacher wise@1" in shown
    stillhouse("jobs", "--teacher", "wise@1")
    assert house.asked[-1][1].endswith("teacher=wise%401")


@pytest.mark.usefixtures("family")
def test_a_program_gets_one_step_each_way(stillhouse: Run):
    answer = json.loads(stillhouse("lineage", "small", "--json").stdout)
    assert [one["teacher"] for one in answer["taught_by"]] == ["wise", "secret"]
    assert json.loads(stillhouse("lineage", "wise@1", "--json").stdout)["students"]["items"][0]["id"] == "small"


@pytest.mark.usefixtures("family")
def test_a_study_stands_for_its_student(house: House, stillhouse: Run):
    house.add_study("digits-s1", a_job("small"), a_job("plain", role="baseline"))
    assert stillhouse("lineage", "digits-s1").stdout.startswith("job small, SUCCEEDED")
