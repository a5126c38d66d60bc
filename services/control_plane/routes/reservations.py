"""``/v1/reservations``: keep a teacher there for a training loop of one's own, and learn where to ask it."""

from typing import Annotated

from fastapi import APIRouter, Body, Response

from distill.contracts.pool import Reservation, ReservationSpec
from services.control_plane import examples
from services.control_plane.access import guarded_by
from services.control_plane.context import AskedOnce, Parts, Who
from services.control_plane.once import Kept
from services.control_plane.problems import documented
from services.control_plane.reserving import check_may_renew, check_may_reserve
from services.control_plane.teams import Teams
from services.control_plane.views import ReservationList

router = APIRouter(
    prefix="/v1/reservations", tags=["reservations"], dependencies=guarded_by(reads="read", changes="submit")
)


@router.post("", status_code=201, response_model=Reservation, responses=documented(409, 413))
async def reserve(
    spec: Annotated[ReservationSpec, Body(openapi_examples=examples.RESERVATIONS)],
    parts: Parts,
    who: Who,
    asked: AskedOnce,
) -> Response:
    """Begin a reservation. It ends at `expires_at` (30 s from now) unless it is renewed: do so every 10 s.

    The teacher is started if it isn't there. Until it answers, the door says 503 and why; ask again.
    """

    async def make(ticket: Kept) -> Kept:
        teacher = await (await parts.submission(who)).reserved(spec)
        reservation = parts.reservations.new(teacher, team=who.team, rows_per_s=spec.rows_per_s)
        answer = ticket.answered(201, reservation, location=f"/v1/reservations/{reservation.id}")
        async with parts.reservations.one_at_a_time:
            check_may_reserve(reservation, await parts.reconciler.ledger(), await parts.store.teachers())
            await parts.reservations.keep(reservation, answer=answer)
        parts.reconciler.wake()
        return answer

    return await parts.once.answer(asked, who.team, make)


@router.get("", responses=documented())
async def list_reservations(parts: Parts, who: Who) -> ReservationList:
    """The team's that live, the oldest first."""
    return ReservationList(items=[one for one in await parts.reservations.living() if one.team == who.team])


@router.get("/{reservation}", responses=documented(404))
async def read(reservation: str, parts: Parts) -> Reservation:
    """One that lives."""
    return await parts.reservations.read(reservation)


@router.post("/{reservation}/renew", responses=documented(404, 409))
async def renew(reservation: str, parts: Parts) -> Reservation:
    """Let it live for another 30 s from now; one that has ended can't be renewed: make a new one.

    Once the team's teacher rows of this month are used up, it isn't renewed any more.
    """
    found = await parts.reservations.read(reservation)
    await check_may_renew(found.team, Teams(parts.redis))
    return await parts.reservations.renew(reservation)


@router.delete("/{reservation}", status_code=204, responses=documented(404))
async def end(reservation: str, parts: Parts) -> None:
    """End it: its teacher leaves after its idle time, if nobody else needs it."""
    await parts.reservations.end(reservation)
    parts.reconciler.wake()
