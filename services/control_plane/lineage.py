"""From a student to what it comes from, and to what came of it. The way back leads over lists, so that no record is searched."""

from collections.abc import Iterable

from redis.asyncio import Redis

from distill.contracts.errors import NotFound
from distill.contracts.lineage import (
    MOST_LINKS,
    JobLineage,
    JobLink,
    JobLinks,
    MemberLink,
    VersionLineage,
    VersionLink,
    VersionLinks,
)
from distill.contracts.records import JobRecord, StudyRecord
from distill.contracts.teachers import TeacherRecord, TeacherVersion
from services.control_plane.heads import JobHead
from services.control_plane.lists import begun_list, generation_list, identity_at, published_list, taught_list
from services.control_plane.registry import weights_of
from services.control_plane.store import Store


class Lineage:
    """Reads one step in each direction."""

    def __init__(self, store: Store, redis: Redis) -> None:
        self._store = store
        self._redis = redis

    async def of_job(self, job: JobRecord) -> JobLineage:
        """Where the job's student comes from, and what came of it."""
        baselines = await self._baselines(job)
        before, weights = [job.after] if job.after else [], weights_of(job)
        links = await self._links([*baselines, *before, *weights], job.team)
        return JobLineage(
            job=JobLink(id=job.id, state=job.state),
            study=job.study,
            role=job.role,
            baselines=[links[one] for one in baselines],
            taught_by=await self._teachers(job),
            begins_from=[links[one] for one in weights],
            generation_before=links[job.after] if job.after else None,
            published_as=await self._published(job),
            begun=await self._listed(begun_list(job.team, job.id), job.team),
            generations_after=await self._listed(generation_list(job.team, job.id), job.team),
        )

    async def of_version(self, teacher: TeacherRecord, version: TeacherVersion, *, team: str) -> VersionLineage:
        """Where the version's members come from, and whom it taught, as this team may know it."""
        link = VersionLink(teacher=teacher.name, version=version.version, state=version.state)
        return VersionLineage(
            version=link,
            members=await self._members(version, team)
            if team == teacher.team
            else [MemberLink()] * len(version.members),
            students=await self._listed(taught_list(team, link.reference), team),
        )

    async def _baselines(self, job: JobRecord) -> list[str]:
        if job.study is None:
            return []
        try:
            study = await self._store.study(job.study)
        except NotFound:
            return []
        return baselines_of(study, job.id)

    async def _teachers(self, job: JobRecord) -> list[VersionLink]:
        records = await self._store.teachers_named([teacher.name for teacher in job.teachers])
        visible = [record for record in records if record.is_visible_to(job.team)]
        states = {(record.name, one.version): one.state for record in visible for one in record.versions}
        return [
            VersionLink(teacher=one.name, version=one.version, state=states.get((one.name, one.version)))
            for one in job.teachers
        ]

    async def _published(self, job: JobRecord) -> VersionLinks:
        found, more = await self._newest(published_list(job.team, job.id))
        versions = [
            VersionLink(teacher=record.name, version=version.version, state=version.state)
            for record in await self._store.teachers_named(found)
            for version in record.versions
            if job.id in {member.job for member in version.members}
        ]
        return VersionLinks(items=versions[:MOST_LINKS], more=more or len(versions) > MOST_LINKS)

    async def _members(self, version: TeacherVersion, team: str) -> list[MemberLink]:
        links = await self._links([member.job for member in version.members if member.job is not None], team)
        return [
            MemberLink(
                job=links[member.job] if member.job is not None else None,
                epoch=member.epoch,
                file=member.file.path if member.file is not None else None,
            )
            for member in version.members
        ]

    async def _listed(self, key: str, team: str) -> JobLinks:
        found, more = await self._newest(key)
        links = await self._links(found, team)
        return JobLinks(items=[link for link in links.values() if link.state is not None], more=more)

    async def _newest(self, key: str) -> tuple[list[str], bool]:
        places = [str(one) for one in await self._redis.zrevrange(key, 0, MOST_LINKS)]
        return [identity_at(place) for place in places[:MOST_LINKS]], len(places) > MOST_LINKS

    async def _links(self, jobs: Iterable[str], team: str) -> dict[str, JobLink]:
        """Id -> the job; without a state where it is gone."""
        wanted = list(dict.fromkeys(jobs))
        texts = await self._store.texts("job", wanted)
        heads = [head for head in map(JobHead.model_validate_json, texts) if head.team == team]
        states = {head.id: head.state for head in heads}
        return {job: JobLink(id=job, state=states.get(job)) for job in wanted}


def baselines_of(study: StudyRecord, job: str) -> list[str]:
    """The jobs that the study compares this one with: the baselines of its point and seed; none for a baseline."""
    baselines = {key: study.jobs[key] for key in study.keys_of("baseline")}
    if job in baselines.values():
        return []
    own = next((study.children.get(key) for key, identity in study.jobs.items() if identity == job), None)
    return [
        identity
        for key, identity in baselines.items()
        if own is None or (study.children[key].point, study.children[key].seed) == (own.point, own.seed)
    ]
