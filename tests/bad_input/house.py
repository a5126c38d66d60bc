"""A running stack, as the cases need it: their files, a teacher of digits, and the answer to each mistake."""

import asyncio
from collections.abc import Sequence

import httpx
from redis.asyncio import Redis

from distill.contracts.errors import Problem
from distill.contracts.job import JobSpec
from distill.contracts.records import JobRecord
from services.client.client import StillhouseClient
from services.control_plane.store import Store
from services.stack.stack import Stack
from tests.bad_input.cases import Mistake, StudyMistake, files
from tests.fundamentals.jobs import ended, shown
from tests.services.control_plane.records import MANIFEST, a_teacher, a_version


def prepare(stack: Stack) -> None:
    """Lay down the files, and enter the teacher that the cases name."""
    files(stack.node.data_root)
    asyncio.run(_enter_teacher(stack.node.redis_url))


def answer_at_submit(stack: Stack, mistake: Mistake) -> httpx.Response:
    """What the API answers."""
    headers = {"Content-Type": "application/json"} | shown(stack.key)
    if isinstance(mistake, StudyMistake):
        return httpx.post(f"{stack.url}/v1/studies", json=mistake.study(), headers=headers)
    if mistake.body is not None:
        return httpx.post(f"{stack.url}/v1/jobs", content=mistake.body, headers=headers)
    return httpx.post(f"{stack.url}/v1/jobs", json=mistake.job(), headers=headers)


def problems_at_check(client: StillhouseClient, mistakes: Sequence[Mistake]) -> list[tuple[JobRecord, Problem | None]]:
    """How the jobs of these mistakes end, all at once: the record, and the problem of its attempt."""
    posted = [client.submit_job(JobSpec.model_validate(mistake.job())) for mistake in mistakes]
    jobs = [ended(client, job) for job in posted]
    return [(job, job.newest.problem if job.newest else None) for job in jobs]


async def _enter_teacher(redis_url: str) -> None:
    redis: Redis = Redis.from_url(redis_url, decode_responses=True)
    manifest = MANIFEST.model_copy(update={"teacher": "mistaken-for"})
    await Store(redis).create_teacher(a_teacher(a_version(manifest=manifest), name="mistaken-for"))
    await redis.aclose()
