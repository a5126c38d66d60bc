"""Signatures after Standard Webhooks: HMAC-SHA256 over id, time and body, with a secret of the team's own.

The secrets of all teams follow from the operator's, so that no team can sign what another one trusts.
"""

import base64
import hashlib
import hmac
from datetime import datetime
from pathlib import Path

from distill.contracts.errors import InvalidSpec

PREFIX = "whsec_"
MIN_BYTES = 32


def read_secret(path: Path) -> bytes:
    """The operator's secret.

    Raises:
        InvalidSpec: it can't be read, or is too short to be one.
    """
    field = "STILLHOUSE_WEBHOOK_SECRET_PATH"
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise InvalidSpec(f"{field}: {path} can't be read: {error.strerror}", field=field, got=str(path)) from error
    if len(secret) < MIN_BYTES:
        raise InvalidSpec(
            f"{field}: what stands in {path} is shorter than {MIN_BYTES} bytes",
            field=field,
            expected="a random text, such as `openssl rand -base64 32` makes",
        )
    return secret


def secret_of_team(secret: bytes, team: str) -> str:
    """What the team verifies with, as libraries for Standard Webhooks take it."""
    return PREFIX + base64.b64encode(_key(secret, team)).decode()


def signed(secret: bytes, team: str, *, identity: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers that a receiver verifies ``body`` by."""
    timestamp = str(int(at.timestamp()))
    found = hmac.digest(_key(secret, team), f"{identity}.{timestamp}.".encode() + body, hashlib.sha256)
    return {
        "webhook-id": identity,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{base64.b64encode(found).decode()}",
    }


def _key(secret: bytes, team: str) -> bytes:
    return hmac.digest(secret, f"stillhouse webhooks of team {team}".encode(), hashlib.sha256)
