"""Which data a job learns from: the source, the rows, the labels, what is held back."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from distill.contracts.base import Spec

Path = Annotated[str, Field(min_length=1, max_length=1024)]
"""Below the data root; ``..`` and links that leave it are refused."""


Seed = Annotated[int, Field(ge=0, lt=2**63)]


class FashionMnist(Spec):
    """60,000 + 10,000 grey images of clothes, 28 x 28, 10 classes (Xiao, Rasul, Vollgraf, 2017)."""

    source: Literal["fashion-mnist"]


class Digits(Spec):
    """scikit-learn's 1,797 grey images of handwritten digits, 8 x 8, 10 classes; every fifth row is test data."""

    source: Literal["digits"]


class ArrayFiles(Spec):
    """Arrays in ``.npz`` or safetensors files: one of inputs, and one of labels if there are any.

    uint8 inputs (N, C, H, W) or (N, H, W) are images, float inputs (N, F) vectors, integer inputs (N, L) token ids.
    """

    source: Literal["npz", "safetensors"]
    train: Path
    test: Path | None = None
    """Left out: a seeded tenth of the rows of ``train``."""
    input_array: str = "inputs"
    label_array: str = "labels"
    """Integer class numbers; -1 where a row has no label."""
    classes: tuple[str, ...] | None = None
    """Class names in order; left out: ``0``, ``1``, ..."""


class ImageFolder(Spec):
    """One folder a class, PNG or JPEG files in it; all are resized to ``size``."""

    source: Literal["image-folder"]
    train: Path
    test: Path | None = None
    size: tuple[Annotated[int, Field(ge=1, le=4096)], Annotated[int, Field(ge=1, le=4096)]] = (32, 32)
    """Height, width."""
    channels: Literal[1, 3] = 3


class Parquet(Spec):
    """A Parquet file with a column of inputs (lists of numbers, or encoded images as bytes) and one of labels."""

    source: Literal["parquet"]
    train: Path
    test: Path | None = None
    input_column: str = "inputs"
    label_column: str = "labels"
    classes: tuple[str, ...] | None = None


class Tabular(Spec):
    """One of scikit-learn's bundled classification sets as float32 vectors; every fifth row is test data.

    Rows stand as they do there, in iris and wine class after class: a range of ``rows`` may miss a class.
    """

    source: Literal["sklearn"]
    name: Literal["iris", "wine", "breast-cancer", "digits"]
    """150 x 4 in 3 classes, 178 x 13 in 3, 569 x 30 in 2, 1,797 x 64 in 10."""


class TextFiles(Spec):
    """Sentences in ``.csv``, ``.tsv`` or ``.jsonl`` files with a column of texts and one of labels.

    A tokenizer turns each text into ``length`` token ids: what is longer is cut, what is shorter is padded at its end.
    """

    source: Literal["text"]
    train: Path
    test: Path | None = None
    """Left out: a seeded tenth of the rows of ``train``."""
    tokenizer: Path
    """A folder with a ``tokenizer.json``, as ``save_pretrained`` of the tokenizers and transformers libraries writes it."""
    length: int = Field(default=128, ge=1, le=65536)
    text_column: str = "text"
    label_column: str = "label"
    """Names of ``classes`` where these are given, else class numbers; empty, -1 or null where a row has no label."""
    classes: tuple[str, ...] | None = None
    """Class names in order; left out: ``0``, ``1``, ..."""


class Rows(Spec):
    """Rows ``start`` to ``stop`` (excluded) of the training split."""

    start: int = Field(default=0, ge=0)
    stop: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.stop is not None and self.stop <= self.start:
            raise ValueError(f"rows {self.start} to {self.stop} are none: 'stop' must be greater than 'start'")
        return self


class AllLabels(Spec):
    """Every label that the data has."""

    kind: Literal["all"] = "all"


class NoLabels(Spec):
    """No label is used: a transfer set without labels."""

    kind: Literal["none"]


class CountLabels(Spec):
    """``count`` labels, as even over the classes as can be, drawn by ``seed``: the same rows for all who ask so."""

    kind: Literal["count"]
    count: int = Field(ge=1)
    seed: Seed = 0


Labels = Annotated[AllLabels | NoLabels | CountLabels, Field(discriminator="kind")]


