"""Why a job waits: as data, and in words for a person."""

from dataclasses import dataclass

from distill.contracts.records import Reason

WAITING_FOR_QUOTA = "waiting_for_quota"


@dataclass(frozen=True)
class RayIsSilent:
    """What the cluster has isn't known: nothing starts."""


@dataclass(frozen=True)
class BacksOff:
    """It tries again later, as its record says."""


@dataclass(frozen=True)
class Lacks:
    """There is too little of something now."""

    what: str
    """``cpus`` or ``gpus``."""
    needed: float
    free: float


@dataclass(frozen=True)
class IsKept:
    """There is room, and jobs that have waited long are to have it."""


@dataclass(frozen=True)
class NeverFits:
    """The whole cluster has too little of something, or what is left of it beside reserved teachers."""

    what: str
    needed: float
    most: float


@dataclass(frozen=True)
class OverQuota:
    """The team has what it may have of something."""

    what: str
    """A key of `QUOTAS`."""
    needed: float
    used: float
    granted: float


@dataclass(frozen=True)
class QuotaIsKept:
    """A job of the same team that has waited long is to have what is left of a quota."""


@dataclass(frozen=True)
class MonthIsOver:
    """The team's teacher rows of this month are used up."""

    used: int
    granted: int


Why = RayIsSilent | BacksOff | Lacks | IsKept | NeverFits | OverQuota | QuotaIsKept | MonthIsOver

RESOURCES = {"gpus": "GPUs", "cpus": "CPUs"}
QUOTAS = {
    "jobs": ("job at a time", "jobs at a time"),
    "workers": ("worker", "workers"),
    "gpus": ("GPU", "GPUs"),
    "rows_per_s": ("teacher row/s", "teacher rows/s"),
}
"""What is granted by the number, and what people call one and several of it."""


def in_words(why: Why, *, position: int | None, num_waiting: int) -> Reason | None:
    """Such as ``2nd of 5 in the queue; waiting for 2 CPUs (1.5 free)``; None of a job that backs off."""
    if isinstance(why, BacksOff):
        return None
    code, text = _said(why)
    place = f"{ordinal(position)} of {num_waiting:,} in the queue; " if position and num_waiting > 1 else ""
    return Reason(code=code, text=place + text)


def ordinal(number: int) -> str:
    """Such as ``1st``, ``2nd``, ``11th``."""
    ending = "th" if number % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def _said(why: Why) -> tuple[str, str]:
    match why:
        case Lacks(what, needed, free):
            return "waiting_for_resources", f"waiting for {needed:g} {RESOURCES[what]} ({max(free, 0):g} free)"
        case NeverFits(what, needed, most):
            text = f"needs {needed:g} {RESOURCES[what]}, and the cluster has {max(most, 0):g} for it at most"
            return "waiting_for_resources", text
        case IsKept():
            return "waiting_for_turn", "waiting for its turn: what is free is kept for jobs that have waited long"
        case OverQuota(what, needed, used, granted) if needed > granted:
            said = f"{_number(granted)} {QUOTAS[what][granted != 1]}, and it needs {_number(needed)}"
            return WAITING_FOR_QUOTA, f"its team's quota is {said}: ask for less, or the operator for more"
        case OverQuota(what, needed, used, granted):
            said = (
                f"{_number(granted)} {QUOTAS[what][granted != 1]} ({_number(used)} in use, it needs {_number(needed)})"
            )
            return WAITING_FOR_QUOTA, f"waiting for its team's quota of {said}"
        case QuotaIsKept():
            text = "waiting for its turn: what is left of its team's quota is kept for a job that has waited long"
            return WAITING_FOR_QUOTA, text
        case MonthIsOver(used, granted):
            said = f"{granted:,} teacher rows a month ({used:,} used)"
            return WAITING_FOR_QUOTA, f"waiting for its team's quota of {said}: next month, or ask the operator"
        case _:
            return "waiting_for_cluster", "waiting for Ray to answer"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"
