"""What a teacher version must be before it is served, and what its manifest says: loaded, compared, tried, measured.

Shapes: N rows, M members, C classes.
"""

import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from distill.contracts.classes import difference
from distill.contracts.confined import LeavesRoot, NoPlainFile, real_path
from distill.contracts.errors import InvalidAnswer, InvalidData, InvalidSpec, InvalidWeights, StillhouseError
from distill.contracts.measures import Size
from distill.contracts.models import InputSpec, ModelCard
from distill.contracts.settings import NodeSettings
from distill.contracts.teachers import CheckedMember, MemberFromFile, MemberManifest, TeacherManifest, TeacherVersion
from distill.science.allocator import keep_freed_memory
from distill.science.complexity import measure_size
from distill.science.inputs import example_input
from distill.science.models import Classifier, build
from distill.science.taps import tap_shapes
from distill.science.weights import WEIGHTS_FILE, file_digest, load_model, load_weights, save_model
from teacher_server.folder import ensemble_digest, member_folder, write_manifest
from teacher_server.forward import in_precision
from teacher_server.pace import measure_pace

log = logging.getLogger(__name__)


def examine(teacher: str, version: TeacherVersion, folder: Path, settings: NodeSettings) -> TeacherManifest:
    """Make the version's folder and its manifest.

    Args:
        teacher: the name.
        version: its members as the control plane resolved them.
        folder: the version's own, below the storage root.
        settings: where storage and data lie.

    Raises:
        InvalidData: a path leaves its root.
        InvalidWeights: a file is missing, torn, not safetensors or doesn't fit its model; or a member's answer isn't
            finite.
        InvalidSpec: a model can't be built, or the members don't take the same rows or name the same classes.
    """
    resources = version.resources
    device = torch.device("cuda" if resources.num_gpus and torch.cuda.is_available() else "cpu")
    torch.set_num_threads(resources.threads)
    keep_freed_memory()  # as a replica does: what is measured here is what it will do
    members = [_load(position, member, settings) for position, member in enumerate(version.members)]
    _check_that_they_agree(members)
    with in_precision(resources.precision, device):
        _check_answers(members, device)
    cards = [_publish(member, member_folder(folder, position)) for position, member in enumerate(members)]
    with in_precision(resources.precision, device):
        manifests = [
            _measure(position, member, card, folder, resources.threads, device)
            for position, (member, card) in enumerate(zip(members, cards, strict=True))
        ]
    pace = measure_pace(
        [member.model for member in members],
        input=cards[0].input,
        num_classes=len(cards[0].classes),
        device=device,
        max_batch_rows=resources.max_batch_rows,
        precision=resources.precision,
    )
    manifest = TeacherManifest(
        teacher=teacher,
        version=version.version,
        digest=ensemble_digest(cards),
        input=cards[0].input,
        classes=cards[0].classes,
        members=tuple(manifests),
        size=_sum([member.size for member in manifests]),
        rows_per_s=pace.rows_per_s,
        device=device.type,
        precision=resources.precision,
        fused=pace.fused,
    )
    write_manifest(folder, manifest)
    return manifest


@dataclass(frozen=True)
class _Member:
    source: CheckedMember
    model: Classifier
    card: ModelCard


def _load(position: int, member: CheckedMember, settings: NodeSettings) -> _Member:
    try:
        if member.file is not None:
            model, card = _load_file(member.file, settings)
        elif member.folder is not None:
            model, card = load_model(_below(settings.storage, member.folder), plugins=settings.plugins)
        else:
            raise InvalidSpec("neither a job's folder nor a file is named")
    except StillhouseError as error:
        details = error.details | {"field": f"members.{position}"}
        raise type(error)(f"member {position}: {error.message}", **details) from error
    log.info("member %d: %s, %s", position, card.model.model_dump_json(), card.weights_digest)
    return _Member(member, model, card)


