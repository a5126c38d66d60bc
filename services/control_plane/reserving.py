"""Whether a team may reserve a teacher: its quotas count for reservations as for jobs, and no one may take all room."""

from collections.abc import Sequence

from distill.contracts.errors import Conflict, StillhouseError
from distill.contracts.errors import OverQuota as OverQuotaError
from distill.contracts.pool import Reservation
from distill.contracts.teachers import TeacherRecord
from services.control_plane.queue import as_reserved, fewest_sizes
from services.control_plane.scheduling.jobs import Ledger
from services.control_plane.scheduling.policy import why_not_reserve
from services.control_plane.scheduling.words import RESOURCES, MonthIsOver, NeverFits, OverQuota, Why
from services.control_plane.teams import Teams

MOST_OF_TEAM = 64
"""Reservations of one team that may live at a time."""


def check_may_reserve(wanted: Reservation, ledger: Ledger, teachers: Sequence[TeacherRecord]) -> None:
    """See that it may begin.

    Raises:
        OverQuota: the team has what it may have of rows a second, of rows a month, or of reservations.
        Conflict: its replicas don't fit beside those that are reserved already.
    """
    num_own = sum(one.team == wanted.team and one.is_reservation for one in ledger.running)
    if num_own >= MOST_OF_TEAM:
        raise OverQuotaError(
            f"team {wanted.team} has {num_own} reservations that live, and may have no more at a time",
            got=str(num_own + 1),
            expected=f"at most {MOST_OF_TEAM}",
            hint="end some (DELETE /v1/reservations/ID), or share one among your loops",
        )
    why = why_not_reserve(as_reserved(wanted, fewest_sizes(teachers)), ledger)
    if why is not None:
        raise _refusal(wanted, why)


async def check_may_renew(team: str, teams: Teams) -> None:
    """See that the team may go on asking teachers. Raises OverQuota: its rows of this month are used up."""
    monthly = (await teams.read(team)).granted.max_teacher_rows_per_month
    if monthly is not None and (used := await teams.rows_this_month(team)) >= monthly:
        raise _month_is_over(team, used, monthly)


def _refusal(wanted: Reservation, why: Why) -> StillhouseError:
    match why:
        case MonthIsOver(used, granted):
            return _month_is_over(wanted.team, used, granted)
        case OverQuota(used=used, granted=granted):
            return OverQuotaError(
                f"rows_per_s: team {wanted.team} may have {granted:,.10g} teacher rows/s at a time, and its jobs and "
                f"reservations have {used:,.10g} of them",
                field="rows_per_s",
                got=f"{wanted.rows_per_s:,.10g}",
                expected=f"at most {max(0.0, granted - used):,.10g}",
                hint="reserve less, or ask the operator for more",
            )
        case NeverFits(what, needed, most):
            return Conflict(
                f"teacher: its replicas take {needed:g} {RESOURCES[what]}, and beside what is reserved already the whole "
                f"cluster has {max(most, 0.0):g}",
                field="teacher",
                hint="try again once other reservations have ended",
            )
        case _:
            return OverQuotaError(f"team {wanted.team} may reserve nothing now: a job that has waited long comes first")


def _month_is_over(team: str, used: int, granted: int) -> OverQuotaError:
    return OverQuotaError(
        f"team {team} has used up its {granted:,} teacher rows of this month ({used:,})",
        got=f"{used:,}",
        expected=f"less than {granted:,}",
        hint="next month, or ask the operator for more",
    )
