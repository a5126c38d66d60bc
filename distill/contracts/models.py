"""What a model is: its architecture, and the input that it takes."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from distill.contracts.base import Digest, InWords, Name, Spec

ZooName = Literal[
    "mlp", "cnn",
    "resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet8x4", "resnet32x4",
    "wrn-16-1", "wrn-16-2", "wrn-28-2", "wrn-40-1", "wrn-40-2",
    "efficientnet-lite0", "text-cnn",
]  # fmt: skip


class ZooArgs(Spec):
    """Sizes of a zoo model; what is left out keeps the published size."""

    width: int | None = Field(default=None, ge=1, le=4096)
    """Channels of the first stage (cnn, resnet*, wrn-*, efficientnet-lite0), or of embeddings and maps (text-cnn)."""
    hidden: tuple[Annotated[int, Field(ge=1, le=65536)], ...] | None = Field(default=None, min_length=1, max_length=16)
    """Units of the hidden layers (mlp)."""
    dropout: float = Field(default=0.0, ge=0, lt=1)


class ZooModel(Spec):
    """A model of our own zoo, in plain torch."""

    source: Literal["zoo"] = "zoo"
    name: ZooName
    args: ZooArgs = ZooArgs()

    @model_validator(mode="after")
    def _args_fit_the_name(self) -> Self:
        if self.name == "mlp" and self.args.width is not None:
            raise ValueError("an mlp has no 'width'; give 'hidden', a list of layer sizes")
        if self.name != "mlp" and self.args.hidden is not None:
            raise ValueError(f"a {self.name} has no 'hidden'; give 'width', the channels of its first stage")
        return self


class TransformersModel(Spec):
    """A model of the transformers library, from a configuration alone: never a download."""

    source: Literal["transformers"]
    model_type: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,64}$")]
    """Such as ``vit``, ``bert`` or ``resnet``."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Overrides of that model type's default configuration."""


ImportPath = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$", max_length=256
    ),
    InWords("expected package.module:name, such as 'ours.nets:small'"),
]


class PluginModel(Spec):
    """A model of the operator's own: a factory ``(input, num_classes, **args)`` that the node's settings list."""

    source: Literal["plugin"]
    import_path: ImportPath = Field(alias="import")
    """``package.module:name``, installed on every node and listed in ``STILLHOUSE_PLUGINS``."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the factory."""


ModelSpec = Annotated[ZooModel | TransformersModel | PluginModel, Field(discriminator="source")]

MAX_ROW_VALUES = 2**24
"""A window of one row must fit into what a teacher takes."""
MAX_VOCABULARY = 2**24


class ImageInput(Spec):
    """uint8 images (N, channels, height, width); the model normalises: (pixel / 255 - mean) / std."""

    kind: Literal["image"] = "image"
    channels: int = Field(ge=1, le=MAX_ROW_VALUES)
    height: int = Field(ge=1, le=MAX_ROW_VALUES)
    width: int = Field(ge=1, le=MAX_ROW_VALUES)
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @model_validator(mode="after")
    def _a_row_can_be_sent(self) -> Self:
        if (pixels := self.channels * self.height * self.width) > MAX_ROW_VALUES:
            raise ValueError(f"an image of {pixels:,} numbers is more than a teacher takes: at most {MAX_ROW_VALUES:,}")
        return self


class VectorInput(Spec):
    """float32 vectors (N, features); the model normalises: (value - mean) / std."""

    kind: Literal["vector"] = "vector"
    features: int = Field(ge=1, le=MAX_ROW_VALUES)
    mean: tuple[float, ...]
    std: tuple[float, ...]


class TokensInput(Spec):
    """int64 token ids (N, length), padded with ``pad_id``."""

    kind: Literal["tokens"] = "tokens"
    length: int = Field(ge=1, le=MAX_ROW_VALUES)
    vocabulary: int = Field(ge=1, le=MAX_VOCABULARY)
    pad_id: int = 0
    tokenizer: Digest | None = None
    """Of the tokenizer, where it is known: ids of another mean other words."""


InputSpec = Annotated[ImageInput | VectorInput | TokensInput, Field(discriminator="kind")]


class HeadsSpec(Spec):
    """Several heads that are aggregated to one answer: a student that mimics each member on its own."""

    weights: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    """One a head: how much it counts."""
    aggregate: Literal["mean_probability", "mean_logit"]


class ModelCard(Spec):
    """What lies beside a weights file as ``model.json``: all that is needed to build the model again."""

    model: ModelSpec
    heads: HeadsSpec | None = None
    """Left out: one head."""
    input: InputSpec
    classes: tuple[str, ...]
    weights_digest: Digest
    """Of the safetensors file."""


class JobWeights(Spec):
    """The weights that a finished job left."""

    source: Literal["job"]
    job: Name


class FileWeights(Spec):
    """A safetensors file inside the data root."""

    source: Literal["file"]
    path: str = Field(min_length=1, max_length=1024)


WeightsRef = Annotated[JobWeights | FileWeights, Field(discriminator="source")]


class FolderWeights(Spec):
    """A folder in the data root as the transformers library's ``save_pretrained`` writes it: configuration and weights."""

    source: Literal["folder"]
    path: str = Field(min_length=1, max_length=1024)
    fresh_head: bool = False
    """Take the body alone: the head stays random, whatever the folder has of it, and a pooler that it lacks too."""


TransformersWeightsRef = Annotated[JobWeights | FileWeights | FolderWeights, Field(discriminator="source")]