def _load_file(file: MemberFromFile, settings: NodeSettings) -> tuple[Classifier, ModelCard]:
    path = _below(settings.data_root, file.path)
    model = build(file.model, input=file.input, num_classes=len(file.classes), plugins=settings.plugins)
    load_weights(model, path)
    return model, ModelCard(model=file.model, input=file.input, classes=file.classes, weights_digest=file_digest(path))


def _below(root: Path, path: str) -> Path:
    try:
        return real_path(root, path)
    except (LeavesRoot, NoPlainFile) as error:
        raise InvalidData(
            f"'{path}' leads out of {root}, or is no plain file: only files and folders below it are read",
            expected=f"a path below {root}",
            got=path,
        ) from error


def _check_that_they_agree(members: Sequence[_Member]) -> None:
    first = members[0].card
    for position, member in enumerate(members[1:], start=1):
        _check_same_rows(first.input, member.card.input, position)
        _check_same_classes(first.classes, member.card.classes, position)


def _check_same_rows(first: InputSpec, other: InputSpec, position: int) -> None:
    # each member normalises by its own statistics, so these may differ
    expected, got = (spec.model_dump(exclude={"mean", "std"}) for spec in (first, other))
    if expected != got:
        raise InvalidSpec(
            f"member {position} takes other rows than member 0: {_words(got)}, not {_words(expected)}",
            field=f"members.{position}",
            expected=_words(expected),
            got=_words(got),
        )


def _check_same_classes(first: tuple[str, ...], other: tuple[str, ...], position: int) -> None:
    how = difference(other, first, me=f"member {position}", they="member 0")
    if how is None:
        return
    raise InvalidSpec(
        f"member {position} and member 0 don't name the same classes: {how}",
        field=f"members.{position}",
        expected=", ".join(first),
        got=", ".join(other),
    )


def _check_answers(members: Sequence[_Member], device: torch.device) -> None:
    for position, member in enumerate(members):
        model = member.model.to(device).eval()
        with torch.inference_mode():
            logits_NC = model(example_input(member.card.input, 32).to(device))
        if logits_NC.shape != (32, len(member.card.classes)):
            raise InvalidAnswer(
                f"member {position} answers with shape {tuple(logits_NC.shape)}, not (32, {len(member.card.classes)})"
            )
        if not bool(torch.isfinite(logits_NC).all()):
            raise InvalidWeights(
                f"member {position} answers with NaN or infinity: its weights or its input's mean and std are wrong",
                field=f"members.{position}",
            )


def _publish(member: _Member, folder: Path) -> ModelCard:
    """Write the member where the pool will read it: the whole folder appears at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        card = save_model(
            member.model, part, spec=member.card.model, input=member.card.input, classes=member.card.classes
        )
        part.chmod(0o755)
        # an earlier check that was cut off may have left one; nobody serves it before the version is READY
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return card


def _measure(
    position: int, member: _Member, card: ModelCard, folder: Path, threads: int, device: torch.device
) -> MemberManifest:
    weights_bytes = (member_folder(folder, position) / WEIGHTS_FILE).stat().st_size
    return MemberManifest(
        model=card.model,
        weights_digest=card.weights_digest,
        size=measure_size(member.model, card.input, weights_bytes=weights_bytes, threads=threads, device=device),
        taps=tap_shapes(member.model, card.input),
        trained_on=member.source.trained_on,
        job=member.source.job,
        epoch=member.source.epoch,
    )


def _sum(sizes: Sequence[Size]) -> Size:
    """Of members that run one after the other."""
    return Size(
        parameters=sum(size.parameters for size in sizes),
        bytes=sum(size.bytes for size in sizes),
        flops=sum(size.flops for size in sizes),
        latency_ms={batch: sum(size.latency_ms[batch] for size in sizes) for batch in sizes[0].latency_ms},
        latency_threads=sizes[0].latency_threads,
        latency_device=sizes[0].latency_device,
        peak_memory_bytes=max((size.peak_memory_bytes or 0 for size in sizes), default=0) or None,
    )


def _words(spec: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in spec.items())
