"""Records change in one step, whoever applies, and whatever lies in the inbox."""

import asyncio
from typing import Any

import pytest
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisGone

from distill.contracts import names
from distill.contracts.errors import Conflict, NotFound, Problem
from distill.contracts.events import Event
from distill.contracts.facts import (
    AliasMoved,
    AttemptClaimed,
    CancelAsked,
    EpochEnded,
    PauseAsked,
    PhaseReached,
    ResumeAsked,
    TeacherFact,
    VersionChecked,
    VersionDeleted,
    VersionRejected,
)
from distill.contracts.records import Directive, JobState, Phase, StudyRecord, Wish
from distill.contracts.study import StudySpec
from services.control_plane.listing import Listing
from services.control_plane.registry import apply_teacher_fact
from services.control_plane.reservations import Reservations
from services.control_plane.store import MadeInVain, Record, Store, apply_to
from tests.services.control_plane.fakes import DOOR
from tests.services.control_plane.records import MANIFEST, NOON, TAUGHT, WISE, a_queued_job, a_teacher, said

KINDS: tuple[names.Kind, ...] = ("study", "teacher")


async def events_of(redis: Redis, job: str) -> list[Event]:
    found = await redis.xrange(names.events_key("job", job))
    return [Event.model_validate_json(fields["event"]) for _, fields in found]


async def test_records_that_belong_together_are_made_together_or_not_at_all(store: Store):
    await store.create_jobs([a_queued_job("first-abc234")])
    with pytest.raises(MadeInVain, match="first-abc234"):
        await store.create_jobs([a_queued_job("second-abc234"), a_queued_job("first-abc234")])
    with pytest.raises(NotFound):
        await store.job("second-abc234")


async def test_a_change_moves_record_event_and_directive_together(store: Store, redis: Redis):
    await store.create_jobs([a_queued_job("one-abc234")])
    await store.append("job", "one-abc234", AttemptClaimed(attempt=1, at=NOON))
    await store.append("job", "one-abc234", CancelAsked(at=NOON))
    job = await store.job("one-abc234")
    assert [event.fact.kind for event in await events_of(redis, job.id)] == [
        "job_created", "attempt_claimed", "cancel_asked",
    ]  # fmt: skip
    directive = Directive.model_validate_json(await redis.get(names.directive_key(job.id)))
    assert (directive.attempt, directive.wish, directive.version) == (1, Wish.CANCEL, job.revision)
    assert await redis.xlen(names.inbox_key("job", job.id)) == 0


async def test_a_stale_fact_leaves_the_inbox_and_no_event(store: Store, redis: Redis):
    await store.create_jobs([a_queued_job("one-abc234")])
    await store.append("job", "one-abc234", AttemptClaimed(attempt=7, at=NOON))
    assert (await store.job("one-abc234")).revision == 0
    assert len(await events_of(redis, "one-abc234")) == 1
    assert await redis.xlen(names.inbox_key("job", "one-abc234")) == 0


async def test_many_appliers_apply_each_fact_once(store: Store, redis: Redis):
    await store.create_jobs([a_queued_job("one-abc234")])
    inbox = names.inbox_key("job", "one-abc234")
    facts = [AttemptClaimed(attempt=1, at=NOON), said(PhaseReached(attempt=1, phase=Phase.WORKERS_READY, at=NOON), 1)]
    facts += [said(EpochEnded(attempt=1, epoch=n, metrics={"step": n}, at=NOON), n + 1) for n in range(1, 40)]
    for fact in facts:
        await redis.xadd(inbox, {"fact": fact.model_dump_json()})
    changed = await asyncio.gather(*(Store(redis).apply_pending("job", "one-abc234") for _ in range(5)))
    job = await store.job("one-abc234")
    assert sum(changed) == len(facts) == job.revision
    assert [epoch["epoch"] for epoch in job.epochs] == list(range(1, 40))
    assert [event.revision for event in await events_of(redis, job.id)] == list(range(len(facts) + 1))


async def test_who_reads_an_entry_that_others_apply_meanwhile_applies_nothing_again(
    store: Store, redis: Redis, own_redis_url: str, monkeypatch: pytest.MonkeyPatch
):
    await store.create_jobs([a_queued_job("one-abc234")])
    await redis.xadd(names.inbox_key("job", "one-abc234"), {"fact": PauseAsked(at=NOON).model_dump_json()})
    late = Redis.from_url(own_redis_url, decode_responses=True)
    read = late.get

    async def others_are_faster(key: str) -> Any:
        monkeypatch.setattr(late, "get", read)
        await store.apply_pending("job", "one-abc234")
        await store.append("job", "one-abc234", ResumeAsked(at=NOON))
        return await read(key)

    monkeypatch.setattr(late, "get", others_are_faster)
    assert await Store(late).apply_pending("job", "one-abc234") == 0
    job = await store.job("one-abc234")
    assert (job.state, job.revision) == (JobState.QUEUED, 2)
    kinds = [event.fact.kind for event in await events_of(redis, job.id)]
    assert kinds == ["job_created", "pause_asked", "resume_asked"]
    await late.aclose()


async def test_what_is_no_fact_is_passed_over(store: Store, redis: Redis):
    await store.create_jobs([a_queued_job("one-abc234")])
    inbox = names.inbox_key("job", "one-abc234")
    await redis.xadd(inbox, {"fact": "{torn"})
    await redis.xadd(inbox, {"something": "else"})
    await redis.xadd(inbox, {"fact": AttemptClaimed(attempt=1, at=NOON).model_dump_json()})
    await store.apply_pending("job", "one-abc234")
    assert (await store.job("one-abc234")).state is JobState.STARTING


