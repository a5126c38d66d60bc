"""Studies: made, read, and told what to do, as are their jobs."""

from fastapi import APIRouter

from distill.contracts.study import StudySpec
from services.control_plane.plans import Plan
from services.control_plane.views import StudyPage, StudyView
from tests.services.client.stub_house.knowledge import House, Wish, known
from tests.services.client.stub_house.records import a_job


def routes(house: House) -> APIRouter:
    """Over what ``house`` knows."""
    router = APIRouter()

    @router.post("/v1/studies/plan")
    def plan_study(spec: StudySpec) -> Plan:
        house.planned.append(spec)
        return house.plan

    @router.post("/v1/studies", status_code=202)
    def submit_study(spec: StudySpec) -> StudyView:
        house.add_study(
            f"{spec.name}-s1",
            *(a_job(f"{key}-j1", role=key, spec=spec.spec_of(c, study="s")) for key, c in spec.children().items()),
        )
        return house.view(f"{spec.name}-s1")

    @router.get("/v1/studies")
    def list_studies() -> StudyPage:
        return StudyPage(items=[house.view(study) for study in house.studies])

    @router.get("/v1/studies/{study}")
    def read_study(study: str) -> StudyView:
        known(house.studies, study)
        return house.view(study)

    @router.post("/v1/studies/{study}/{wish}", status_code=202)
    def cancel_pause_or_resume(study: str, wish: Wish) -> StudyView:
        for job in known(house.studies, study).jobs.values():
            house.obey(job, wish)
        return house.view(study)

    @router.delete("/v1/studies/{study}", status_code=204)
    def delete_study(study: str) -> None:
        del house.studies[known(house.studies, study).id]

    return router
