"""Each command: what it prints, what it prints for a program, and the code that it ends with."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from distill.contracts.base import now
from distill.contracts.errors import Conflict
from distill.contracts.measures import Snapshot
from distill.contracts.notify import Delivery, NotifySpec
from distill.contracts.pool import StorageUsage, StudentUsage, TeacherUsage, TeamUsage
from distill.contracts.records import Attempt, JobState
from distill.contracts.study import Child
from distill.contracts.teachers import MemberFromJob
from services.control_plane.retention import Sort
from services.control_plane.views import Collected, Removed
from tests.services.cli.conftest import Run
from tests.services.client.stub_house import NOON, SPEC, House, a_job, a_short_life
from tests.services.control_plane.records import a_reservation


def test_submit_prints_the_id_alone(stillhouse: Run, job_file: Path):
    done = stillhouse("submit", job_file)
    assert (done.exit_code, done.stdout) == (0, "digits-abc123\n")


def test_a_file_with_a_job_inside_is_a_study(stillhouse: Run, job_file: Path):
    inside = job_file.read_text().replace("\n", "\n  ")
    job_file.write_text(f"name: digits\njob:\n  {inside}")
    shown = json.loads(stillhouse("submit", job_file, "--json").stdout)
    assert shown["study"]["id"] == "digits-s1"


def test_submit_and_watch_ends_with_zero_when_all_went_well(stillhouse: Run, job_file: Path):
    done = stillhouse("submit", job_file, "--watch")
    assert done.exit_code == 0, done.output
    assert "epoch 1: loss 0.5000, validation accuracy 87.5 %" in done.stdout
    assert "training, step 5 of 10, epoch 0 of 1, 1,000 rows/s, 1 min 05 s left" in done.stdout
    assert "job digits-abc123: SUCCEEDED" in done.stdout


@pytest.mark.parametrize("end", [JobState.FAILED, JobState.CANCELLED])
def test_watch_ends_with_one_when_the_job_did_not_succeed(house: House, stillhouse: Run, end: JobState):
    house.add(a_job())
    house.sent = a_short_life(end=end)
    assert stillhouse("watch", "digits-abc123").exit_code == 1


def test_a_watched_job_as_json_is_a_line_for_each_event(stillhouse: Run, job_file: Path):
    lines = [json.loads(line) for line in stillhouse("submit", job_file, "--watch", "--json").stdout.splitlines()]
    assert lines[0]["id"] == "digits-abc123"
    assert [line["event"] for line in lines[1:]] == ["job_created", "attempt_claimed", "progress", "epoch_ended", "end"]


def test_jobs_are_listed_with_state_and_reason(house: House, stillhouse: Run):
    house.add(a_job())
    listed = stillhouse("jobs").stdout.splitlines()
    assert listed[0].split() == ["ID", "STATE", "ROLE", "EPOCHS", "CREATED", "WHY"]
    assert "QUEUED" in listed[1]
    assert listed[1].endswith("because the test says so")


def test_jobs_can_be_narrowed_to_a_state_in_small_letters(house: House, stillhouse: Run):
    house.add(a_job("one"))
    house.add(a_job("two", state=JobState.FAILED))
    shown = json.loads(stillhouse("jobs", "--state", "failed", "--json").stdout)
    assert [job["id"] for job in shown] == ["two"]


def test_a_job_is_shown_with_why_it_is_as_it_is(house: House, stillhouse: Run):
    house.add(a_job())
    assert stillhouse("job", "digits-abc123").stdout.startswith("digits-abc123  QUEUED: because the test says so")


HOOK = NotifySpec(url="https://hooks.example.com/stillhouse")
TOLD = Delivery(id="m", state="delivered", host="hooks.example.com", tries=1, last_try_at=NOON)


def test_a_job_and_a_study_show_how_telling_of_their_end_went(house: House, stillhouse: Run):
    ended = a_job(state=JobState.SUCCEEDED, spec=SPEC.model_copy(update={"notify": HOOK}))
    house.add_study("digits-s1", ended)
    study = house.studies["digits-s1"]
    told_of = study.spec.model_copy(update={"notify": HOOK})
    house.studies["digits-s1"] = study.model_copy(update={"spec": told_of, "report": "reports/study-digits-s1"})
    for command, identity in (("job", ended.id), ("study", "digits-s1")):
        assert "hooks.example.com was not told yet" in stillhouse(command, identity).stdout
        house.deliveries[identity] = TOLD
        assert "hooks.example.com was told" in stillhouse(command, identity).stdout


def test_nobody_is_asked_how_telling_went_where_nobody_is_told(house: House, stillhouse: Run):
    house.add(a_job(state=JobState.SUCCEEDED))
    assert "webhook" not in stillhouse("job", "digits-abc123").stdout
    assert not [path for _, path, _ in house.asked if path.endswith("/webhook")]


def test_an_unknown_id_ends_with_three_and_suggests_what_looks_like_it(house: House, stillhouse: Run):
    house.add(a_job())
    done = stillhouse("job", "digits-abc132")
    assert done.exit_code == 3
    assert "did you mean digits-abc123?" in done.stderr


def test_a_study_stands_for_its_student_where_a_job_is_meant(house: House, stillhouse: Run):
    begun = a_job("the-student", attempts=(Attempt(number=1),))
    house.add_study("digits-s1", begun, a_job("the-baseline", role="baseline"))
    done = stillhouse("logs", "digits-s1")
    assert done.stdout == house.log
    assert "taking its student" in done.stderr


def test_a_study_of_several_students_stands_for_none_of_them(house: House, stillhouse: Run):
    children = {f"student-s{seed}": Child(role="student", seed=seed) for seed in (1, 2)}
    house.add_study("digits-s1", *(a_job(f"id-{key}", role=key) for key in children))
    house.studies["digits-s1"] = house.studies["digits-s1"].model_copy(update={"children": children})
    done = stillhouse("logs", "digits-s1")
    assert done.exit_code == 2
    assert "a study of 2 students" in done.stderr
    assert "one of id-student-s1, id-student-s2" in done.stderr


def test_jobs_can_be_narrowed_to_labels_and_a_time(house: House, stillhouse: Run):
    stillhouse("jobs", "--label", "owner=ada", "--label", "run=a=b", "--since", "2h")
    stillhouse("studies", "--state", "failed", "--since", "2026-11-01T12:00:00+00:00")
    jobs, studies = [parse_qs(path.partition("?")[2]) for _, path, _ in house.asked]
    assert jobs["label"] == ["owner=ada", "run=a=b"]
    passed = datetime.now(UTC) - datetime.fromisoformat(jobs["created_after"][0])
    assert timedelta(hours=2) <= passed < timedelta(hours=2, minutes=1)
    assert studies["state"] == ["FAILED"]
    assert datetime.fromisoformat(studies["created_after"][0]) == datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("option", "value"), [("--label", "owner"), ("--since", "yesterday"), ("--since", "999999w")])
def test_what_jobs_can_not_be_narrowed_to_is_told(house: House, stillhouse: Run, option: str, value: str):
    done = stillhouse("jobs", option, value)
    assert done.exit_code == 2
    assert f"{option}: expected" in done.stderr
    assert value in done.stderr


def test_a_study_of_many_jobs_is_listed_by_their_numbers(house: House, stillhouse: Run):
    children = {f"{role}-s{seed}": Child(role=role, seed=seed) for role in ("student", "baseline") for seed in range(3)}
    house.add_study("digits-s1", *(a_job(f"id-{key}", role=key) for key in children))
    house.studies["digits-s1"] = house.studies["digits-s1"].model_copy(update={"children": children})
    assert "3 students, 3 baselines" in stillhouse("studies").stdout
    card = stillhouse("study", "digits-s1").stdout.splitlines()
    assert [line.split()[0] for line in card[1:]] == [*children, "report"]


def test_a_job_that_waits_for_a_generation_says_which(house: House, stillhouse: Run):
    house.add(a_job(after="digits-abc123-student-g1"))
    shown = stillhouse("job", "digits-abc123").stdout
    assert "digits-abc123-student-g1, whose student teaches it" in shown
    assert "none yet" in shown


def test_logs_can_be_followed(house: House, stillhouse: Run):
    house.add(a_job())
    assert stillhouse("logs", "digits-abc123", "--follow").stdout == house.log


def test_of_a_job_that_has_not_started_there_is_no_log_and_that_is_said(house: House, stillhouse: Run):
    house.add(a_job())
    done = stillhouse("logs", "digits-abc123")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "digits-abc123 has not started: QUEUED, because the test says so" in done.stderr


def test_cancel_says_what_the_job_is_now(house: House, stillhouse: Run):
    house.add(a_job(state=JobState.RUNNING))
    assert stillhouse("cancel", "digits-abc123").stdout == "job digits-abc123 is CANCELLING\n"


def test_cancel_of_a_study_asks_every_job(house: House, stillhouse: Run):
    house.add_study("s", a_job("one"), a_job("two", role="baseline"))
    assert stillhouse("cancel", "s").exit_code == 0
    assert {job.state for job in house.jobs.values()} == {JobState.CANCELLING}


def test_delete_says_what_is_gone(house: House, stillhouse: Run):
    house.add(a_job(state=JobState.FAILED))
    done = stillhouse("delete", "digits-abc123")
    assert (done.exit_code, done.stderr) == (0, "job digits-abc123 is deleted\n")
    assert house.jobs == {}


def test_delete_of_a_study_as_json_names_it(house: House, stillhouse: Run):
    house.add_study("s", a_job("one"))
    assert json.loads(stillhouse("delete", "s", "--json").stdout) == {"deleted": "s"}
    assert house.studies == {}


def test_what_can_not_be_deleted_says_why(house: House, stillhouse: Run):
    house.add(a_job())
    house.refusals["/v1/jobs/digits-abc123"] = Conflict("job digits-abc123 is QUEUED; cancel it first")
    done = stillhouse("delete", "digits-abc123")
    assert done.exit_code != 0
    assert "cancel it first" in done.stderr


@pytest.mark.parametrize(("wish", "state"), [("pause", "PAUSING"), ("resume", "QUEUED")])
def test_pause_and_resume_say_what_the_job_is_now(house: House, stillhouse: Run, wish: str, state: str):
    house.add(a_job(state=JobState.RUNNING))
    assert stillhouse(wish, "digits-abc123").stdout == f"job digits-abc123 is {state}\n"


@pytest.mark.parametrize(("wish", "state"), [("pause", "PAUSING"), ("resume", "QUEUED")])
def test_pause_and_resume_of_a_study_ask_every_job(house: House, stillhouse: Run, wish: str, state: str):
    house.add_study("s", a_job("one"), a_job("two", role="baseline"))
    assert stillhouse(wish, "s").exit_code == 0
    assert {job.state for job in house.jobs.values()} == {JobState(state)}


def test_a_report_goes_out_as_markdown(house: House, stillhouse: Run):
    house.add(a_job())
    house.files["digits-abc123"] = b"# It was worth it\n"
    assert stillhouse("report", "digits-abc123").stdout == "# It was worth it\n\n"


def test_a_report_that_is_not_written_yet_ends_with_four(house: House, stillhouse: Run):
    house.add(a_job(state=JobState.RUNNING))
    assert stillhouse("report", "digits-abc123").exit_code == 4


def test_download_fetches_what_is_named(house: House, stillhouse: Run, tmp_path: Path):
    house.add(a_job())
    house.files = {"model.safetensors": b"weights", "card.md": b"card"}
    done = stillhouse("download", "digits-abc123", "card.md", "--to", tmp_path / "got", "--json")
    assert json.loads(done.stdout) == {"files": [str(tmp_path / "got" / "card.md")]}
    assert (tmp_path / "got" / "card.md").read_bytes() == b"card"


def test_download_of_what_is_not_there_names_what_is(house: House, stillhouse: Run):
    house.add(a_job())
    house.files = {"card.md": b"card"}
    done = stillhouse("download", "digits-abc123", "crad.md")
    assert done.exit_code == 3
    assert "one of card.md" in done.stderr


def test_a_teacher_is_published_from_jobs_and_waited_for(house: House, stillhouse: Run):
    done = stillhouse("teachers", "publish", "fashion", "--job", "one", "--job", "two", "--alias", "prod", "--json")
    assert json.loads(done.stdout)["state"] == "READY"
    assert house.teachers["fashion"].versions[0].alias == "prod"


def test_a_teacher_without_members_is_refused_before_anything_is_sent(house: House, stillhouse: Run):
    assert stillhouse("teachers", "publish", "fashion").exit_code == 2
    assert house.asked == []


def snapshots_of(house: House, job: str, *epochs: int) -> None:
    house.add(a_job(job))
    house.snapshots[job] = [
        Snapshot(epoch=epoch, path=f"runs/{job}/1/snapshots/{epoch}", digest="sha256:" + "0" * 64) for epoch in epochs
    ]


def test_a_trajectory_is_one_version_of_all_snapshots_from_the_first_epoch_to_the_last(house: House, stillhouse: Run):
    snapshots_of(house, "one", 4, 12, 8)
    done = stillhouse("teachers", "publish", "way", "--trajectory", "one", "--alias", "prod")
    assert (done.exit_code, done.stdout) == (0, "way@1\n")
    assert "one kept its weights after epochs 4, 8, 12" in done.stderr
    [version] = house.published
    assert version.members == tuple(MemberFromJob(job="one", epoch=epoch) for epoch in (4, 8, 12))


def test_a_trajectory_of_a_job_without_snapshots_is_refused_and_nothing_is_named(house: House, stillhouse: Run):
    snapshots_of(house, "one")
    done = stillhouse("teachers", "publish", "way", "--trajectory", "one")
    assert done.exit_code == 2
    assert "give the job file training.snapshots" in done.stderr
    assert house.teachers == {}


def test_a_trajectory_and_other_members_make_no_order(house: House, stillhouse: Run):
    done = stillhouse("teachers", "publish", "way", "--trajectory", "one", "--job", "two")
    assert (done.exit_code, house.asked) == (2, [])
    assert "leave --job and --weights out" in done.stderr


def test_reservations_are_listed_with_who_may_ask_whom_and_where(house: House, stillhouse: Run):
    house.reservations = {"wise-1": a_reservation(rows_per_s=5000)}
    header, line = stillhouse("reservations").stdout.splitlines()
    assert header.split() == ["ID", "TEAM", "TEACHER", "ROWS/S", "CREATED", "DOOR"]
    assert line.split()[:4] == ["wise-1", "default", "wise@1", "5,000"]
    assert line.endswith("http://127.0.0.1:8471/v1/pool")
    assert json.loads(stillhouse("reservations", "--json").stdout)[0]["teacher"]["version"] == 1


def test_gc_says_what_went_and_why(house: House, stillhouse: Run):
    log = Removed(sort=Sort.LOGS, where="runs/a/1/log.txt", size_bytes=1234, why="job a is FAILED, for 91.0 days")
    house.garbage = [log]
    done = stillhouse("gc", "--dry-run")
    assert done.stdout.splitlines()[1].split()[:3] == ["logs", "1,234", "runs/a/1/log.txt"]
    assert "job a is FAILED, for 91.0 days" in done.stdout
    assert "would go: 1 things, 1,234 bytes" in done.stderr
    assert "go later: runs/late" in done.stderr
    assert house.asked[-1][:2] == ("POST", "/v1/gc?dry_run=true")
    done = stillhouse("gc", "--json")
    assert house.asked[-1][:2] == ("POST", "/v1/gc")
    assert Collected.model_validate_json(done.stdout).removed == [log]


def test_usage_is_a_line_for_each_teacher_and_one_for_the_team(house: House, stillhouse: Run):
    wise = TeacherUsage(teacher="wise@1", rows_computed=30_000, rows_recalled=270_000, device_seconds=2.34, refusals=1)
    students = StudentUsage(attempts=3, worker_seconds=7200, cpu_seconds=3600, gpu_seconds=0.5)
    storage = StorageUsage(runs_bytes=5_000_000, answers_bytes=250_000, measured_at=now() - timedelta(minutes=9))
    house.usage = TeamUsage(team="vision", month="2026-01", teachers=(wise,), students=students, storage=storage)
    done = stillhouse("usage", "--month", "2026-01", "--team", "vision")
    of_wise, empty, heads, line = done.stdout.splitlines()[1:]
    assert of_wise.split() == ["vision", "wise@1", "30,000", "270,000", "2.3", "1"]
    assert (empty, heads.split()[:1]) == ("", ["TEAM"])
    assert line.split() == [
        "vision",
        "30,000",
        "2.3",
        "3",
        "7,200.0",
        "3,600.0",
        "0.5",
        "5.2",
        "MB,",
        "9",
        "min",
        "ago",
    ]
    assert house.asked[-1][1] == "/v1/usage?month=2026-01&team=vision"
    assert json.loads(stillhouse("usage", "--json").stdout)["teachers"][0]["rows_recalled"] == 270_000
    assert house.asked[-1][1] == "/v1/usage"


def test_an_operator_sees_a_line_for_each_team(house: House, stillhouse: Run):
    done = stillhouse("usage", "--all", "--month", "2026-01")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["TEAM", "default", "other"]
    assert done.stdout.splitlines()[1].endswith("not measured")
    assert house.asked[-1][1] == "/v1/usage/teams?month=2026-01"
    assert [one["team"] for one in json.loads(stillhouse("usage", "--all", "--json").stdout)] == ["default", "other"]
    assert stillhouse("usage", "--all", "--team", "vision").exit_code == 2


def test_a_taken_name_ends_with_four(stillhouse: Run):
    assert [stillhouse("teachers", "create", "fashion").exit_code for _ in range(2)] == [0, 4]


def test_an_error_for_a_program_is_a_problem_on_standard_error(stillhouse: Run):
    done = stillhouse("job", "nothing", "--json")
    assert (done.stdout, json.loads(done.stderr)["code"]) == ("", "not_found")


def test_a_server_that_is_not_there_ends_with_five(stillhouse: Run, house: House):
    house_was, house.url = house.url, "http://127.0.0.1:9"
    done = stillhouse("jobs")
    house.url = house_was
    assert done.exit_code == 5
    assert "is `stillhouse up` running?" in done.stderr


@pytest.mark.parametrize(
    "words", [["--help"], ["submit", "--help"], ["teachers", "publish", "--help"], ["up", "--help"]]
)
def test_help_teaches(stillhouse: Run, words: list[str]):
    done = stillhouse(*words)
    assert done.exit_code == 0
    assert "stillhouse" in done.stdout
