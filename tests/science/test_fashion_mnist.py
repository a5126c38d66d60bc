"""Fashion-MNIST from a folder that the operator names, in tiny; nothing here needs a network."""

import gzip
import hashlib

import numpy as np
import pytest

from distill.contracts.datasets import FashionMnistData
from distill.contracts.errors import InvalidData
from distill.science.datasets import fashion_mnist, load
from distill.science.datasets.idx import read_idx

SPEC = FashionMnistData(source="fashion-mnist")
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (30, 28, 28), dtype=np.uint8), np.arange(30, dtype=np.uint8) % 10


def idx(array):
    axes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return b"\x00\x00\x08" + bytes([array.ndim]) + axes + array.tobytes()


@pytest.fixture
def named(settings, tmp_path):
    folder = tmp_path / "idx"
    folder.mkdir()
    for split, rows in (("train", slice(0, 20)), ("t10k", slice(20, 30))):
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(IMAGES[rows])))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(idx(LABELS[rows]))
    return settings.model_copy(update={"fashion_mnist": folder})


def test_a_named_folder_is_taken_as_it_is_gzipped_or_not(named):
    data = load(SPEC, named)

    assert data.inputs.shape == (20, 1, 28, 28)
    assert np.array_equal(data.inputs[:, 0], IMAGES[:20])
    assert data.test_labels.tolist() == LABELS[20:].tolist()
    assert data.facts.classes[9] == "Ankle boot"


def test_the_digest_is_of_shapes_types_and_bytes(named):
    expected = hashlib.sha256(
        b"uint8 [20, 1, 28, 28]\n" + IMAGES[:20].tobytes() + b"int64 [20]\n" + LABELS[:20].astype("<i8").tobytes()
    )

    assert load(SPEC, named).facts.digest == f"sha256:{expected.hexdigest()}"


def test_a_named_folder_without_the_files_says_which(named):
    (named.fashion_mnist / "t10k-labels-idx1-ubyte").unlink()

    assert not fashion_mnist.is_available(named)
    with pytest.raises(InvalidData, match="missing: t10k-labels-idx1-ubyte"):
        load(SPEC, named)


def test_a_torn_file_is_refused(named):
    file = named.fashion_mnist / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:1000])

    with pytest.raises(InvalidData, match=r"train-images-idx3-ubyte\.gz can't be read, or is torn"):
        load(SPEC, named)


def test_an_idx_file_of_the_wrong_length_is_refused(tmp_path):
    (tmp_path / "short").write_bytes(idx(IMAGES)[:-1])
    (tmp_path / "other").write_bytes(b"not idx at all")

    with pytest.raises(InvalidData, match="short is torn: expected 23520 bytes"):
        read_idx(tmp_path / "short", field="dataset.source")
    with pytest.raises(InvalidData, match="other is not an IDX file"):
        read_idx(tmp_path / "other", field="dataset.source")


def test_a_cached_copy_that_is_not_the_published_data_is_refused(named, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", named.cache / "not-installed")  # it would come before the cache
    named.cache.mkdir()
    named.fashion_mnist.rename(named.cache / "fashion-mnist")
    fetched = named.model_copy(update={"fashion_mnist": None})

    assert fashion_mnist.is_available(fetched)
    with pytest.raises(InvalidData, match="is not the published file; delete it"):
        load(SPEC, fetched)
