"""API keys: what one looks like, what it may, and what is kept of it.

A key is ``sth_<id>_<secret><checksum>``: a readable prefix, the public id of its record (10 characters), 160 random bits
(40 hexadecimal digits), and the CRC-32 of all before it (8 digits), so that a typo is refused without asking anybody.

Of the secret only the SHA-256 is kept. A slow, salted hash protects what people choose, which can be guessed; 160 random
bits can't be, however fast the hash is, and every request has to be checked.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from datetime import datetime
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, StringConstraints

from distill.contracts.base import Digest, Name, Spec, Stored, Timestamp
from distill.contracts.errors import Forbidden, NotAuthenticated, StillhouseError

Scope = Literal["read", "submit", "publish", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "submit", "publish", "admin")

PREFIX = "sth"
ID_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
ID_LENGTH = 10
SECRET_BYTES = 20
CHECKSUM_LENGTH = 8
CHALLENGE = 'Bearer realm="stillhouse"'
SECRETS = re.compile(rf"({PREFIX}_[a-z0-9]+_)[0-9a-f]+", re.IGNORECASE)
"""What could be a key's, a mistyped one's too."""
FORM = re.compile(rf"{PREFIX}_([{ID_ALPHABET}]{{{ID_LENGTH}}})_[0-9a-f]{{{2 * SECRET_BYTES + CHECKSUM_LENGTH}}}")

KeyId = Annotated[str, StringConstraints(pattern=rf"^[{ID_ALPHABET}]{{{ID_LENGTH}}}$")]


class SecretHash(Stored):
    """One of the secrets of a key, as far as it is kept."""

    digest: Digest
    """Of the whole key."""
    until: Timestamp | None = None
    """When it ends, because a newer one has taken its place."""


class KeyView(Stored):
    """A key, without anything by which it could be used."""

    id: KeyId
    team: Name
    name: Name
    scopes: tuple[Scope, ...]
    """``admin`` includes the others."""
    created_at: Timestamp
    expires_at: Timestamp | None = None
    """None: never."""
    revoked_at: Timestamp | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the key allows what needs this scope."""
        return scope in self.scopes or "admin" in self.scopes

    def lives(self, moment: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or moment < self.expires_at)


class KeyRecord(KeyView):
    """Everything that is kept of a key."""

    secrets: tuple[SecretHash, ...]
    """The newest first; an older one until its time is over."""

    def view(self) -> KeyView:
        """What may be shown."""
        return KeyView.model_validate(self.model_dump())

    def check(self, key: str, moment: datetime) -> None:
        """See that ``key`` is this one, and holds.

        Raises:
            NotAuthenticated: it is another, or an old one, or expired or revoked.
        """
        digest = digest_of_key(key)
        found = [one for one in self.secrets if hmac.compare_digest(one.digest, digest)]
        if not found:
            raise unknown_key()
        if self.revoked_at is not None:
            raise NotAuthenticated(f"the API key {self.id} was revoked at {self.revoked_at}", got="a revoked key")
        ends = [end for end in (self.expires_at, found[0].until) if end is not None and end <= moment]
        if ends:
            raise NotAuthenticated(
                f"the API key {self.id} expired at {min(ends)}",
                got="an expired key",
                hint="an admin makes another, or rotates it: `stillhouse keys create`, `stillhouse keys rotate`",
            )


class KeySpec(Spec):
    """What an admin posts to make a key."""

    name: Name = Field(examples=["nightly-runs"])
    """Whose it is, or what for."""
    team: Name | None = Field(default=None, examples=["vision"])
    """Left out: the admin's own."""
    scopes: tuple[Scope, ...] = Field(default=("read", "submit"), min_length=1, max_length=len(SCOPES))
    expires_at: Timestamp | None = None
    """Left out: never."""


class KeyRotation(Spec):
    """How a key gets a new secret."""

    overlap_s: float = Field(default=86_400, ge=0, le=30 * 86_400)
    """So long the old one holds on, for those who still have it."""


class NewKey(Stored):
    """A key that was just made, or got a new secret."""

    key: str
    """Shown this once, and kept nowhere."""
    record: KeyView


class KeyHash(NamedTuple):
    """The operator's first key, as the control plane is told of it: ``<id>:sha256:<digits>``."""

    id: str
    digest: str

    def __str__(self) -> str:
        return f"{self.id}:{self.digest}"


def new_key_id() -> str:
    """A new one, which says nothing."""
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(ID_LENGTH))


def new_key(identity: str) -> str:
    """A new secret for the key with this id, as its holder gets it."""
    stem = f"{PREFIX}_{identity}_{secrets.token_hex(SECRET_BYTES)}"
    return stem + _checksum(stem)


def id_of_key(key: str) -> str:
    """The id that a key names.

    Raises:
        NotAuthenticated: it is no key, or mistyped.
    """
    form = FORM.fullmatch(key)
    if form is None or _checksum(key[:-CHECKSUM_LENGTH]) != key[-CHECKSUM_LENGTH:]:
        raise NotAuthenticated(
            "this is no API key: its checksum doesn't fit; a character may be missing or mistyped",
            expected=f"{PREFIX}_, an id, and {2 * SECRET_BYTES + CHECKSUM_LENGTH} hexadecimal digits",
            got="a mistyped key",
        )
    return form[1]


def unknown_key() -> NotAuthenticated:
    """The error for a key that was never made here, or not with this secret."""
    return NotAuthenticated(
        "this API key is not known here",
        got="an unknown key",
        hint="is this the server that the key was made for? `stillhouse keys list`, asked by an admin, shows those it knows",
    )


def without_secrets(text: str) -> str:
    """The text with the secret of every key in it left out: the ids stay."""
    return SECRETS.sub(r"\1...", text)


def digest_of_key(key: str) -> str:
    """What is kept of it."""
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def hash_of_key(key: str) -> KeyHash:
    """What a control plane may be told of it. Raises as `id_of_key`."""
    return KeyHash(id_of_key(key), digest_of_key(key))


def key_of_header(authorization: str | None) -> str:
    """The key in an ``Authorization`` header.

    Raises:
        NotAuthenticated: there is none, or of another kind.
    """
    kind, _, key = (authorization or "").strip().partition(" ")
    if kind.lower() == "bearer" and key.strip():
        return key.strip()
    raise NotAuthenticated(
        "there is no API key with this request",
        field="Authorization",
        expected="the header 'Authorization: Bearer sth_...'",
        hint="`stillhouse` and the Python client take it from STILLHOUSE_KEY or STILLHOUSE_KEY_FILE, and find that of their "
        "own STILLHOUSE_HOME's stack by themselves: is this another one's server?",
    )


def challenge_of(error: StillhouseError) -> str | None:
    """The ``WWW-Authenticate`` that goes with an error about keys, as RFC 6750 has it; None with any other."""
    match error:
        case NotAuthenticated():
            return CHALLENGE + (', error="invalid_token"' if error.details.get("got") else "")
        case Forbidden():
            return f'{CHALLENGE}, error="insufficient_scope"'
    return None


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"
