"""A teacher: a named, immutable version with one or more members, and what the pool must know of it."""

from collections import defaultdict
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from distill.contracts.base import Digest, InWords, Name, Spec, Stored, Timestamp
from distill.contracts.datasets import DatasetFacts
from distill.contracts.errors import Problem
from distill.contracts.measures import Size
from distill.contracts.models import InputSpec, ModelSpec


class MemberFromJob(Spec):
    """The student that a finished job left, or what it was after an earlier epoch."""

    source: Literal["job"] = "job"
    job: Name
    epoch: int | None = Field(default=None, ge=1)
    """One after which the job kept its weights (``training.snapshots``); left out: the student that it handed over."""


class MemberFromFile(Spec):
    """A safetensors file inside the data root, and the model that it fits."""

    source: Literal["file"]
    path: str = Field(min_length=1, max_length=1024)
    model: ModelSpec
    input: InputSpec
    classes: tuple[str, ...] = Field(min_length=1)


MemberSource = Annotated[MemberFromJob | MemberFromFile, Field(discriminator="source")]


Alias = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?$"),
    InWords("expected a letter, then lower-case letters, digits and inner hyphens, at most 32, such as 'prod'"),
]
"""Begins with a letter, so that ``name@3`` is always a version."""


ComputePrecision = Literal["fp32", "bf16"]


class TeacherResources(Spec):
    """What one replica takes, and how many there may be."""

    num_cpus: float = Field(default=0.5, ge=0, le=1024)
    num_gpus: float = Field(default=0, ge=0, le=64)
    threads: int = Field(default=1, ge=1, le=256)
    """Torch threads of a replica."""
    replicas: int = Field(default=1, ge=1, le=1024)
    """As many there are at least, while a job or a reservation needs the teacher."""
    max_replicas: int | None = Field(default=None, ge=1, le=1024)
    """As many there may be where demand asks for them; left out: ``replicas``."""
    max_batch_rows: int = Field(default=1024, ge=1, le=65536)
    """Rows of one forward pass on the device."""
    max_batch_tokens: int | None = Field(default=None, ge=1)
    """Of text: positions of one forward pass, rows times length after padding; left out: rows alone are counted."""
    precision: ComputePrecision = "fp32"
    """Of the forward pass: ``bf16`` computes matrix products and convolutions in bfloat16 (torch.autocast)."""

    @property
    def most_replicas(self) -> int:
        """The upper bound."""
        return self.replicas if self.max_replicas is None else self.max_replicas

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.most_replicas < self.replicas:
            raise ValueError(f"max_replicas: {self.max_replicas} is less than replicas, {self.replicas}")
        return self


class TeacherVersionSpec(Spec):
    """What a person posts to make a version."""

    members: tuple[MemberSource, ...] = Field(min_length=1, max_length=64)
    resources: TeacherResources = TeacherResources()
    alias: Alias | None = None
    """Moved to this version once it is READY."""


Visibility = Literal["team", "shared"]
"""Who may learn from a teacher: its owner's team alone, or every team. Only its owner ever changes it."""


class TeacherSpec(Spec):
    """What a person posts to name a teacher."""

    name: Name
    description: str = Field(default="", max_length=2000)
    visibility: Visibility = "shared"
    """To others a teacher of ``team`` is one that isn't there."""


class MemberManifest(Stored):
    """One member, as the check found it."""

    model: ModelSpec
    weights_digest: Digest
    size: Size
    taps: dict[str, tuple[int, ...]]
    """Dotted module name -> shape of one row of its output."""
    trained_on: DatasetFacts | None = None
    """Known where the member came from a job."""
    job: str | None = None
    epoch: int | None = None
    """Of that job, where it is one of its snapshots."""


def twins(members: Sequence[MemberManifest]) -> list[tuple[int, ...]]:
    """Positions of members that are one and the same network, and say the same of every row; each group in order.

    Two jobs with one seed, data and job file leave such members: an ensemble of them is no better than one.
    """
    alike: dict[tuple[str, str], list[int]] = defaultdict(list)
    for position, member in enumerate(members):
        alike[member.weights_digest, member.model.model_dump_json()].append(position)
    return [tuple(positions) for positions in alike.values() if len(positions) > 1]


class TeacherManifest(Stored):
    """``manifest.json`` of a version: written by a torch process, read by everyone else."""

    teacher: str
    version: int
    digest: Digest
    """Of all members' weights, models and inputs, in order."""
    input: InputSpec
    classes: tuple[str, ...]
    members: tuple[MemberManifest, ...]
    size: Size
    """Of all members together, one after the other."""
    rows_per_s: float
    """Of the whole ensemble, on the device of the check."""
    device: str
    precision: ComputePrecision = "fp32"
    """Of the forward pass."""
    fused: bool = False
    """Whether members of one architecture run as one forward pass: the check found that faster, and within 1e-5."""

    @property
    def compute(self) -> str:
        """How answers are computed, where that changes them: part of the answer book's key."""
        return f"{self.precision}-fused" if self.fused else self.precision


class TeacherVersionState(StrEnum):
    """CHECKING -> READY | REJECTED, and at last DELETED."""

    CHECKING = "CHECKING"
    READY = "READY"
    REJECTED = "REJECTED"
    DELETED = "DELETED"
    """A tombstone, so that its number is never given again."""


class CheckedMember(Stored):
    """A member as the control plane resolved it: where its card and weights lie, below the storage or the data root."""

    folder: str | None = None
    """Below the storage root: holds ``model.json`` and ``model.safetensors``."""
    file: MemberFromFile | None = None
    job: str | None = None
    epoch: int | None = None
    """Of that job, where it is one of its snapshots."""
    trained_on: DatasetFacts | None = None


class TeacherVersion(Stored):
    """One version of a teacher."""

    version: int
    state: TeacherVersionState = TeacherVersionState.CHECKING
    problem: Problem | None = None
    """Why it was REJECTED."""
    members: tuple[CheckedMember, ...]
    resources: TeacherResources
    alias: Alias | None = None
    manifest: TeacherManifest | None = None
    created_at: Timestamp


class TeacherRecord(Stored):
    """Everything known of a teacher."""

    name: Name
    team: str = "default"
    """Its owner."""
    visibility: Visibility = "shared"
    description: str = ""
    aliases: dict[str, int] = Field(default_factory=dict)
    versions: tuple[TeacherVersion, ...] = ()
    revision: int = 0
    """Rises by one with every change."""
    applied_id: str = "0-0"
    """The newest inbox entry that is part of this record."""
    created_at: Timestamp
    updated_at: Timestamp

    def is_visible_to(self, team: str) -> bool:
        """Whether the team may know of it."""
        return self.visibility == "shared" or self.team == team


class ResolvedTeacher(Stored):
    """A teacher as a job holds it: the alias is resolved when the job is created, and never again."""

    name: Name
    version: int
    digest: Digest
    weight: float
    manifest: TeacherManifest

    @property
    def reference(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"
