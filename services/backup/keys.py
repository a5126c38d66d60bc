"""The keys of Redis as text: all of one moment, and back again.

**One moment.** One Lua step reads every key, so nothing can change in between: a record and its inbox, an index and what
it lists, a study and its jobs fit each other, whatever keys there are. A copy family by family, in a transaction each,
would hold Redis up for less, but then an index could name what the copy doesn't have, and every new kind of key would
need a thought about that. Redis answers nobody meanwhile (docs/operations.md has the figure), and workers and the
control plane wait, as they do for a slow disk.

**But for what streams hold,** which is most of it. Of them the step reads the newest id, and their entries are read
afterwards up to that id: entries are appended, and trimmed from the oldest on, so that is what they held at that
moment, less what was trimmed since. Inboxes are the exception: an entry goes from their middle when it is applied. They
are short, and read in the step.

**Text, not DUMP.** DUMP's bytes belong to a version of Redis, and another one, or a Valkey, may refuse them; JSON can be
read in ten years, and by a person. Values that are no UTF-8 survive too (surrogate escapes).
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from redis import Redis

from distill.contracts import names
from distill.contracts.base import Stored
from distill.contracts.errors import Conflict, StillhouseError

WORTH_KEEPING_MS = 3_600_000
"""What ends sooner than in an hour is a lease, or a word of somebody who lives: worthless to the next Redis."""
SOCKET_S = 120.0
CHUNK = 200
INBOX = ":" + names.inbox_key("job", "").rpartition(":")[2]


class Entry(Stored):
    """One key."""

    key: str
    type: str
    value: Any
    """A string; the pairs of a hash; the members of a set or a list; members and scores; or a stream, as `_stream` has it."""
    expires_at_ms: int | None = None
    """Since the epoch."""


def open_for_copy(url: str) -> "Redis":
    """A client that waits for the one long step, and keeps bytes that are no text."""
    return Redis.from_url(
        url, decode_responses=True, encoding_errors="surrogateescape", socket_timeout=SOCKET_S, socket_connect_timeout=5
    )


SNAPSHOT = """
-- Every key of ours that is worth keeping, with its value, as of this moment.
-- ARGV: pattern of the keys, least milliseconds that one must still live, how the keys of inboxes end
local now = redis.call('TIME')
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  local left = redis.call('PTTL', key)
  if left == -1 or left >= tonumber(ARGV[2]) then
    local kind = redis.call('TYPE', key).ok
    local value, more = false, false
    if kind == 'string' then value = redis.call('GET', key)
    elseif kind == 'hash' then value = redis.call('HGETALL', key)
    elseif kind == 'set' then value = redis.call('SMEMBERS', key)
    elseif kind == 'list' then value = redis.call('LRANGE', key, 0, -1)
    elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
    elseif kind == 'stream' then
      if string.sub(key, -#ARGV[3]) == ARGV[3] then value = redis.call('XRANGE', key, '-', '+') end
      more = redis.call('XINFO', 'STREAM', key)
      more[#more + 1] = ''
      for i, item in ipairs(more) do if type(item) == 'table' then more[i] = '' end end
    end
    found[#found + 1] = {key, kind, left, value, more}
  end
end
return {now[1], now[2], found}
"""

CLAIM = """
-- Make an empty Redis the one of this restore. Returns '' if it is ours now or was before, else what stands in the way.
-- KEYS: restoring, schema; ARGV: digest of the backup, pattern of our keys
local begun = redis.call('GET', KEYS[1])
if begun == ARGV[1] then return '' end
if begun then return 'backup ' .. begun end
for _, key in ipairs(redis.call('KEYS', ARGV[2])) do
  if key ~= KEYS[2] then return key end
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return ''
"""


def take(redis: Redis) -> list[Entry]:
    """Every key under our prefix, of one moment, sorted; without those that are about to end.

    Raises:
        Conflict: a restore was begun there and not finished.
        StillhouseError: a key is of a type that we don't know: then this is no copy of everything.
        redis.RedisError: Redis doesn't answer.
    """
    seconds, microseconds, found = redis.eval(SNAPSHOT, 0, f"{names.PREFIX}*", WORTH_KEEPING_MS, INBOX)
    at_ms = int(seconds) * 1000 + int(microseconds) // 1000
    entries = sorted((_entry(at_ms, *one) for one in found), key=lambda entry: entry.key)
    if any(entry.key == names.RESTORING_KEY for entry in entries):
        raise Conflict(
            "a restore into this Redis was begun and not finished: what is there is no state to keep",
            hint="run `stillhouse restore` with the same backup again, then back up",
        )
    _fill(redis, [one for one in entries if one.type == "stream" and one.value["entries"] is None])
    return entries


def claim(redis: Redis, backup: str) -> None:
    """Make an empty Redis the one into which ``backup`` is restored; nothing of ours starts on it until `finish`.

    Raises:
        Conflict: it is not empty, or another backup is being restored into it.
    """
    pattern = f"{names.PREFIX}*"
    if in_the_way := str(redis.eval(CLAIM, 2, names.RESTORING_KEY, names.SCHEMA_KEY, backup, pattern)):
        raise Conflict(
            f"this Redis is not empty (it holds {in_the_way}): a backup is restored into an empty one only",
            expected=f"no key that begins with {names.PREFIX}",
            got=in_the_way,
            hint="stop the control plane, and give it an empty database; or, if this is the right backup of a restore "
            "that broke off, give the same one again",
        )


def put(redis: Redis, entries: Sequence[Entry], *, now_ms: int) -> None:
    """Write the entries, all but the schema's and those that have ended since; harmless to repeat."""
    lasting = [one for one in entries if one.key != names.SCHEMA_KEY and (one.expires_at_ms or now_ms + 1) > now_ms]
    for start in range(0, len(lasting), CHUNK):
        with redis.pipeline(transaction=True) as pipe:
            for entry in lasting[start : start + CHUNK]:
                pipe.delete(entry.key)
                _write(pipe, entry)
                if entry.expires_at_ms is not None:
                    pipe.pexpireat(entry.key, entry.expires_at_ms)
            pipe.execute()


def finish(redis: Redis, schema: str) -> None:
    """In one step: what was restored is a state to start from."""
    with redis.pipeline(transaction=True) as pipe:
        pipe.set(names.SCHEMA_KEY, schema)
        pipe.delete(names.RESTORING_KEY)
        pipe.execute()


def to_lines(entries: Iterable[Entry]) -> bytes:
    """One key a line."""
    return b"".join(json.dumps(entry.model_dump(exclude_none=True)).encode() + b"\n" for entry in entries)


def from_lines(content: bytes) -> list[Entry]:
    """The entries. ``json`` reads them, as pydantic's parser refuses surrogates."""
    return [Entry.model_construct(**({"expires_at_ms": None} | json.loads(line))) for line in content.splitlines()]


def _entry(at_ms: int, key: str, kind: str, left_ms: int, value: Any, more: Any) -> Entry:
    expires_at_ms = None if left_ms < 0 else at_ms + left_ms
    match kind:
        case "string" | "list":
            content = value
        case "set":
            content = sorted(value)
        case "hash":
            content = dict(sorted(zip(value[::2], value[1::2], strict=True)))
        case "zset":
            content = list(zip(value[::2], value[1::2], strict=True))
        case "stream":
            content = _stream(value, dict(zip(more[:-1:2], more[1:-1:2], strict=True)))
        case _:
            raise StillhouseError(f"{key} is a {kind}, which a backup can't keep: nothing was written", got=kind)
    return Entry.model_construct(key=key, type=kind, value=content, expires_at_ms=expires_at_ms)


def _stream(entries: Any, more: dict[str, Any]) -> dict[str, Any]:
    return {
        "entries": entries,
        "last_id": more["last-generated-id"],
        "added": int(more["entries-added"]),
        "max_deleted": more["max-deleted-entry-id"],
    }


def _fill(redis: Redis, streams: Sequence[Entry]) -> None:
    """Read what streams held when their newest id was read."""
    for start in range(0, len(streams), CHUNK):
        chunk = streams[start : start + CHUNK]
        with redis.pipeline(transaction=False) as pipe:
            for entry in chunk:
                pipe.xrange(entry.key, max=entry.value["last_id"])
            for entry, held in zip(chunk, pipe.execute(), strict=True):
                entry.value["entries"] = [[identity, [part for pair in fields.items() for part in pair]]
                                          for identity, fields in held]  # fmt: skip


def _write(pipe: Any, entry: Entry) -> None:
    match entry.type:
        case "string":
            pipe.set(entry.key, entry.value)
        case "list":
            pipe.rpush(entry.key, *entry.value)
        case "set":
            pipe.sadd(entry.key, *entry.value)
        case "hash":
            pipe.hset(entry.key, mapping=entry.value)
        case "zset":
            pipe.execute_command(
                "ZADD", entry.key, *(part for member, score in entry.value for part in (score, member))
            )
        case "stream":
            # a stream that is empty now still knows its newest id: what is appended later must come after it
            pipe.execute_command("XGROUP", "CREATE", entry.key, "restore", "$", "MKSTREAM")
            pipe.execute_command("XGROUP", "DESTROY", entry.key, "restore")
            for identity, fields in entry.value["entries"]:
                pipe.execute_command("XADD", entry.key, identity, *fields)
            pipe.execute_command(
                "XSETID", entry.key, entry.value["last_id"],
                "ENTRIESADDED", entry.value["added"], "MAXDELETEDID", entry.value["max_deleted"],
            )  # fmt: skip
