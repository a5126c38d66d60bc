"""Teachers, and reservations of them."""

from fastapi import APIRouter

from distill.contracts.errors import Conflict
from distill.contracts.lineage import VersionLineage
from distill.contracts.pool import Reservation, ReservationSpec
from distill.contracts.teachers import (
    TeacherRecord,
    TeacherSpec,
    TeacherVersion,
    TeacherVersionSpec,
    TeacherVersionState,
)
from services.control_plane.views import AliasTarget, ReservationList, TeacherList
from tests.services.client.stub_house.knowledge import House, known
from tests.services.client.stub_house.records import NOON
from tests.services.control_plane.records import a_reservation


def routes(house: House) -> APIRouter:
    """Over what ``house`` knows."""
    router = APIRouter()

    @router.post("/v1/teachers", status_code=201)
    def create(spec: TeacherSpec) -> TeacherRecord:
        if spec.name in house.teachers:
            raise Conflict(f"the name {spec.name} is taken", field="name", got=spec.name)
        house.teachers[spec.name] = TeacherRecord(name=spec.name, created_at=NOON, updated_at=NOON)
        return house.teachers[spec.name]

    @router.get("/v1/teachers")
    def list_teachers() -> TeacherList:
        return TeacherList(items=list(house.teachers.values()))

    @router.get("/v1/teachers/{name}")
    def read_teacher(name: str) -> TeacherRecord:
        return known(house.teachers, name)

    @router.post("/v1/teachers/{name}/versions", status_code=202)
    def publish(name: str, spec: TeacherVersionSpec) -> TeacherVersion:
        teacher = known(house.teachers, name)
        house.published.append(spec)
        version = TeacherVersion(version=1, members=(), resources=spec.resources, alias=spec.alias, created_at=NOON)
        house.teachers[name] = teacher.model_copy(update={"versions": (version,)})
        return version

    @router.get("/v1/teachers/{name}/versions/{number}")
    def read_version(name: str, number: int) -> TeacherVersion:
        version = known(house.teachers, name).versions[0]
        is_checked = version.state is TeacherVersionState.CHECKING
        return version.model_copy(update={"state": TeacherVersionState.READY}) if is_checked else version

    @router.get("/v1/teachers/{name}/versions/{number}/lineage")
    def lineage(name: str, number: int) -> VersionLineage:
        return known(house.lineages, f"{name}@{number}")

    @router.delete("/v1/teachers/{name}/versions/{number}", status_code=204)
    def delete_version(name: str, number: int) -> None:
        teacher = known(house.teachers, name)
        gone = teacher.versions[number - 1].model_copy(update={"state": TeacherVersionState.DELETED})
        house.teachers[name] = teacher.model_copy(update={"versions": (gone,)})

    @router.put("/v1/teachers/{name}/aliases/{alias}")
    def move_alias(name: str, alias: str, target: AliasTarget) -> TeacherRecord:
        house.moved.append(target)
        return known(house.teachers, name)

    @router.post("/v1/reservations", status_code=201)
    def reserve(spec: ReservationSpec) -> Reservation:
        made = a_reservation(f"wise-{len(house.reservations) + 1}", rows_per_s=spec.rows_per_s)
        house.reservations[made.id] = made
        return made

    @router.get("/v1/reservations")
    def list_reservations() -> ReservationList:
        return ReservationList(items=list(house.reservations.values()))

    @router.get("/v1/reservations/{reservation}")
    @router.post("/v1/reservations/{reservation}/renew")
    def read_or_renew(reservation: str) -> Reservation:
        return known(house.reservations, reservation)

    @router.delete("/v1/reservations/{reservation}", status_code=204)
    def end_reservation(reservation: str) -> None:
        del house.reservations[known(house.reservations, reservation).id]

    return router
