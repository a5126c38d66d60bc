"""A control plane behind a real socket, in a thread of this process, and what a request meets there."""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.facts import AttemptClaimed, AttemptEnded, PhaseReached
from distill.contracts.keys import hash_of_key, new_key, new_key_id
from distill.contracts.measures import Artifact, AttemptResult, Predictions
from distill.contracts.records import Outcome, Phase, StudyRecord
from distill.contracts.settings import NodeSettings
from distill.contracts.study import StudySpec
from distill.contracts.teachers import TeacherRecord
from services.control_plane.main import create_app
from services.control_plane.serving import server_of
from services.control_plane.settings import Settings
from services.control_plane.store import Store
from tests.services.control_plane.records import JOB, a_queued_job, a_teacher, said
from tests.services.reports.examples import facts, quality, size

CONTENT = bytes(range(250)) * 4
KEY = new_key(new_key_id())
"""Of an admin, in all of these houses."""
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """Base URL of a control plane, served as ``python -m services.control_plane`` serves it."""
    settings = settings.model_copy(update={"admin_key": hash_of_key(KEY)})
    server = server_of(create_app(settings), settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield _address(server, thread)
    finally:
        server.should_exit = True
        thread.join()


def _address(server: uvicorn.Server, thread: threading.Thread) -> str:
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive(), "the control plane did not start"
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    return f"http://{host}:{port}"


async def leave_a_job(node: NodeSettings, *teachers: TeacherRecord) -> None:
    """Enter the teachers, and the job ``left`` with all that a finished one leaves: an artifact, a result, a log."""
    redis: Redis = Redis.from_url(node.redis_url, decode_responses=True)
    store = Store(redis)
    for teacher in teachers:
        await store.create_teacher(teacher)
    await store.create_jobs([a_queued_job("left")])
    folder = names.attempt_folder("left", 1)
    (node.storage / folder).mkdir(parents=True)
    (node.storage / folder / "student.bin").write_bytes(CONTENT)
    (node.storage / folder / names.LOG_FILE).write_text("it learned\n" * 100)
    kept = Artifact(
        name="student.bin", path=str(folder / "student.bin"), size_bytes=len(CONTENT),
        digest="sha256:" + hashlib.sha256(CONTENT).hexdigest(), media_type="application/octet-stream",
    )  # fmt: skip
    result = AttemptResult(
        job="left", attempt=1, dataset=facts(), size=size(10), quality=quality(0.5), curve=(), steps=1, phases={},
        artifacts=(kept,), predictions=str(folder / "predictions.json"), versions={},
    )  # fmt: skip
    (node.storage / folder / "predictions.json").write_text(Predictions(student=(0, 1), truth=(0, 1)).model_dump_json())
    (node.storage / folder / names.RESULT_FILE).write_text(result.model_dump_json())
    await store.append("job", "left", AttemptClaimed(attempt=1, at=now()))
    await store.append("job", "left", said(PhaseReached(attempt=1, phase=Phase.WORKERS_READY, at=now()), 1))
    ended = AttemptEnded(attempt=1, outcome=Outcome.FINISHED, result=str(folder / names.RESULT_FILE), at=now())
    await store.append("job", "left", said(ended, 2))
    await redis.aclose()


async def _leave_everything(node: NodeSettings) -> None:
    await leave_a_job(node, a_teacher())
    redis: Redis = Redis.from_url(node.redis_url, decode_responses=True)
    spec = StudySpec.model_validate({"name": "compared", "job": JOB})
    study = StudyRecord(
        id="compared",
        team="default",
        spec=spec,
        jobs={"student": "left"},
        children={},
        created_at=now(),
        updated_at=now(),
    )
    await Store(redis).create_jobs([], study)
    await redis.aclose()


def leave_everything(node: NodeSettings) -> None:
    """`leave_a_job`, and the study ``compared`` whose only job it is, with the teacher ``wise``."""
    asyncio.run(_leave_everything(node))
