"""Small teachers for the pool's tests: on storage, and served by the stack's Ray."""

from collections.abc import Callable, Iterator

import pytest
import torch
from ray import serve

from distill.contracts import names
from distill.contracts.models import ImageInput, ModelSpec
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import CheckedMember, ResolvedTeacher
from distill.science.models import build as build_model
from distill.science.weights import save_model
from teacher_server.app import build
from teacher_server.examination import examine
from teacher_server.replica import TeacherArgs
from tests.teacher_server.small_teachers import CLASSES, CNN, IMAGE, MLP, RESNET, a_version, folder_of, resolved

MakeMember = Callable[..., CheckedMember]


@pytest.fixture(scope="session")
def make_member(settings: NodeSettings) -> MakeMember:
    """Save a fresh model where a job would have left it."""
    made = 0

    def make(
        spec: ModelSpec = MLP, taken: ImageInput = IMAGE, classes: tuple[str, ...] = CLASSES, seed: int = 0
    ) -> CheckedMember:
        nonlocal made
        made += 1
        torch.manual_seed(seed)
        model = build_model(spec, input=taken, num_classes=len(classes))
        folder = f"runs/job-{made}/1/student"
        save_model(model, settings.storage / folder, spec=spec, input=taken, classes=classes)
        return CheckedMember(folder=folder, job=f"job-{made}")

    return make


@pytest.fixture(scope="session")
def trio(make_member: MakeMember, settings: NodeSettings) -> ResolvedTeacher:
    """A published teacher with three members of different architectures, the second with statistics of its own."""
    other_rows = IMAGE.model_copy(update={"mean": (0.4,), "std": (0.2,)})
    version = a_version(make_member(MLP), make_member(CNN, other_rows), make_member(RESNET))
    return resolved(examine("trio", version, folder_of(settings, "trio"), settings))


@pytest.fixture(scope="session")
def solo(make_member: MakeMember, settings: NodeSettings) -> ResolvedTeacher:
    """A published teacher with one member."""
    return resolved(examine("solo", a_version(make_member(MLP, seed=1)), folder_of(settings, "solo"), settings))


@pytest.fixture
def deploy(connected_ray: None) -> Iterator[Callable[[ResolvedTeacher], None]]:
    """Serve a teacher until the test ends."""
    deployed: set[str] = set()
    yield lambda teacher: deployed.add(_serve(teacher))
    for application in deployed:
        serve.delete(application)


@pytest.fixture(scope="module")
def served_solo(connected_ray: None, solo: ResolvedTeacher) -> Iterator[ResolvedTeacher]:
    """A teacher that is served for all tests of a file."""
    application = _serve(solo)
    yield solo
    serve.delete(application)


def _serve(teacher: ResolvedTeacher) -> str:
    args = TeacherArgs(teacher=teacher.name, version=teacher.version, digest=teacher.digest, max_batch_rows=64)
    application = names.application(teacher.name, teacher.version)
    serve.run(build(args), name=application, route_prefix=None)
    return application


@pytest.fixture
def rows() -> Callable[..., torch.Tensor]:
    """Seeded images."""

    def draw(num_rows: int, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 256, (num_rows, 1, 8, 8), dtype=torch.uint8, generator=generator)

    return draw
