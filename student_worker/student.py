"""The student before its first step: built from its spec, or started from weights that exist."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from pydantic import TypeAdapter
from redis import Redis

from distill.contracts.errors import AttemptSuperseded, InvalidSpec, InvalidWeights, StillhouseError
from distill.contracts.job import JobSpec
from distill.contracts.measures import AttemptResult
from distill.contracts.models import (
    FolderWeights,
    HeadsSpec,
    JobWeights,
    ModelSpec,
    TransformersWeightsRef,
)
from distill.contracts.scheme import Online, students_of
from distill.contracts.settings import NodeSettings
from distill.contracts.students import StudentSpec, TransformersStudent
from distill.journal.watch import read_record
from distill.science.datasets import Dataset
from distill.science.datasets.paths import inside_root
from distill.science.models import Classifier, build
from distill.science.models.pretrained import folder_config, load_folder
from distill.science.weights import WEIGHTS_FILE, load_weights

log = logging.getLogger(__name__)

_MODEL: TypeAdapter[ModelSpec] = TypeAdapter(ModelSpec)


def build_student(
    spec: StudentSpec,
    dataset: Dataset,
    *,
    seed: int,
    start: Path | None,
    heads: HeadsSpec | None = None,
    plugins: Collection[str] = (),
) -> Classifier:
    """The student that takes the data set's rows and names its classes: random by ``seed``, or the weights of ``start``.

    Raises:
        InvalidSpec: the architecture doesn't take such rows.
        InvalidWeights: the file is missing, torn, or doesn't fit.
    """
    torch.manual_seed(seed)
    model = build(spec, input=dataset.input, num_classes=len(dataset.facts.classes), heads=heads, plugins=plugins)
    if start is not None:
        try:
            _load(model, spec, start)
        except InvalidWeights as error:
            field = "student.init_from"
            raise InvalidWeights(f"{field}: {error}", **(error.details | {"field": field})) from error
    return model


def _load(model: Classifier, spec: StudentSpec, start: Path) -> None:
    if not start.is_dir():
        load_weights(model, start)
        return
    fresh_head = isinstance(spec.init_from, FolderWeights) and spec.init_from.fresh_head
    if random := load_folder(model, start, fresh_head=fresh_head):
        log.info("the folder gives the student's body; these tensors start random: %s", ", ".join(random))


@contextmanager
def said_of(field: str) -> Iterator[None]:
    """What is said of the field ``student`` is said of ``field`` here: a peer is a student at another place."""
    try:
        yield
    except StillhouseError as error:
        said = error.details.get("field") or ""
        if field == "student" or said.partition(".")[0] != "student":
            raise
        meant = field + said.removeprefix("student")
        message = error.message.replace(f"{said}:", f"{meant}:", 1)
        raise type(error)(message, **(error.details | {"field": meant})) from error


def with_folder_configs(spec: JobSpec, settings: NodeSettings) -> JobSpec:
    """The job whose student and peers have the configurations of the folders that they start from.

    Raises:
        InvalidData: a path leads out of the data root, or isn't there.
        InvalidSpec: a folder holds another model type.
        InvalidWeights: it is no folder that the transformers library wrote.
    """
    student, *peers = [
        _with_folder_config(one, settings, field) for field, one in students_of(spec.student, spec.scheme).items()
    ]
    scheme = spec.scheme
    if isinstance(scheme, Online):
        scheme = scheme.model_copy(update={"peers": tuple(peers)})
    return spec.model_copy(update={"student": student, "scheme": scheme})


def _with_folder_config(spec: StudentSpec, settings: NodeSettings, field: str) -> StudentSpec:
    if not isinstance(spec, TransformersStudent) or not isinstance(spec.init_from, FolderWeights):
        return spec
    with said_of(field):
        folder = inside_root(settings.data_root, spec.init_from.path, field="student.init_from.path")
        config = folder_config(folder, spec.model_type)
    return spec.model_copy(update={"config": config | spec.config})


def starting_weights(reference: TransformersWeightsRef | None, settings: NodeSettings, redis: Redis) -> Path | None:
    """The file or folder that ``student.init_from`` means, if it means one.

    Raises:
        InvalidSpec: there is no such job, or it has not finished.
        InvalidData: the path leads out of the data root, or isn't there.
    """
    if reference is None:
        return None
    if isinstance(reference, JobWeights):
        return settings.storage / _weights_of_job(reference.job, settings, redis)
    return inside_root(settings.data_root, reference.path, field="student.init_from.path")


def architecture(spec: StudentSpec) -> ModelSpec:
    """The student's spec without where its weights began: what a model card says."""
    return _MODEL.validate_python(spec.model_dump(exclude={"init_from"}))


def _weights_of_job(job: str, settings: NodeSettings, redis: Redis) -> str:
    try:
        result = read_record(redis, job).result
    except AttemptSuperseded as error:
        raise _no_weights(job, "there is no such job") from error
    if result is None:
        raise _no_weights(job, "it has not finished, so it has left no weights")
    artifacts = AttemptResult.model_validate_json((settings.storage / result).read_bytes()).artifacts
    return next(artifact.path for artifact in artifacts if artifact.name == WEIGHTS_FILE)


def _no_weights(job: str, why: str) -> InvalidSpec:
    return InvalidSpec(
        f"student.init_from.job: the student can't start from job {job}: {why}",
        field="student.init_from.job",
        expected="a job that has finished",
        got=job,
    )
