"""The attempt's check: are data, student and teachers as the job file says? Before any worker or teacher is asked for."""

from dataclasses import dataclass

from redis import Redis

from distill.contracts.datasets import DatasetFacts
from distill.contracts.errors import InvalidSpec
from distill.contracts.models import ImageInput, InputSpec, VectorInput
from distill.contracts.records import JobRecord
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import ResolvedTeacher
from distill.science.datasets import check_batch, check_labels, load
from distill.science.objective import Objective
from student_worker.student import build_student, starting_weights
from student_worker.training import layout_of


@dataclass(frozen=True)
class Checked:
    """What the check found."""

    facts: DatasetFacts
    num_steps: int
    """Of the whole training."""


def check(record: JobRecord, settings: NodeSettings, redis: Redis) -> Checked:
    """Load the data, build the student, and compare both with the job file and the teachers.

    Raises:
        InvalidData: the data can't be read, or isn't what the job file says.
        InvalidSpec: something doesn't fit, and the field is named.
        InvalidWeights: the weights to start from are torn, or don't fit.
    """
    spec = record.spec
    dataset = load(spec.dataset, settings)
    check_batch(dataset.facts, spec.training)
    check_labels(dataset.facts, has_teachers=bool(record.teachers))
    for place, teacher in enumerate(record.teachers):
        check_classes(teacher, dataset.facts.classes, field=f"teachers.{place}")
        check_input(teacher, dataset.input, field=f"teachers.{place}")
    Objective(spec.objective, ensemble=spec.ensemble, layout=layout_of(record.teachers))
    start = starting_weights(spec.student.init_from, settings, redis)
    build_student(spec.student, dataset, seed=spec.training.seed, start=start)
    steps = dataset.facts.num_train // spec.training.batch_size
    return Checked(facts=dataset.facts, num_steps=steps * spec.training.epochs)


def check_classes(teacher: ResolvedTeacher, classes: tuple[str, ...], *, field: str) -> None:
    """Refuse a teacher that doesn't name the data's classes, in the data's order.

    Raises:
        InvalidSpec: naming the teacher.
    """
    if teacher.manifest.classes != classes:
        raise InvalidSpec(
            f"{field}: teacher {teacher.reference} and the data differ in their classes, or in the order of them",
            field=field,
            expected=", ".join(classes)[:500],
            got=", ".join(teacher.manifest.classes)[:500],
        )


def check_input(teacher: ResolvedTeacher, data: InputSpec, *, field: str) -> None:
    """Refuse a teacher that takes rows of another kind or shape than the data's.

    Raises:
        InvalidSpec: naming the teacher.
    """
    taken, given = shape_in_words(teacher.manifest.input), shape_in_words(data)
    if taken != given:
        raise InvalidSpec(
            f"{field}: teacher {teacher.reference} takes {taken}, and the data has {given}",
            field=field,
            expected=taken,
            got=given,
        )


def shape_in_words(spec: InputSpec) -> str:
    """What a row is, without how it is normalised: each model does that itself."""
    if isinstance(spec, ImageInput):
        return f"images of {spec.channels} x {spec.height} x {spec.width}"
    if isinstance(spec, VectorInput):
        return f"vectors of {spec.features}"
    return f"{spec.length} token ids"
