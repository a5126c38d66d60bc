"""API keys as the control plane keeps them: made, listed, rotated, revoked. Secrets are shown once, and never stored."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from redis.asyncio import Redis
from redis.exceptions import WatchError

from distill.contracts import names
from distill.contracts.base import now
from distill.contracts.errors import Conflict, InvalidSpec, NotFound
from distill.contracts.keys import (
    KeyHash,
    KeyRecord,
    KeyRotation,
    KeySpec,
    NewKey,
    SecretHash,
    digest_of_key,
    new_key,
    new_key_id,
)


class Keys:
    """The only writer of keys. Each change is one of Redis's transactions, tried again where another came between."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def enter_first(self, first: KeyHash, *, team: str) -> None:
        """Let the operator's first key in, unless it is known: one that was rotated or revoked stays so."""
        moment = now()
        record = KeyRecord(
            id=first.id, team=team, name="operator", scopes=("admin",), created_at=moment,
            secrets=(SecretHash(digest=first.digest),),
        )  # fmt: skip
        await self._enter(record)

    async def knows(self, identity: str) -> bool:
        """Whether there is, or was, a key of this id."""
        return bool(await self._redis.exists(names.key_key(identity)))

    async def create(self, spec: KeySpec, *, team: str) -> NewKey:
        """Make a key for the team.

        Raises:
            InvalidSpec: it would have expired already.
        """
        moment = now()
        if spec.expires_at is not None and spec.expires_at <= moment:
            raise InvalidSpec(
                "expires_at: it lies in the past", field="expires_at", got=str(spec.expires_at), expected="a later time"
            )
        identity = new_key_id()
        key = new_key(identity)
        record = KeyRecord(
            id=identity, team=team, name=spec.name, scopes=tuple(sorted(set(spec.scopes))), created_at=moment,
            expires_at=spec.expires_at, secrets=(SecretHash(digest=digest_of_key(key)),),
        )  # fmt: skip
        if not await self._enter(record):
            raise Conflict("a key of this id exists already, and nothing was stored; try again")
        return NewKey(key=key, record=record.view())

    async def all(self) -> list[KeyRecord]:
        """Every key, the oldest first; those that were revoked too."""
        identities = await self._redis.zrange(names.KEYS_KEY, 0, -1)
        found = await self._redis.mget([names.key_key(str(one)) for one in identities]) if identities else []
        return [KeyRecord.model_validate_json(text) for text in found if text is not None]

    async def rotate(self, identity: str, rotation: KeyRotation) -> NewKey:
        """Give the key a new secret; the old one holds on for as long as ``rotation`` says.

        Raises:
            NotFound: there is no such key.
            Conflict: it was revoked, or has expired.
        """
        key = new_key(identity)
        record = await self._change(identity, lambda old, _: rotated(old, digest_of_key(key), rotation, now()))
        return NewKey(key=key, record=record.view())

    async def revoke(self, identity: str) -> KeyRecord:
        """End the key: every process refuses it within a second. Harmless if done again.

        Raises:
            NotFound: there is no such key.
            Conflict: no admin key would be left.
        """
        return await self._change(identity, lambda old, others: revoked(old, others, now()))

    async def _enter(self, record: KeyRecord) -> bool:
        async with self._redis.pipeline(transaction=True) as together:
            together.set(names.key_key(record.id), record.model_dump_json(), nx=True)
            together.zadd(names.KEYS_KEY, {record.id: record.created_at.timestamp()}, nx=True)
            is_new, _ = await together.execute()
        return bool(is_new)

    async def _change(self, identity: str, change: Callable[[KeyRecord, Sequence[KeyRecord]], KeyRecord]) -> KeyRecord:
        """Put what ``change`` makes of the key and of all others in its place."""
        while True:
            async with self._redis.pipeline() as pipe:
                # all of them: of two admins who revoke each other's key at once, the second must see the first's end
                everyone = {one.id: one for one in await self.all()}
                await pipe.watch(*(names.key_key(one) for one in everyone | {identity: None}))
                everyone = {one.id: one for one in await self.all()}
                if identity not in everyone:
                    raise NotFound(f"there is no key named {identity!r}", got=identity)
                changed = change(everyone.pop(identity), list(everyone.values()))
                pipe.multi()  # type: ignore[no-untyped-call]
                pipe.set(names.key_key(identity), changed.model_dump_json())
                try:
                    await pipe.execute()
                except WatchError:
                    continue
                return changed


def rotated(record: KeyRecord, digest: str, rotation: KeyRotation, moment: datetime) -> KeyRecord:
    """The key with a new secret. Raises Conflict."""
    if not record.lives(moment):
        raise Conflict(f"the key {record.id} was revoked, or has expired; make a new one", got=record.id)
    end = moment + timedelta(seconds=rotation.overlap_s)
    ends = {one.digest: min(end, one.until or end) for one in record.secrets}
    kept = [SecretHash(digest=old, until=until) for old, until in ends.items() if until > moment]
    return record.model_copy(update={"secrets": (SecretHash(digest=digest), *kept)})


def revoked(record: KeyRecord, others: Sequence[KeyRecord], moment: datetime) -> KeyRecord:
    """The key, ended. Raises Conflict where it is the last by which keys could be made."""
    if record.revoked_at is not None:
        return record
    left = [one for one in others if one.may("admin") and one.lives(moment) and one.expires_at is None]
    if record.may("admin") and not left:
        raise Conflict(
            f"{record.id} is the last admin key that never expires: nobody could make keys any more",
            got=record.id,
            hint="make another admin key first, or rotate this one",
        )
    return record.model_copy(update={"revoked_at": moment})
