"""Whom to tell when a job or a study has ended, and how that went."""

from typing import Annotated, Literal

from pydantic import StringConstraints

from distill.contracts.base import InWords, Spec, Stored, Timestamp

WebhookUrl = Annotated[
    str,
    StringConstraints(
        pattern=r"^https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:[/?][!-~]*)?$", max_length=2048
    ),
    InWords("expected an address such as https://ci.example.com/hooks/stillhouse, without a user, password or spaces"),
]


class NotifySpec(Spec):
    """A webhook: a signed POST when it has ended, tried again for hours."""

    url: WebhookUrl
    """Its host must be on the operator's list (``STILLHOUSE_WEBHOOK_HOSTS``)."""


class Delivery(Stored):
    """How telling someone goes, or went."""

    id: str
    """The same at each try: who is told twice can drop the second."""
    state: Literal["waiting", "delivered", "given_up"]
    host: str
    tries: int
    problem: str | None = None
    """Why the last try failed."""
    last_try_at: Timestamp
    next_try_at: Timestamp | None = None
