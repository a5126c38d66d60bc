"""The attempt's check: are data, student and teachers as the job file says? Before any worker or teacher is asked for."""

from dataclasses import dataclass

from redis import Redis

from distill.contracts.classes import difference
from distill.contracts.datasets import DatasetFacts
from distill.contracts.errors import InvalidData, InvalidSpec
from distill.contracts.job import JobSpec
from distill.contracts.models import ImageInput, InputSpec, PluginModel, TokensInput, TransformersModel, VectorInput
from distill.contracts.records import JobRecord
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import ResolvedTeacher
from distill.science.datasets import check_batch, check_labels, load
from distill.science.export import check_exportable
from distill.science.models import Classifier
from student_worker.learner import make_learner
from student_worker.selection import check_has_validation_labels
from student_worker.student import with_folder_configs


@dataclass(frozen=True)
class Checked:
    """What the check found."""

    facts: DatasetFacts
    num_steps: int
    """Of the whole training."""
    spec: JobSpec
    """With the configurations of the folders that its student and peers start from."""


def check(record: JobRecord, settings: NodeSettings, redis: Redis) -> Checked:
    """Load the data, build the student, and compare both with the job file and the teachers.

    Raises:
        InvalidData: the data can't be read, isn't what the job file says, or has changed since the job's checkpoint.
        InvalidSpec: something doesn't fit, and the field is named.
        InvalidWeights: the weights to start from are torn, or don't fit.
    """
    spec = record.spec
    dataset = load(spec.dataset, settings)
    check_batch(dataset.facts, spec.training)
    check_labels(dataset.facts, has_teachers=bool(record.teachers))
    check_unchanged(record, dataset.facts)
    for place, teacher in enumerate(record.teachers):
        check_classes(teacher, dataset.facts.classes, field=f"teachers.{place}.name")
        check_input(teacher, dataset.input, field=f"teachers.{place}.name")
    check_has_validation_labels(spec, dataset.labels[dataset.validation_rows])
    spec = with_folder_configs(spec, settings)
    learner = make_learner(record.model_copy(update={"spec": spec}), dataset, settings, redis)
    student = spec.student
    if isinstance(student, TransformersModel | PluginModel):  # those of our zoo are known to be
        check_export(learner.student, student, dataset.input)
    steps = dataset.facts.num_train // spec.training.batch_size
    return Checked(facts=dataset.facts, num_steps=steps * spec.training.epochs, spec=spec)


def check_unchanged(record: JobRecord, facts: DatasetFacts) -> None:
    """Refuse to go on from a checkpoint with data that it was not trained on.

    Raises:
        InvalidData: the data's digest is another one than an earlier attempt found.
    """
    before = record.dataset
    if record.checkpoint is None or before is None or before.digest == facts.digest:
        return
    raise InvalidData(
        "dataset: this is not the data that the job's checkpoint was trained on",
        field="dataset",
        expected=before.digest,
        got=facts.digest,
        hint="put the former data back, or submit the job again to train from the start",
    )


def check_export(student: Classifier, spec: TransformersModel | PluginModel, data: InputSpec) -> None:
    """Refuse a student that would be trained and could then not be handed over as a program.

    Raises:
        InvalidSpec: with what torch.export said.
    """
    try:
        check_exportable(student, data)
    except RuntimeError as error:
        field, name = _named(spec)
        raise InvalidSpec(
            f"{field}: a {name} can't be exported as a program: {error}",
            field=field,
            expected="a model that torch.export takes",
            got=name,
        ) from error


def _named(spec: TransformersModel | PluginModel) -> tuple[str, str]:
    if isinstance(spec, PluginModel):
        return "student.import", spec.import_path
    return "student.model_type", spec.model_type


def check_classes(teacher: ResolvedTeacher, classes: tuple[str, ...], *, field: str) -> None:
    """Refuse a teacher that doesn't name the data's classes, in the data's order.

    Raises:
        InvalidSpec: naming the teacher.
    """
    if how := difference(teacher.manifest.classes, classes, me=teacher.reference, they="the data"):
        raise InvalidSpec(
            f"{field}: {teacher.reference} and the data don't name the same classes: {how}",
            field=field,
            expected=", ".join(classes)[:500],
            got=", ".join(teacher.manifest.classes)[:500],
            hint="name them in dataset.classes, in the teacher's order",
        )


def check_input(teacher: ResolvedTeacher, data: InputSpec, *, field: str) -> None:
    """Refuse a teacher that takes rows of another kind or shape than the data's.

    Raises:
        InvalidSpec: naming the teacher.
    """
    taken, given = shape_in_words(teacher.manifest.input), shape_in_words(data)
    if taken == given and isinstance(data, TokensInput):
        taken, given = _ids_in_words(teacher.manifest.input, data), _ids_in_words(data, teacher.manifest.input)
    if taken != given:
        raise InvalidSpec(
            f"{field}: teacher {teacher.reference} takes {taken}, and the data has {given}",
            field=field,
            expected=taken,
            got=given,
        )


def _ids_in_words(spec: InputSpec, other: InputSpec) -> str:
    """What token ids mean, as far as both sides know it."""
    assert isinstance(spec, TokensInput)  # noqa: S101 - both are token ids
    assert isinstance(other, TokensInput)  # noqa: S101
    padded = f"{spec.length} token ids padded with {spec.pad_id}"
    if spec.tokenizer is None or other.tokenizer is None:
        return padded
    return f"{padded} of the tokenizer {spec.tokenizer}"


def shape_in_words(spec: InputSpec) -> str:
    """What a row is, without how it is normalised: each model does that itself."""
    if isinstance(spec, ImageInput):
        return f"images of {spec.channels} x {spec.height} x {spec.width}"
    if isinstance(spec, VectorInput):
        return f"vectors of {spec.features}"
    return f"{spec.length} token ids"
