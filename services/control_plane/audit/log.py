"""The log's writer: each entry is chained to the newest one, and put after it only while that is still the newest.

Redis has no SHA-256 for its Lua, so hashes are made here, and one Lua step compares and appends. Who is told that another
control plane came between follows on that one's entry, and tries again. What several requests bring at the same time
is written together.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.audit import Entry
from distill.contracts.errors import DependencyDown
from services.control_plane.audit import files
from services.control_plane.audit.chain import START, Head, Link, seal

APPEND = """
-- Append entries to the audit log, if the first one follows on its newest; else return that one's id and hash.
-- KEYS: log
-- ARGV: hash that the first follows on ('' for an empty log), '1' if a Redis that has no memory left is to take them too;
--       for each entry its number, JSON and hash
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if (newest and newest[2][4] or '') ~= ARGV[1] then
  local first = redis.call('XRANGE', KEYS[1], ARGV[3] .. '-0', ARGV[3] .. '-0')[1]
  if first and first[2][4] == ARGV[5] then return false end  -- these very ones: the reply was lost, and they came again
  return newest and {newest[1], newest[2][4]} or {'0-0', ''}
end
if ARGV[2] == '1' then redis.call('PERSIST', KEYS[1]) end  -- needs no memory: what follows such a step is taken too
for i = 3, #ARGV, 3 do
  redis.call('XADD', KEYS[1], ARGV[i] .. '-0', 'entry', ARGV[i + 1], 'hash', ARGV[i + 2])
end
return false
"""

TAKE_UP = """
-- Put an entry that files hold at the end of the log, unless the log has come so far itself.
-- KEYS: log; ARGV: number, JSON, hash
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if newest and tonumber(string.match(newest[1], '^%d+')) >= tonumber(ARGV[1]) then return 0 end
redis.call('XADD', KEYS[1], ARGV[1] .. '-0', 'entry', ARGV[2], 'hash', ARGV[3])
return 1
"""

Waiting = tuple[Entry, bool, asyncio.Future[int]]
"""An entry, whether a full Redis is to take it, and who waits for its number."""


class AuditLog:
    """Appends; one in each process, and harmless beside others."""

    def __init__(self, redis: Redis, storage: Path) -> None:
        self._redis = redis
        self._storage = storage
        self._append = redis.register_script(APPEND)
        self._take_up = redis.register_script(TAKE_UP)
        self._head = START
        self._waiting: list[Waiting] = []
        self._one_at_a_time = asyncio.Lock()

    async def take_up(self) -> None:
        """Go on where the files end, if Redis knows less: it is a new one, or an older one that was restored.

        Raises:
            InvalidData: the newest file can't be read.
            OSError: the storage doesn't answer.
            redis.RedisError: Redis doesn't answer.
        """
        last = await asyncio.to_thread(files.last, self._storage)
        if last is not None:
            await self._take_up(keys=[names.AUDIT_KEY], args=[*last])

    async def append(self, entry: Entry, *, though_full: bool = False) -> int:
        """Write the entry, and return its number.

        Args:
            entry: what to write; its number is given here.
            though_full: also where Redis has no memory left, for what makes room.

        Raises:
            redis.RedisError: Redis doesn't answer, or takes no writes. Whether it is written isn't known, unless Redis
                said no.
        """
        ours: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, though_full, ours))
        async with self._one_at_a_time:
            if not ours.done():
                batch, self._waiting = self._waiting, []
                await self._write(batch)
        return ours.result()

    async def _write(self, batch: Sequence[Waiting]) -> None:
        """Give everyone in the batch a number, or the reason why there is none."""
        try:
            links = await self._chain([entry for entry, _, _ in batch], though_full=any(full for _, full, _ in batch))
        except BaseException as error:
            why = error if isinstance(error, Exception) else DependencyDown("the audit log's writer was stopped")
            for _, _, waits in batch:
                waits.set_exception(why)
                waits.exception()  # whoever waited may be gone
            if why is not error:
                raise
            return
        for link, (_, _, waits) in zip(links, batch, strict=True):
            waits.set_result(link.number)

    async def _chain(self, entries: Sequence[Entry], *, though_full: bool) -> list[Link]:
        while True:
            links = seal(entries, self._head)
            arguments = [self._head.hash, "1" if though_full else "0", *(part for link in links for part in link)]
            newest: Any = await self._append(keys=[names.AUDIT_KEY], args=arguments)
            if newest is None:
                self._head = links[-1].head
                return links
            self._head = Head(int(str(newest[0]).partition("-")[0]), str(newest[1]))
