"""What the client says of teachers, and of the pool that serves them."""

from urllib.parse import quote

from distill.contracts.lineage import VersionLineage
from distill.contracts.pool import Reservation, ReservationSpec, TeamUsage
from distill.contracts.teachers import TeacherRecord, TeacherSpec, TeacherVersion, TeacherVersionSpec
from services.client.wire import Wire
from services.control_plane.views import ReservationList, TeacherList, TeamUsageList


class Teaching:
    """A part of `StillhouseClient`."""

    _wire: Wire

    # Teachers

    def create_teacher(self, spec: TeacherSpec) -> TeacherRecord:
        """Name a teacher.

        Raises:
            Conflict: the name is taken.
        """
        return self._wire.make(TeacherRecord, "/v1/teachers", body=spec.model_dump(mode="json"))

    def teachers(self) -> list[TeacherRecord]:
        """The team's teachers, and those that are shared."""
        return self._wire.ask(TeacherList, "GET", "/v1/teachers").items

    def teacher(self, name: str) -> TeacherRecord:
        """One teacher, with its versions and aliases."""
        return self._wire.ask(TeacherRecord, "GET", f"/v1/teachers/{quote(name, safe='')}")

    def publish(self, name: str, spec: TeacherVersionSpec, *, key: str | None = None) -> TeacherVersion:
        """Make the next version; it is CHECKING until a process has tried it."""
        path = f"/v1/teachers/{quote(name, safe='')}/versions"
        return self._wire.make(TeacherVersion, path, body=spec.model_dump(mode="json"), key=key)

    def teacher_version(self, name: str, version: int) -> TeacherVersion:
        """One version: its state, and its manifest once it is READY."""
        return self._wire.ask(TeacherVersion, "GET", f"/v1/teachers/{quote(name, safe='')}/versions/{version}")

    def version_lineage(self, name: str, version: int) -> VersionLineage:
        """What its members were made of, and whom it taught."""
        path = f"/v1/teachers/{quote(name, safe='')}/versions/{version}/lineage"
        return self._wire.ask(VersionLineage, "GET", path)

    def delete_version(self, name: str, version: int) -> None:
        """Take a version away.

        Raises:
            Conflict: an alias, a living job or a reservation uses it, or it is still being checked.
        """
        self._wire.send("DELETE", f"/v1/teachers/{quote(name, safe='')}/versions/{version}")

    def move_alias(self, name: str, alias: str, version: int, *, expected: int | None = None) -> TeacherRecord:
        """Let ``name@alias`` mean this version, if until now it means ``expected`` (0: nothing yet; None: whatever).

        Raises:
            Conflict: the version isn't READY, or the alias means another than ``expected``.
        """
        path = f"/v1/teachers/{quote(name, safe='')}/aliases/{quote(alias, safe='')}"
        return self._wire.ask(TeacherRecord, "PUT", path, body={"version": version, "expected": expected})

    # The pool

    def reserve(self, spec: ReservationSpec) -> Reservation:
        """Keep a teacher there until ``expires_at``, and learn where its HTTP door is; renew it every 10 s.

        Raises:
            UnknownTeacher: no such version, or it isn't READY.
            NoRoom: the cluster can never hold it.
        """
        return self._wire.make(Reservation, "/v1/reservations", body=spec.model_dump(mode="json"))

    def renew_reservation(self, reservation: str) -> Reservation:
        """Let it live on.

        Raises:
            NotFound: it has ended; make a new one.
        """
        return self._wire.ask(Reservation, "POST", f"/v1/reservations/{quote(reservation, safe='')}/renew")

    def end_reservation(self, reservation: str) -> None:
        """End it now. Raises NotFound."""
        self._wire.send("DELETE", f"/v1/reservations/{quote(reservation, safe='')}")

    def reservation(self, reservation: str) -> Reservation:
        """One that lives. Raises NotFound."""
        return self._wire.ask(Reservation, "GET", f"/v1/reservations/{quote(reservation, safe='')}")

    def reservations(self) -> list[Reservation]:
        """Those that live, the oldest first."""
        return self._wire.ask(ReservationList, "GET", "/v1/reservations").items

    def usage(self, *, month: str | None = None, team: str | None = None) -> TeamUsage:
        """What a team had in a month, such as ``2026-11``; left out: this month in UTC, and one's own team."""
        return self._wire.ask(TeamUsage, "GET", "/v1/usage", query={"month": month, "team": team})

    def usage_of_all(self, *, month: str | None = None) -> list[TeamUsage]:
        """The same of every team, by name; asked with an admin key."""
        return self._wire.ask(TeamUsageList, "GET", "/v1/usage/teams", query={"month": month}).items
