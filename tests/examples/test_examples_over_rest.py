"""An example of each family, posted as a person would: it succeeds, and learns what it learns in one process."""

from pathlib import Path

import pytest
from redis import Redis

from distill.contracts.job import JobSpec
from distill.contracts.models import ModelCard
from distill.contracts.records import JobState
from distill.contracts.study import StudySpec
from distill.contracts.teachers import MemberFromFile, TeacherSpec, TeacherVersionSpec, TeacherVersionState
from distill.science.weights import WEIGHTS_FILE, save_model
from examples.gallery.runs import TEACHERS
from examples.in_process import a_record, train
from services.cli.files import load_spec
from services.client.client import StillhouseClient
from services.stack.stack import Stack
from student_worker.student import architecture
from tests.fundamentals.jobs import ended
from tests.fundamentals.waiting import until

KNOWLEDGE = TEACHERS.parent


@pytest.fixture(scope="module")
def digits_teacher(stack: Stack, data_root: Path) -> None:
    """``digits@1`` in the pool: the members of its file, trained for a fifth as long."""
    study = load_spec(TEACHERS / "digits.yaml")
    assert isinstance(study, StudySpec)
    members = []
    for key, child in study.children().items():
        spec = study.spec_of(child, study=study.name)
        training = spec.training.model_copy(update={"epochs": 6})
        card = _saved(key, spec.model_copy(update={"training": training}), stack, data_root / "members" / key)
        path = f"members/{key}/{WEIGHTS_FILE}"
        members.append(
            MemberFromFile(source="file", path=path, model=card.model, input=card.input, classes=card.classes)
        )
    with StillhouseClient(stack.url, key=stack.key) as client:
        client.create_teacher(TeacherSpec(name="digits"))
        made = client.publish("digits", TeacherVersionSpec(members=tuple(members)))
        until(lambda: client.teacher_version("digits", made.version).state is not TeacherVersionState.CHECKING)
        assert client.teacher_version("digits", made.version).state is TeacherVersionState.READY


def _saved(key: str, spec: JobSpec, stack: Stack, folder: Path) -> ModelCard:
    trained = train(a_record(f"in-process-{key}", spec), stack.node, Redis())
    return save_model(
        trained.student,
        folder,
        spec=architecture(spec.student),
        input=trained.dataset.input,
        classes=trained.dataset.facts.classes,
    )


@pytest.mark.usefixtures("digits_teacher")
@pytest.mark.parametrize(
    "example",
    [
        pytest.param("ensembles/per-member-heads", marks=pytest.mark.long),
        pytest.param("features/attention", marks=pytest.mark.long),
        pytest.param("relations/distances", marks=pytest.mark.long),
        pytest.param("schemes/mutual-learning", marks=pytest.mark.long),
        pytest.param("schemes/deep-supervision", marks=pytest.mark.long),
    ],
)
def test_an_example_learns_over_rest_what_it_learns_in_one_process(
    stack: Stack, client: StillhouseClient, example: str
):
    spec = load_spec(KNOWLEDGE / f"{example}.yaml")
    assert isinstance(spec, JobSpec)

    job = ended(client, client.submit_job(spec))

    assert job.state is JobState.SUCCEEDED, job.reason.text
    reported = next(model for model in client.report("job", job.id).models if model.role == "student")
    here = train(a_record(f"in-process-{job.id}", spec, job.teachers), stack.node, Redis()).measured().student
    # a window of answers may be cut elsewhere, and a sum be rounded otherwise: a test row or two of 359
    assert reported.quality.accuracy == pytest.approx(here.accuracy, abs=0.01)
    assert here.accuracy > 0.8
