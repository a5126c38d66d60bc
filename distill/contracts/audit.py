"""What the audit log holds: who wanted which change, what it was answered, and what the service did by itself.

Never a body, a key's secret or an ``Idempotency-Key``: only their digests. An entry is stored as canonical JSON (keys in
order, no spaces, ASCII); its hash is the SHA-256 of the hash of the entry before it, the first one's being empty, followed
by that JSON.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from distill.contracts.base import Digest, Stored, Timestamp


class Entry(Stored):
    """What every entry has."""

    number: int = 0
    """From 1, without a gap; the log gives it."""
    at: Timestamp
    """By the clock of the control plane that wrote it."""


class OfRequest(Entry):
    """An entry about a request."""

    team: str
    """In whose name."""
    key: str
    """Id of the API key that was shown."""
    method: str
    path: str
    """As it was asked, without what could be a key's secret, and at most 500 characters of it."""
    query: str | None = None
    """In the same way."""
    request: str
    """The answer's ``X-Request-Id``."""


class ChangeAsked(OfRequest):
    """A request that may change something is about to be carried out."""

    kind: Literal["asked"] = "asked"
    route: str
    """Such as ``/v1/jobs/{job}/cancel``."""
    body: Digest | None = None
    """Of the body, where there is one."""
    once: Digest | None = None
    """Of the ``Idempotency-Key``, where there is one."""


class ChangeAnswered(OfRequest):
    """What a request that may have changed something is answered."""

    kind: Literal["answered"] = "answered"
    asked: int | None = None
    """Number of the entry before it was carried out; none of a request that was refused before it came so far."""
    status: int
    made: str | None = None
    """The ``Location`` of what was made."""
    left_out: int = 0
    """So many of the team's refused requests before this one have no entry: there were too many."""


class ServiceDid(Entry):
    """Something is about to be done that no request asked for: by the operator beside REST, or by the service itself."""

    kind: Literal["did"] = "did"
    what: str
    details: dict[str, str | int]


AuditEntry = Annotated[ChangeAsked | ChangeAnswered | ServiceDid, Field(discriminator="kind")]
AUDIT_ENTRY: TypeAdapter[AuditEntry] = TypeAdapter(AuditEntry)
