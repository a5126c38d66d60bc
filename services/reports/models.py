"""The lines of a report's table of models, from what the jobs and the teachers' manifests say."""

from collections.abc import Sequence

from distill.contracts.datasets import DatasetFacts
from distill.contracts.measures import AttemptResult, Predictions, Size, TeacherQuality
from distill.contracts.models import ModelSpec
from distill.contracts.objective import LabelsTerm
from distill.contracts.records import JobRecord
from distill.contracts.report import LearnedFrom, ModelRole, ReportModel
from distill.contracts.schedules import extremes
from distill.contracts.students import StudentSpec
from distill.contracts.teachers import MemberManifest, ResolvedTeacher


def teacher_models(job: JobRecord, result: AttemptResult | None) -> tuple[ReportModel, ...]:
    """The combined ensemble of a job, then each member; none for a job without teachers."""
    if not job.teachers:
        return ()
    members = [model for teacher in job.teachers for model in _members(teacher, result, job.dataset)]
    return _ensemble(job.teachers, result), *members


def trained_model(
    job: JobRecord,
    result: AttemptResult | None,
    *,
    role: ModelRole,
    agreement: float | None,
    student_data: DatasetFacts | None = None,
) -> ReportModel:
    """The model that ``job`` trained; its rows are held against ``student_data``, where given."""
    return ReportModel(
        role=role,
        name=job.spec.name,
        architecture=architecture(job.spec.student),
        quality=result.quality if result else None,
        size=result.size if result else None,
        agreement=agreement,
        learned_from=_of_job(job, result, student_data),
    )


def member_name(teacher: ResolvedTeacher, position: int) -> str:
    """Such as ``fashion@1 member 0``."""
    return f"{teacher.reference} member {position}"


def architecture(model: ModelSpec | StudentSpec) -> str:
    """A model's architecture in words, such as ``resnet8x4, width 16``."""
    if model.source == "transformers":
        return model.model_type
    if model.source == "plugin":
        return model.import_path
    words: list[str] = [model.name]
    if model.args.width is not None:
        words.append(f"width {model.args.width}")
    if model.args.hidden is not None:
        words.append("hidden " + "-".join(str(units) for units in model.args.hidden))
    return ", ".join(words)


def overlap(one: DatasetFacts, other: DatasetFacts) -> int | None:
    """Rows that lie in both ranges (held-out ones too); None where they are not of one and the same data set."""
    if one.digest != other.digest:
        return None
    return max(0, min(one.rows_stop, other.rows_stop) - max(one.rows_start, other.rows_start))


def agreement_with_ensemble(model: Predictions | None, asked: Predictions | None) -> float | None:
    """Share of test rows on which ``model`` names the class that ``asked``'s ensemble names; None where unknown."""
    if model is None or asked is None or not asked.ensemble or model.truth != asked.truth:
        return None
    pairs = zip(model.student, asked.ensemble, strict=True)
    return sum(mine == theirs for mine, theirs in pairs) / len(asked.ensemble)


def _ensemble(teachers: Sequence[ResolvedTeacher], result: AttemptResult | None) -> ReportModel:
    num_members = sum(len(teacher.manifest.members) for teacher in teachers)
    return ReportModel(
        role="ensemble",
        name=" + ".join(teacher.reference for teacher in teachers),
        architecture=f"{num_members} {'member' if num_members == 1 else 'members'}",
        quality=result.ensemble if result else None,
        size=_sum_of([teacher.manifest.size for teacher in teachers]),
    )


def _members(
    teacher: ResolvedTeacher, result: AttemptResult | None, student_data: DatasetFacts | None
) -> list[ReportModel]:
    measured = _measured(teacher, result.teachers if result else ())
    agreements = measured.agreements if measured else ()
    return [
        ReportModel(
            role="member",
            name=member_name(teacher, position),
            architecture=architecture(member.model),
            quality=measured.members[position] if measured else None,
            size=member.size,
            agreement=agreements[position] if agreements else None,
            learned_from=_of_member(member, student_data),
        )
        for position, member in enumerate(teacher.manifest.members)
    ]


def _measured(teacher: ResolvedTeacher, measured: Sequence[TeacherQuality]) -> TeacherQuality | None:
    num_members = len(teacher.manifest.members)
    known = (found for found in measured if found.teacher == teacher.reference and len(found.members) == num_members)
    return next(known, None)


def _sum_of(sizes: Sequence[Size]) -> Size:
    """All together, one after the other; latencies only where all were measured alike."""
    memory = [size.peak_memory_bytes for size in sizes if size.peak_memory_bytes is not None]
    return sizes[0].model_copy(
        update={
            "parameters": sum(size.parameters for size in sizes),
            "bytes": sum(size.bytes for size in sizes),
            "flops": sum(size.flops for size in sizes),
            "latency_ms": {batch: sum(size.latency_ms[batch] for size in sizes) for batch in timed_alike(sizes)},
            "peak_memory_bytes": max(memory) if len(memory) == len(sizes) else None,
        }
    )


def timed_alike(sizes: Sequence[Size]) -> list[int]:
    """Batch sizes that all were timed at, where device and threads are the same for all."""
    places = {(size.latency_device, size.latency_threads) for size in sizes}
    batches = sizes[0].latency_ms if len(places) == 1 else ()
    return [batch for batch in batches if all(batch in size.latency_ms for size in sizes)]


def _of_member(member: MemberManifest, student_data: DatasetFacts | None) -> LearnedFrom | None:
    data = member.trained_on
    if data is None:
        return None
    # the facts don't say whether the member had teachers of its own; without any it saw its labelled rows alone
    num_rows = data.num_labelled or data.num_train
    return _learned_from(data, num_rows=num_rows, num_labels=data.num_labelled, student_data=student_data)


def _of_job(job: JobRecord, result: AttemptResult | None, student_data: DatasetFacts | None) -> LearnedFrom | None:
    data = result.dataset if result else job.dataset
    if data is None:
        return None
    uses_labels = any(isinstance(term, LabelsTerm) and extremes(term.weight)[1] > 0 for term in job.spec.objective)
    facts = _learned_from(
        data,
        num_rows=data.num_labelled if job.spec.learns_from_labels_alone else data.num_train,
        num_labels=data.num_labelled if uses_labels else 0,
        student_data=student_data,
    )
    if result is None:
        return facts
    seconds = sum(point.seconds for point in result.curve)
    return facts.model_copy(update={"steps": result.steps, "seconds": seconds})


def _learned_from(
    data: DatasetFacts, *, num_rows: int, num_labels: int, student_data: DatasetFacts | None
) -> LearnedFrom:
    return LearnedFrom(
        dataset=data.source,
        digest=data.digest,
        rows_start=data.rows_start,
        rows_stop=data.rows_stop,
        num_rows=num_rows,
        num_labels=num_labels,
        overlap_rows=overlap(data, student_data) if student_data else None,
    )