async def test_a_fact_that_can_not_be_applied_is_passed_over(
    store: Store, redis: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def faulty(record: Record, fact: Any) -> Record:
        assert fact.kind != "cancel_asked", "a bug of ours"
        return apply_to(record, fact)

    monkeypatch.setattr("services.control_plane.store.apply_to", faulty)
    await store.create_jobs([a_queued_job("one-abc234")])
    inbox = names.inbox_key("job", "one-abc234")
    for fact in (CancelAsked(at=NOON), AttemptClaimed(attempt=1, at=NOON)):
        await redis.xadd(inbox, {"fact": fact.model_dump_json()})
    await store.apply_pending("job", "one-abc234")
    assert (await store.job("one-abc234")).state is JobState.STARTING
    assert await redis.xlen(inbox) == 0
    assert "a bug of ours" in caplog.text


async def test_a_redis_that_fails_while_a_fact_is_applied_loses_none(
    store: Store, redis: Redis, monkeypatch: pytest.MonkeyPatch
):
    async def away(*_: Any, **__: Any) -> None:
        raise RedisGone("it is away")

    await store.create_jobs([a_queued_job("one-abc234")])
    with monkeypatch.context() as patch:
        patch.setattr(store, "_apply", away)
        with pytest.raises(RedisGone):
            await store.append("job", "one-abc234", AttemptClaimed(attempt=1, at=NOON))
    await store.apply_pending("job", "one-abc234")
    assert (await store.job("one-abc234")).state is JobState.STARTING


@pytest.mark.parametrize(
    "fact",
    [
        VersionChecked(version=7, manifest=MANIFEST, at=NOON),
        VersionRejected(version=7, problem=Problem(code="check_lost", message="lost"), at=NOON),
        AliasMoved(alias="prod", version=7, at=NOON),
        VersionDeleted(version=7, at=NOON),
    ],
    ids=lambda fact: fact.kind,
)
def test_a_word_about_a_version_that_is_not_there_changes_nothing(fact: TeacherFact):
    teacher = a_teacher()
    assert apply_teacher_fact(teacher, fact) is teacher


async def test_records_that_can_not_be_read_are_left_out_unless_all_must_be_known(
    store: Store, redis: Redis, caplog: pytest.LogCaptureFixture
):
    spec = StudySpec.model_validate({"name": "s", "job": TAUGHT})
    for identity in ("one", "two"):
        await store.create_jobs([], StudyRecord(id=identity, spec=spec, jobs={}, created_at=NOON, updated_at=NOON))
        await store.create_teacher(a_teacher(name=identity))
    for kind in KINDS:
        await redis.set(names.record_key(kind, "one"), "{torn")
    assert [study.id for study in await store.studies(["one", "two"])] == ["two"]
    assert [teacher.name for teacher in await store.teachers()] == ["two"]
    assert "the record of one can't be read" in caplog.text
    with pytest.raises(ValidationError):
        await store.studies(["one", "two"], complete=True)
    with pytest.raises(ValidationError):
        await store.teachers(complete=True)


async def test_a_study_is_not_stored_without_a_job_that_it_reuses(store: Store, redis: Redis):
    spec = StudySpec.model_validate({"name": "s", "job": TAUGHT})
    jobs = {"student": "s-student", "baseline": "gone-abc234"}
    study = StudyRecord(id="s-abc234", spec=spec, jobs=jobs, created_at=NOON, updated_at=NOON)
    with pytest.raises(MadeInVain):
        await store.create_jobs([a_queued_job("s-student")], study)
    assert await redis.keys("*") == []
    await store.create_jobs([a_queued_job("gone-abc234")])
    await store.create_jobs([a_queued_job("s-student")], study)
    assert (await store.study("s-abc234")).jobs == jobs


async def test_records_of_another_schema_are_left_alone(store: Store, redis: Redis):
    await store.check_schema()
    await redis.set(names.SCHEMA_KEY, "99")
    with pytest.raises(Conflict, match="schema 99"):
        await store.check_schema()


async def test_every_key_is_one_that_names_knows(store: Store, redis: Redis):
    study = StudyRecord(
        id="s-abc234", spec=StudySpec.model_validate({"name": "s", "job": TAUGHT}), jobs={"student": "one-abc234"},
        created_at=NOON, updated_at=NOON,
    )  # fmt: skip
    job = a_queued_job("one-abc234").model_copy(update={"study": study.id, "reuse_digest": "sha256:" + "0" * 64})
    await store.check_schema()
    await Listing(store, redis).make_lists()
    await store.create_jobs([job], study)
    await store.append("job", job.id, AttemptClaimed(attempt=1, at=NOON))
    lasting = {
        names.SCHEMA_KEY, names.index_key("job"), names.index_key("study"), names.active_key("job"),
        names.active_key("study"), names.record_key("job", job.id), names.record_key("study", study.id),
        names.events_key("job", job.id), names.events_key("study", study.id), names.directive_key(job.id),
        names.inbox_key("job", job.id), names.baselines_key(job.team), names.RESERVATIONS_KEY,
        names.list_key("job", job.team), names.list_key("job", job.team, "state:STARTING"),
        names.list_key("study", job.team), names.LISTED_KEY,
    }  # fmt: skip
    await Reservations(redis, door=DOOR).create(WISE, team="default", rows_per_s=1)
    expiring = {key for key in await redis.keys("*") if await redis.ttl(key) > 0}
    assert {key for key in await redis.keys("*") if key not in expiring} == lasting
