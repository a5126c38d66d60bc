"""What a teacher's replica writes of itself: how loaded it is, and what teams had of it; and the weights that it reads.

A load ends by itself: the whole hash expires `LOAD_S` after the last replica fell silent. Field TTLs would need a newer
Redis than others here do, so that of several replicas a dead one's entry stays for a while: readers pass over what is
more than a few seconds old, and a living one deletes it after `FORGOTTEN_S`.
"""

import logging
import math
from collections.abc import Mapping
from datetime import timedelta

from pydantic import ValidationError
from redis import Redis

from distill.contracts import names
from distill.contracts.pool import ReplicaLoad, TeacherUsage

log = logging.getLogger(__name__)

LOAD_S = 10
FORGOTTEN_S = 60
"""Longer than the clocks of two nodes may differ."""

Usage = Mapping[tuple[str, str], TeacherUsage]
"""(team, month) -> what it had of one teacher."""


def write_load(redis: Redis, application: str, load: ReplicaLoad) -> None:
    """Say how loaded a replica is.

    Raises:
        redis.RedisError: Redis doesn't answer.
    """
    key = names.load_key(application)
    gone = [replica for replica, text in redis.hgetall(key).items() if _is_forgotten(str(text), load)]
    with redis.pipeline(transaction=True) as pipe:
        pipe.hset(key, load.replica, load.model_dump_json())
        if gone:
            pipe.hdel(key, *gone)
        pipe.expire(key, LOAD_S)
        pipe.execute()


def remove_load(redis: Redis, application: str, replica: str) -> None:
    """Take back what a replica said, because it ends.

    Raises:
        redis.RedisError: Redis doesn't answer.
    """
    redis.hdel(names.load_key(application), replica)


def read_weights(redis: Redis) -> dict[str, float]:
    """Team -> its weight, where it has one; what is no positive number is passed over.

    Raises:
        redis.RedisError: Redis doesn't answer.
    """
    weights = {}
    for team, text in redis.hgetall(names.TEAM_WEIGHTS_KEY).items():
        try:
            weight = float(text)
        except ValueError:
            weight = math.nan
        if 0 < weight < math.inf:
            weights[str(team)] = weight
        else:
            log.warning("the weight of team %s is %r, no positive number: 1 is taken", team, text)
    return weights


def add_usage(redis: Redis, usage: Usage, *, writer: str, number: int) -> None:
    """Add to the sums of teams; harmless to repeat, with the same number, where it is not known whether it was done.

    Args:
        redis: the client.
        usage: what is to be added.
        writer: the replica; unlike any other there ever was.
        number: rises with every addition of this writer.

    Raises:
        redis.RedisError: Redis doesn't answer; whether the sums are in is not known.
    """
    keys = [names.usage_writer_key(writer)]
    arguments: list[str | int | float] = [number, WRITER_S]
    for (team, month), had in usage.items():
        for figure, amount in had.model_dump(exclude={"teacher"}, exclude_defaults=True).items():
            keys.append(names.usage_key(team, month))
            arguments += ["HINCRBYFLOAT" if isinstance(amount, float) else "HINCRBY", f"{had.teacher}|{figure}", amount]
    redis.eval(ADD_ONCE, len(keys), *keys, *arguments)


WRITER_S = 86_400
"""For so long a replica may be unsure whether an addition was done."""

ADD_ONCE = """
-- Add figures to sums, unless this writer's addition of this number is already in.
-- KEYS: the writer's newest number; then the hash of each figure
-- ARGV: number, seconds to remember it; then for each figure: command, field, amount
if tonumber(redis.call('GET', KEYS[1]) or 0) >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
for i = 2, #KEYS do
  redis.call(ARGV[3 * i - 3], KEYS[i], ARGV[3 * i - 2], ARGV[3 * i - 1])
end
return 1
"""


def _is_forgotten(text: str, newest: ReplicaLoad) -> bool:
    try:
        said = ReplicaLoad.model_validate_json(text)
    except ValidationError:  # of another version: it goes with its own replicas' hash
        return False
    return newest.at - said.at > timedelta(seconds=FORGOTTEN_S)
