"""What replicas wrote of themselves: how loaded each is, and what each team had of each teacher. Read, never written here."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.pool import ReplicaLoad, TeacherUsage, TeamUsage

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


async def read_usage(redis: Redis, team: str, month: str) -> TeamUsage:
    """What the team had in that month, such as ``2026-11``; of no teacher where it had nothing."""
    found: Any = await redis.hgetall(names.usage_key(team, month))
    return TeamUsage(team=team, month=month, teachers=_by_teacher(found))


def _living(texts: Iterable[str], now: datetime) -> list[ReplicaLoad]:
    loads = []
    for text in texts:
        try:
            loads.append(ReplicaLoad.model_validate_json(text))
        except ValidationError:  # of another version, in the middle of an upgrade: it counts as silent
            log.warning("a replica's load can't be read and is passed over: %.200r", text)
    return [load for load in loads if now - load.at < timedelta(seconds=SILENT_S)]


def _by_teacher(sums: Mapping[str, str]) -> tuple[TeacherUsage, ...]:
    figures: dict[str, dict[str, str]] = defaultdict(dict)
    for field, total in sums.items():
        teacher, _, figure = field.partition("|")
        figures[teacher][figure] = total
    return tuple(TeacherUsage.model_validate({"teacher": teacher, **figures[teacher]}) for teacher in sorted(figures))
