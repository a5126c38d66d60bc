"""What was measured: how loaded each replica is, and what each team had of teachers, cluster and storage. Only read here."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.pool import ReplicaLoad, StorageUsage, TeamUsage
from services.control_plane.held import STUDENTS

log = logging.getLogger(__name__)

SILENT_S = 5.0
"""A replica that has said nothing for so long is gone, or hangs; it says something about once a second."""


async def read_loads(redis: Redis, applications: Iterable[str], *, now: datetime) -> dict[str, list[ReplicaLoad]]:
    """Application -> what its living replicas said last."""
    asked = sorted(applications)
    pipeline = redis.pipeline(transaction=False)
    for name in asked:
        pipeline.hvals(names.load_key(name))
    said = await pipeline.execute() if asked else []
    return {name: _living(texts, now) for name, texts in zip(asked, said, strict=True)}


async def read_usage(redis: Redis, teams: Sequence[str], month: str) -> list[TeamUsage]:
    """What each team had in that month, such as ``2026-11``; nothing where it had nothing."""
    async with redis.pipeline(transaction=False) as asking:
        for team in teams:
            asking.hgetall(names.usage_key(team, month))
            asking.hget(names.storage_key(month), team)
        found = await asking.execute()
    return [_usage(*one, month) for one in zip(teams, found[::2], found[1::2], strict=True)]


async def teams_on_storage(redis: Redis, month: str) -> set[str]:
    """The teams whose storage was measured in that month."""
    found: Any = await redis.hkeys(names.storage_key(month))
    return {str(team) for team in found}


def _living(texts: Iterable[str], now: datetime) -> list[ReplicaLoad]:
    loads = []
    for text in texts:
        try:
            loads.append(ReplicaLoad.model_validate_json(text))
        except ValidationError:  # of another version, in the middle of an upgrade: it counts as silent
            log.warning("a replica's load can't be read and is passed over: %.200r", text)
    return [load for load in loads if now - load.at < timedelta(seconds=SILENT_S)]


def _usage(team: str, sums: Mapping[str, str], storage: str | None, month: str) -> TeamUsage:
    figures: dict[str, dict[str, str]] = defaultdict(dict)
    for field, total in sums.items():
        whose, _, figure = field.partition("|")
        figures[whose][figure] = total
    students = figures.pop(STUDENTS, {})
    teachers = [{"teacher": teacher, **figures[teacher]} for teacher in sorted(figures)]
    return TeamUsage.model_validate({
        "team": team, "month": month, "teachers": teachers, "students": students,
        "storage": None if storage is None else StorageUsage.model_validate_json(storage),
    })  # fmt: skip