class Holdout(Spec):
    """A seeded share of the rows, taken before labels are drawn; nobody trains on it."""

    fraction: float = Field(default=0.1, gt=0, lt=1)
    seed: Seed = 0


class NoAugmentation(Spec):
    """Rows as they are."""

    policy: Literal["none"] = "none"


class CropFlip(Spec):
    """Images padded by an eighth and cropped back, and mirrored at random: parameters are a hash of (seed, row, view)."""

    policy: Literal["crop-flip"]
    views: int = Field(default=1, ge=1, le=1024)
    """Pass p over the rows shows view p mod ``views``; with teachers an epoch is one pass."""
    flip: bool = True
    seed: Seed = 0


Augmentation = Annotated[NoAugmentation | CropFlip, Field(discriminator="policy")]


FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DIGITS_CLASSES = tuple("0123456789")
TABULAR_CLASSES = {
    "iris": ("setosa", "versicolor", "virginica"),
    "wine": ("class_0", "class_1", "class_2"),
    "breast-cancer": ("malignant", "benign"),
    "digits": DIGITS_CLASSES,
}


class _Use(Spec):
    rows: Rows = Rows()
    labels: Labels = AllLabels()
    validation: Holdout = Holdout()
    augmentation: Augmentation = NoAugmentation()

    @property
    def known_classes(self) -> tuple[str, ...] | None:
        """Class names in order, where they are known before the data is read."""
        return None

    @property
    def own_paths(self) -> dict[str, str]:
        """Field -> path, of the user's files and folders that it reads."""
        return {}


class FashionMnistData(FashionMnist, _Use):
    """Fashion-MNIST, and the part of it that is used."""

    @property
    def known_classes(self) -> tuple[str, ...]:
        """Its ten kinds of clothes."""
        return FASHION_MNIST_CLASSES


class DigitsData(Digits, _Use):
    """Digits, and the part of them that is used."""

    @property
    def known_classes(self) -> tuple[str, ...]:
        """0 to 9."""
        return DIGITS_CLASSES


class ArrayData(ArrayFiles, _Use):
    """The user's arrays, and the part of them that is used."""

    @property
    def known_classes(self) -> tuple[str, ...] | None:
        """What the job file says."""
        return self.classes

    @property
    def own_paths(self) -> dict[str, str]:
        """Its splits."""
        return _given(train=self.train, test=self.test)


class ImageFolderData(ImageFolder, _Use):
    """The user's image folder, and the part of it that is used."""

    @property
    def own_paths(self) -> dict[str, str]:
        """Its splits."""
        return _given(train=self.train, test=self.test)


class ParquetData(Parquet, _Use):
    """The user's Parquet file, and the part of it that is used."""

    @property
    def known_classes(self) -> tuple[str, ...] | None:
        """What the job file says."""
        return self.classes

    @property
    def own_paths(self) -> dict[str, str]:
        """Its splits."""
        return _given(train=self.train, test=self.test)


class TabularData(Tabular, _Use):
    """A bundled set, and the part of it that is used."""

    @property
    def known_classes(self) -> tuple[str, ...]:
        """As scikit-learn names them."""
        return TABULAR_CLASSES[self.name]


class TextData(TextFiles, _Use):
    """The user's texts, and the part of them that is used."""

    @property
    def known_classes(self) -> tuple[str, ...] | None:
        """What the job file says."""
        return self.classes

    @property
    def own_paths(self) -> dict[str, str]:
        """Its tokenizer and its splits."""
        return _given(tokenizer=self.tokenizer, train=self.train, test=self.test)


def _given(**paths: str | None) -> dict[str, str]:
    return {field: path for field, path in paths.items() if path is not None}


DatasetSpec = Annotated[
    FashionMnistData | DigitsData | TabularData | ArrayData | ImageFolderData | ParquetData | TextData,
    Field(discriminator="source"),
]


class DatasetFacts(Spec):
    """What loading the data showed: goes into records, lineage and reports."""

    source: str
    digest: str
    """Of the decoded training inputs and labels."""
    num_rows: int
    """Rows of the training split as loaded, before ``rows`` is applied."""
    rows_start: int
    rows_stop: int
    num_train: int
    """Rows that may be trained on."""
    num_labelled: int
    """Of these, how many labels are used."""
    num_validation: int
    num_test: int
    classes: tuple[str, ...]
