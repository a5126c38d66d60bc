"""Jobs: made, read, and told what to do."""

from fastapi import APIRouter

from distill.contracts.job import JobSpec
from distill.contracts.lineage import JobLineage
from distill.contracts.records import JobRecord
from services.control_plane.plans import Plan
from services.control_plane.views import JobPage, JobPriority
from tests.services.client.stub_house.knowledge import House, known
from tests.services.client.stub_house.records import a_job


def routes(house: House) -> APIRouter:
    """Over what ``house`` knows."""
    router = APIRouter()

    @router.post("/v1/jobs", status_code=202)
    def submit_job(spec: JobSpec) -> JobRecord:
        house.refuse("/v1/jobs")
        return house.add(a_job(f"{spec.name}-abc123", spec=spec))

    @router.get("/v1/jobs")
    def list_jobs(state: str | None = None, cursor: int = 0) -> JobPage:
        kept = [job for job in house.jobs.values() if state in {None, job.state.value}]
        following = str(cursor + 2) if len(kept) > cursor + 2 else None
        return JobPage(items=kept[cursor : cursor + 2], next=following)

    @router.post("/v1/jobs/plan")
    def plan_job(spec: JobSpec) -> Plan:
        house.refuse("/v1/jobs/plan")
        house.planned.append(spec)
        return house.plan

    @router.get("/v1/jobs/{job}/lineage")
    def lineage(job: str) -> JobLineage:
        return known(house.lineages, job)

    @router.get("/v1/jobs/{job}")
    def read_job(job: str) -> JobRecord:
        return known(house.jobs, job)

    @router.delete("/v1/jobs/{job}", status_code=204)
    def delete_job(job: str) -> None:
        house.refuse(f"/v1/jobs/{job}")
        del house.jobs[known(house.jobs, job).id]

    @router.post("/v1/jobs/{job}/priority", status_code=202)
    def set_priority(job: str, wanted: JobPriority) -> JobRecord:
        return house.add(known(house.jobs, job).model_copy(update={"priority": wanted.priority}))

    @router.post("/v1/jobs/{job}/cancel", status_code=202)
    def cancel_job(job: str) -> JobRecord:
        return house.obey(job, "cancel")

    @router.post("/v1/jobs/{job}/pause", status_code=202)
    def pause_job(job: str) -> JobRecord:
        return house.obey(job, "pause")

    @router.post("/v1/jobs/{job}/resume", status_code=202)
    def resume_job(job: str) -> JobRecord:
        return house.obey(job, "resume")

    return router
