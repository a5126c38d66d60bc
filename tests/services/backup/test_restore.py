"""A restore verifies first, is all or nothing, and goes on where it broke off."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from typer.testing import CliRunner

from distill.contracts import names
from distill.contracts.errors import AttemptSuperseded, Conflict, InvalidData
from distill.contracts.facts import AttemptClaimed, VersionCreated
from distill.contracts.records import Attempt, CheckpointRef, JobState, Outcome, Phase, Wish
from distill.contracts.teachers import TeacherVersionState
from distill.journal.watch import DirectiveWatch
from services.backup import keys
from services.backup.backup import make_backup
from services.backup.fencing import fence, fence_teacher
from services.backup.keys import open_for_copy, take
from services.backup.restore import restore
from services.backup.where import redis_and_storage
from services.cli.exit_codes import CONFLICT, INVALID
from services.cli.main import app
from services.control_plane.life import apply_fact
from services.control_plane.ray_rest import RayJob, RayJobState
from services.control_plane.store import Store
from tests.services.control_plane.fakes import FakeRay, a_reconciler
from tests.services.control_plane.records import NOON, a_queued_job, a_running_job, a_teacher, a_version

NUM_JOBS = 20


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    folder = tmp_path / "storage"
    folder.mkdir()
    return folder


@pytest.fixture
async def backup(redis: AsyncRedis, store: Store, own_redis_url: str, storage: Path, tmp_path: Path) -> Path:
    """Of some jobs, one of which has ended and left a file."""
    await store.check_schema()
    jobs = [a_queued_job(f"job-{number:02d}") for number in range(NUM_JOBS)]
    jobs[0] = jobs[0].model_copy(update={"state": JobState.SUCCEEDED, "ended_at": NOON})
    await store.create_jobs(jobs)
    file = storage / "runs/job-00/1/artifacts/model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_text("weights")
    make_backup(own_redis_url, storage, tmp_path / "backup", with_files=True)
    return tmp_path / "backup"


@pytest.fixture
def new(redis: AsyncRedis, new_url: str) -> Iterator[Redis]:
    with open_for_copy(new_url) as client:
        yield client


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


MODEL = "files/runs/job-00/1/artifacts/model.safetensors"


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda folder: change(folder / "keys.jsonl"), "keys.jsonl was changed"),
        (lambda folder: change(folder / MODEL), "model.safetensors was changed"),
        (lambda folder: (folder / MODEL).unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / "keys.jsonl").unlink(), "no backup: keys.jsonl is missing"),
        (lambda folder: (folder / "backup.json").unlink(), "no backup: backup.json is missing"),
        (lambda folder: (folder / "backup.json").write_text("{}"), "can't be read"),
    ],
)
def test_what_is_torn_or_changed_is_refused_before_anything_is_touched(
    backup: Path, new: Redis, new_url: str, new_storage: Path, harm: Callable[[Path], Any], why: str
):
    harm(backup)
    with pytest.raises(InvalidData, match=why):
        restore(backup, new_url, new_storage, may_be_incomplete=True)
    assert new.keys() == []
    assert list(new_storage.iterdir()) == []


def test_a_redis_that_is_used_is_refused(backup: Path, own_redis_url: str, new_storage: Path):
    with pytest.raises(Conflict, match="not empty"):
        restore(backup, own_redis_url, new_storage, may_be_incomplete=False)
    assert list(new_storage.iterdir()) == []


def test_a_newer_ones_backup_is_refused(backup: Path, new: Redis, new_url: str, new_storage: Path):
    manifest = json.loads((backup / "backup.json").read_text())
    (backup / "backup.json").write_text(json.dumps(manifest | {"schema_version": "99"}))
    with pytest.raises(Conflict, match="schema 99"):
        restore(backup, new_url, new_storage, may_be_incomplete=False)
    assert new.keys() == []


def test_files_that_are_missing_are_told_and_refused_unless_that_is_wanted(
    redis: AsyncRedis, backup: Path, own_redis_url: str, new: Redis, new_url: str, new_storage: Path, storage: Path
):
    named = backup.with_name("named")
    make_backup(own_redis_url, storage, named, with_files=False)
    with pytest.raises(Conflict, match=r"1 files.*model.safetensors is missing"):
        restore(named, new_url, new_storage, may_be_incomplete=False)
    assert new.keys() == []
    done = restore(named, new_url, new_storage, may_be_incomplete=True)
    assert done.missing == ["runs/job-00/1/artifacts/model.safetensors is missing"]
    assert new.zcard(names.index_key("job")) == NUM_JOBS


def test_a_file_on_storage_is_never_overwritten(backup: Path, new: Redis, new_url: str, storage: Path):
    file = storage / "runs/job-00/1/artifacts/model.safetensors"
    file.write_text("others")
    with pytest.raises(Conflict, match=r"model\.safetensors was changed"):
        restore(backup, new_url, storage, may_be_incomplete=False)
    restore(backup, new_url, storage, may_be_incomplete=True)
    assert file.read_text() == "others"


@pytest.mark.parametrize("cut_at", [0, 1, 5, 9, 10])
async def test_what_broke_off_goes_on_and_nothing_starts_before(
    backup: Path, new_redis: AsyncRedis, new: Redis, new_url: str, new_storage: Path, own_redis_url: str,
    monkeypatch: pytest.MonkeyPatch, cut_at: int,
):  # fmt: skip
    write, left = keys._write, [cut_at * 5]

    def cut(pipe: Any, entry: keys.Entry) -> None:
        if left[0] == 0:
            raise OSError("the power is cut")
        left[0] -= 1
        write(pipe, entry)

    with monkeypatch.context() as patch:
        patch.setattr(keys, "CHUNK", 5)
        patch.setattr(keys, "_write", cut)
        with pytest.raises(OSError, match="power"):
            restore(backup, new_url, new_storage, may_be_incomplete=False)
    with pytest.raises(Conflict, match="begun and not finished"):
        await Store(new_redis).check_schema()
    restore(backup, new_url, new_storage, may_be_incomplete=False)
    await Store(new_redis).check_schema()
    with open_for_copy(own_redis_url) as old:
        assert [one for one in take(new) if one.key != names.AUDIT_KEY] == take(old)
    (restored,) = new.xrange(names.AUDIT_KEY)
    assert '"what":"restore"' in restored[1]["entry"]


def test_a_backup_is_a_new_folder_for_its_owner_alone(backup: Path, own_redis_url: str, storage: Path):
    assert backup.stat().st_mode & 0o777 == 0o700
    with pytest.raises(Conflict, match="exists already"):
        make_backup(own_redis_url, storage, backup, with_files=False)


def test_a_record_that_can_not_be_read_is_kept_as_it_is(
    redis: AsyncRedis, backup: Path, own_redis_url: str, new: Redis, new_url: str, new_storage: Path, storage: Path
):
    with open_for_copy(own_redis_url) as old:
        old.set(names.record_key("job", "job-05"), "{torn")
    torn = backup.with_name("torn")
    make_backup(own_redis_url, storage, torn, with_files=True)
    restore(torn, new_url, new_storage, may_be_incomplete=False)
    assert new.get(names.record_key("job", "job-05")) == "{torn"


CHECKPOINT = CheckpointRef(path="runs/a/1/checkpoints/step-1", digest="sha256:" + "0" * 64, epoch=0, step=1, attempt=1)


def test_fencing_leaves_alone_what_needs_none():
    running = a_running_job().model_copy(update={"checkpoint": CHECKPOINT})
    assert fence(running, newest_folder=1, has_checkpoint=True, at=NOON) is running
    ended = running.model_copy(update={"state": JobState.SUCCEEDED})
    assert fence(ended, newest_folder=9, has_checkpoint=False, at=NOON) is ended


def test_numbers_that_were_used_are_used_up_and_one_more():
    fenced = fence(a_queued_job(), newest_folder=2, has_checkpoint=True, at=NOON)
    assert [one.number for one in fenced.attempts] == [1, 2, 3]
    assert {one.outcome for one in fenced.attempts} == {Outcome.WAITED}
    assert all(Phase.LAUNCHED in one.phases for one in fenced.attempts)
    assert fenced.directive().attempt == 0, "no worker that still lives is to go on, whatever its number"
    next_one = apply_fact(fenced, AttemptClaimed(attempt=4, at=NOON))
    assert (next_one.state, next_one.directive().attempt) == (JobState.STARTING, 4)
    for used in (1, 2, 3):
        assert apply_fact(fenced, AttemptClaimed(attempt=used, at=NOON)) is fenced


def test_one_that_ran_is_given_a_number_that_nobody_has():
    fenced = fence(a_running_job(), newest_folder=4, has_checkpoint=True, at=NOON)
    assert [one.number for one in fenced.attempts] == [1, 2, 3, 4, 5]
    assert (fenced.state, fenced.directive().attempt) == (JobState.RUNNING, 5)


async def test_a_worker_of_after_the_backup_stops_and_its_number_is_not_given_again(
    backup: Path, new_redis: AsyncRedis, new: Redis, new_url: str, storage: Path, tmp_path: Path
):
    (storage / "runs/job-01/1").mkdir(parents=True)
    assert restore(backup, new_url, storage, may_be_incomplete=False).renumbered == ["job-01"]
    with DirectiveWatch(new, "job-01", attempt=1, keep_lease=True) as watch, pytest.raises(AttemptSuperseded):
        _ = watch.wish
    assert new.get(names.lease_key("job-01")) is None
    ray = FakeRay(cpus=100)
    await a_reconciler(new_redis, ray, tmp_path).round()
    assert {one for one in ray.jobs if one.startswith("job-01-")} == {"job-01-3"}


async def test_an_attempt_of_after_the_backup_whose_process_never_began_is_met_by_its_ray_job(
    backup: Path, redis: AsyncRedis, new_redis: AsyncRedis, new: Redis, new_url: str, storage: Path, tmp_path: Path
):
    """It has left no folder, so its number is given again; but that names the same Ray job, which there is once."""
    ray = FakeRay(cpus=100)
    await a_reconciler(redis, ray, tmp_path).round()
    assert "job-01-1" in ray.jobs
    ray.jobs["job-02-1"] = RayJob(RayJobState.FAILED)
    before = dict(ray.jobs)

    restored = restore(backup, new_url, storage, may_be_incomplete=False)

    assert restored.renumbered == []
    again = a_reconciler(new_redis, ray, tmp_path)
    await again.round()
    assert ray.jobs == before, "nothing was started a second time"
    waits = await Store(new_redis).job("job-01")
    assert (waits.state, waits.attempt, Phase.LAUNCHED in waits.newest.phases) == (JobState.STARTING, 1, True)
    with DirectiveWatch(new, "job-01", attempt=1, keep_lease=True) as watch:  # its process begins at last
        assert watch.wish is Wish.RUN


def test_a_teacher_without_later_versions_is_left_alone():
    teacher = a_teacher()
    assert fence_teacher(teacher, newest_folder=1, at=NOON) is teacher


async def test_the_check_of_a_version_of_after_the_backup_is_not_taken_for_a_later_ones(
    store: Store, own_redis_url: str, new_redis: AsyncRedis, new_url: str, storage: Path, tmp_path: Path
):
    await store.check_schema()
    await store.create_teacher(a_teacher())
    key = names.record_key("teacher", "wise")
    with open_for_copy(own_redis_url) as old:
        old.set(key, json.dumps(json.loads(str(old.get(key))) | {"later": "news"}))
    make_backup(own_redis_url, storage, tmp_path / "backup", with_files=False)
    (storage / "teachers/wise/2").mkdir(parents=True)  # published, and checked, since
    ray = FakeRay()
    ray.jobs["check-wise-2"] = RayJob(RayJobState.SUCCEEDED)
    assert restore(tmp_path / "backup", new_url, storage, may_be_incomplete=False).republish == ["wise"]
    assert json.loads(await new_redis.get(key))["later"] == "news"
    again, reconciler = Store(new_redis), a_reconciler(new_redis, ray, tmp_path)
    number = len((await again.teacher("wise")).versions) + 1
    version = a_version(version=number, state=TeacherVersionState.CHECKING, manifest=None)
    await again.append("teacher", "wise", VersionCreated(version=version, at=NOON))
    await reconciler.round()
    await reconciler.round()
    states = [version.state.value for version in (await again.teacher("wise")).versions]
    assert states == ["READY", "DELETED", "DELETED", "CHECKING"]
    assert ray.arguments["check-wise-4"] == ["teacher_server.check", "--teacher", "wise", "--version", "4"]


def test_what_an_older_program_does_not_know_of_a_record_stays(
    backup: Path, own_redis_url: str, new: Redis, new_url: str, storage: Path
):
    key = names.record_key("job", "job-01")
    with open_for_copy(own_redis_url) as old:
        old.set(key, json.dumps(json.loads(str(old.get(key))) | {"later": "news"}))
    later = backup.with_name("later")
    make_backup(own_redis_url, storage, later, with_files=False)
    (storage / "runs/job-01/4").mkdir(parents=True)
    restore(later, new_url, storage, may_be_incomplete=False)
    record = json.loads(str(new.get(key)))
    assert record["later"] == "news"
    assert [Attempt.model_validate(one).number for one in record["attempts"]] == [1, 2, 3, 4, 5]


def test_from_the_command_line_with_what_the_environment_names(
    redis: AsyncRedis, backup: Path, own_redis_url: str, new: Redis, new_url: str, new_storage: Path, storage: Path
):
    target = backup.with_name("by-command")
    here = {"STILLHOUSE_REDIS_URL": own_redis_url, "STILLHOUSE_STORAGE": str(storage)}
    there = {"STILLHOUSE_REDIS_URL": new_url, "STILLHOUSE_STORAGE": str(new_storage)}
    run = CliRunner()
    made = run.invoke(app, ["backup", str(target), "--files", "--json"], env=here)
    assert (made.exit_code, json.loads(made.stdout)["num_files"]) == (0, 1)
    again = run.invoke(app, ["backup", str(target)], env=here)
    assert (again.exit_code, "exists already" in again.stderr) == (CONFLICT, True)
    used = run.invoke(app, ["restore", str(target)], env=here)
    assert (used.exit_code, "not empty" in used.stderr) == (CONFLICT, True)
    torn = run.invoke(app, ["restore", str(target / "files")], env=there)
    assert (torn.exit_code, "is no backup" in torn.stderr) == (INVALID, True)
    done = run.invoke(app, ["restore", str(target), "--json"], env=there)
    assert (done.exit_code, json.loads(done.stdout)["num_files"]) == (0, 1)
    assert new.zcard(names.index_key("job")) == NUM_JOBS


def test_a_stack_that_is_down_has_its_redis_started_for_it(tmp_path: Path):
    environment = {"STILLHOUSE_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
    with redis_and_storage(environment) as (url, storage), open_for_copy(url) as redis:
        redis.set("stillhouse:a", "kept")
        assert storage == tmp_path / "home/storage"
        assert storage.is_dir()
    with redis_and_storage(environment) as (url, _), open_for_copy(url) as redis:
        assert redis.get("stillhouse:a") == "kept"
