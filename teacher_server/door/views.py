"""What the door shows of a reservation."""

from distill.contracts.base import Digest, Stored, Timestamp
from distill.contracts.models import InputSpec
from distill.contracts.pool import Reservation


class ReservedTeacher(Stored):
    """Whom a reservation lets one ask, and what is to be sent."""

    id: str
    """Of the reservation."""
    expires_at: Timestamp
    teacher: str
    """``name@version``."""
    digest: Digest
    members: int
    """How many."""
    classes: tuple[str, ...]
    input: InputSpec
    ready: bool
    """Whether a replica answers."""

    @classmethod
    def of(cls, reservation: Reservation, *, ready: bool) -> "ReservedTeacher":
        """As the reservation says."""
        manifest = reservation.teacher.manifest
        return cls(
            id=reservation.id,
            expires_at=reservation.expires_at,
            teacher=reservation.teacher.reference,
            digest=reservation.teacher.digest,
            members=len(manifest.members),
            classes=manifest.classes,
            input=manifest.input,
            ready=ready,
        )
