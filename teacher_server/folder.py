"""A teacher's version on storage: ``manifest.json``, and a folder of card and weights for each member."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from distill.contracts.base import Stored, digest_of
from distill.contracts.errors import InvalidWeights
from distill.contracts.models import ModelCard
from distill.contracts.teachers import TeacherManifest
from distill.science.files import write_whole

MANIFEST_FILE = "manifest.json"


def member_folder(folder: Path, member: int) -> Path:
    """Where a member's ``model.json`` and ``model.safetensors`` lie, in the version's folder."""
    return folder / f"member-{member}"


def read_manifest(folder: Path) -> TeacherManifest:
    """The manifest in the version's folder.

    Raises:
        InvalidWeights: there is none, or it can't be read.
    """
    try:
        return TeacherManifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
    except OSError as error:
        raise InvalidWeights(f"{folder / MANIFEST_FILE} can't be read: {error.strerror}") from error
    except ValidationError as error:
        raise InvalidWeights(f"{folder / MANIFEST_FILE} is not a manifest: {error.errors()[0]['msg']}") from error


def write_manifest(folder: Path, manifest: TeacherManifest) -> None:
    """Write the manifest, whole or not at all."""
    write_whole(folder / MANIFEST_FILE, lambda part: part.write_text(manifest.model_dump_json(indent=1)))


def ensemble_digest(cards: Sequence[ModelCard]) -> str:
    """The digest of a teacher: of its members' weights, models and inputs, in order."""
    return digest_of(_Members(cards=tuple(cards)))


class _Members(Stored):
    cards: tuple[ModelCard, ...]
