"""An attempt's last word, as data."""

from distill.contracts.base import Stored
from distill.contracts.errors import Problem
from distill.contracts.records import Outcome


class Ending(Stored):
    """How an attempt ended."""

    outcome: Outcome | None
    """None where nothing may be said: a newer attempt has taken over."""
    problem: Problem | None = None
    result: str | None = None
    """Path of ``result.json``, below the storage root."""


SUPERSEDED = Ending(outcome=None)
