"""From a job's record to the module that is trained: the student and its peers, built or started, and their objective."""

from collections.abc import Sequence

import torch
from redis import Redis

from distill.contracts.ensemble import PerMemberHeads
from distill.contracts.models import HeadsSpec
from distill.contracts.records import JobRecord
from distill.contracts.scheme import students_of
from distill.contracts.settings import NodeSettings
from distill.contracts.students import StudentSpec
from distill.contracts.teachers import ResolvedTeacher
from distill.science.answers import MemberLayout
from distill.science.datasets import Dataset
from distill.science.learner import Learner
from distill.science.models import Classifier, ManyHeads
from distill.science.models.heads import check_foldable, folded
from distill.science.objective import Source
from distill.science.seeds import mixed_seed
from student_worker.student import build_student, said_of, starting_weights


def make_learner(record: JobRecord, dataset: Dataset, settings: NodeSettings, redis: Redis) -> Learner:
    """Everything that the job trains, before its first step, on the CPU: a pure function of its seed.

    Raises:
        InvalidSpec: an architecture doesn't take the data's rows, a term names what isn't there, shapes can't be
            bridged, or heads can't be folded.
        InvalidData: weights to start from lie outside the data root.
        InvalidWeights: weights to start from are missing, torn, or don't fit.
    """
    spec = record.spec
    students = _students(record, dataset, settings, redis)
    torch.manual_seed(mixed_seed(spec.training.seed, len(students)))
    learner = Learner(
        students,
        spec.objective,
        ensemble=spec.ensemble,
        scheme=spec.scheme,
        served=Source(
            layout_of(record.teachers),
            tuple(member.taps for teacher in record.teachers for member in teacher.manifest.members),
        ),
        input=dataset.input,
        num_classes=len(dataset.facts.classes),
    )
    if _folds(record) and isinstance(learner.student, ManyHeads):
        check_foldable(learner.student)
    return learner


def to_keep(record: JobRecord, student: Classifier) -> Classifier:
    """The student as it is measured and exported: as trained, or with its heads folded into one."""
    return folded(student) if _folds(record) and isinstance(student, ManyHeads) else student


def layout_of(teachers: Sequence[ResolvedTeacher]) -> MemberLayout:
    """Where the members of these teachers stand in an answer."""
    return MemberLayout.of([(teacher.weight, len(teacher.manifest.members)) for teacher in teachers])


def heads_of(record: JobRecord) -> HeadsSpec | None:
    """One head a member, where the job says so and has teachers."""
    ensemble = record.spec.ensemble
    if not isinstance(ensemble, PerMemberHeads) or not record.teachers:
        return None
    return HeadsSpec(weights=tuple(layout_of(record.teachers).weights().tolist()), aggregate=ensemble.aggregate)


def _students(record: JobRecord, dataset: Dataset, settings: NodeSettings, redis: Redis) -> list[Classifier]:
    spec = record.spec

    def built(place: int, field: str, student: StudentSpec) -> Classifier:
        with said_of(field):
            return build_student(
                student,
                dataset,
                # the student of any scheme starts as its baseline does
                seed=mixed_seed(spec.training.seed, *([place] if place else [])),
                start=starting_weights(student.init_from, settings, redis),
                heads=heads_of(record),
                plugins=settings.plugins,
            )

    students = students_of(spec.student, spec.scheme)
    return [built(place, field, student) for place, (field, student) in enumerate(students.items())]


def _folds(record: JobRecord) -> bool:
    return isinstance(record.spec.ensemble, PerMemberHeads) and record.spec.ensemble.export == "folded"
