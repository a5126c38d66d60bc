"""The lease of the one control plane that acts on Ray: held for a few seconds, asked again before each effect."""

import uuid

from redis.asyncio import Redis

from distill.contracts import names
from distill.contracts.facts import Fact

LEASE_S = 5.0

HOLD = """
-- Take the lease if it is free, or prolong it if it is ours. Returns whether it is ours now.
-- KEYS: lease; ARGV: our token, milliseconds
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

SAY = """
-- Put a fact into an inbox while the lease is ours. Returns whether it is.
-- KEYS: lease, inbox; ARGV: our token, the fact as JSON
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('XADD', KEYS[2], '*', 'fact', ARGV[2])
return 1
"""

RELEASE = """
-- Give the lease back, unless it is somebody else's by now.
-- KEYS: lease; ARGV: our token
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class LeaseLost(Exception):
    """Another control plane acts now: this one does nothing more that reaches outside."""


class Lease:
    """Of several control planes one acts. Each step asks and prolongs at once, so nobody prolongs another's."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._token = uuid.uuid4().hex
        self._hold = redis.register_script(HOLD)
        self._say = redis.register_script(SAY)
        self._release = redis.register_script(RELEASE)

    async def hold(self) -> bool:
        """Take it or prolong it; False where another control plane has it."""
        return bool(await self._hold(keys=[names.RECONCILER_KEY], args=[self._token, int(LEASE_S * 1000)]))

    async def is_ours(self) -> bool:
        """Whether it is ours now; not prolonged: work beside the rounds doesn't keep the lease of rounds that hang."""
        return str(await self._redis.get(names.RECONCILER_KEY)) == self._token

    async def must_hold(self) -> None:
        """See that it is still ours, right before something is asked of Ray.

        Between the answer and the effect this process may be stopped for any time: so what it asks names its
        attempt, and doing it twice, or late, is harmless.

        Raises:
            LeaseLost: another control plane has it.
        """
        if not await self.hold():
            raise LeaseLost("another control plane acts now")

    async def say(self, kind: names.Kind, identity: str, fact: Fact) -> None:
        """Put a fact into an inbox that only the one who acts may say, however long this process was stopped before.

        Raises:
            LeaseLost: another control plane has it.
        """
        keys = [names.RECONCILER_KEY, names.inbox_key(kind, identity)]
        if not await self._say(keys=keys, args=[self._token, fact.model_dump_json()]):
            raise LeaseLost("another control plane acts now")

    async def give_up(self) -> None:
        """Let another control plane act at once."""
        await self._release(keys=[names.RECONCILER_KEY], args=[self._token])
