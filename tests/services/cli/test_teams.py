"""Commands for teams and for a job's place in the queue."""

import json

from distill.contracts.records import JobState
from distill.contracts.teams import TeamSpec
from tests.services.cli.conftest import Run
from tests.services.client.stub_house import House, a_job


def test_teams_are_listed_with_what_they_have_of_what_they_are_granted(house: House, stillhouse: Run):
    house.teams["vision"] = TeamSpec(weight=2, max_jobs=4)
    head, row = stillhouse("teams").stdout.splitlines()
    assert head.split()[:5] == ["TEAM", "WEIGHT", "QUEUED", "JOBS", "WORKERS"]
    assert row.split() == ["vision", "2", "3", "2", "of", "4", "4", "2", "0", "-", "0"]
    assert json.loads(stillhouse("teams", "--json").stdout)[0]["has"]["queued"] == 3


def test_what_is_not_named_stays_and_none_lifts_a_quota(house: House, stillhouse: Run):
    house.teams["vision"] = TeamSpec(weight=2, max_jobs=4, max_gpus=1)
    done = stillhouse("teams", "set", "vision", "--max-jobs", "8", "--max-gpus", "none")
    assert done.exit_code == 0, done.output
    assert house.teams["vision"] == TeamSpec(weight=2, max_jobs=8)
    assert done.stderr == "team vision has weight 2.0, max_jobs 8\n"


def test_a_wrong_grant_is_refused_with_its_field(house: House, stillhouse: Run):
    for options, field in ((("--weight", "0"), "weight"), (("--max-jobs", "many"), "max_jobs"), ((), "weight")):
        done = stillhouse("teams", "set", "vision", *options)
        assert (done.exit_code, field in done.stderr) == (2, True), done.output
    assert stillhouse("teams", "set", "No Team", "--weight", "1").exit_code == 2
    assert house.teams == {}


def test_a_job_gets_another_priority(house: House, stillhouse: Run):
    house.add(a_job())
    done = stillhouse("priority", "digits-abc123", "--", "-10")
    assert (done.exit_code, done.stdout) == (0, "job digits-abc123 has priority -10: because the test says so\n")
    assert "priority   -10 among the jobs of team default" in stillhouse("job", "digits-abc123").stdout
    assert stillhouse("priority", "digits-abc123", "101").exit_code == 2


def test_a_study_means_all_its_jobs_that_have_not_ended(house: House, stillhouse: Run):
    house.add_study("digits-s1", a_job("the-student"), a_job("the-baseline", role="baseline", state=JobState.SUCCEEDED))
    stillhouse("priority", "digits-s1", "5")
    assert (house.jobs["the-student"].priority, house.jobs["the-baseline"].priority) == (5, 0)
