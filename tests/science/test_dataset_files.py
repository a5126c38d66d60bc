"""Data sets from files of the user's own: what is read, and what is refused."""

import io
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from distill.contracts.datasets import DatasetSpec
from distill.contracts.errors import InvalidData, InvalidSpec
from distill.contracts.job import TrainingSpec
from distill.contracts.models import TokensInput, VectorInput, ZooModel
from distill.science.datasets import check_batch, check_labels, load
from distill.science.models import build

IMAGES = np.arange(20 * 1 * 4 * 4, dtype=np.uint8).reshape(20, 1, 4, 4)
LABELS = np.arange(20) % 2


def a_spec(**fields):
    return TypeAdapter(DatasetSpec).validate_python(fields)


def npz(settings, name="train.npz", **arrays):
    np.savez(settings.data_root / name, **arrays)
    return a_spec(source="npz", train=name)


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    return out.getvalue()


def test_digits_are_scikit_learns_and_every_fifth_row_is_test_data(settings):
    data = load(a_spec(source="digits"), settings)

    theirs = load_digits()
    assert data.test_labels.tolist() == theirs.target[4::5].tolist()
    assert torch.equal(data.test_inputs[:, 0], torch.from_numpy((theirs.images[4::5] * 255 / 16).round()).byte())
    assert (data.facts.num_rows, data.facts.num_test, len(data.facts.classes)) == (1438, 359, 10)


def test_mean_and_spread_are_of_the_training_rows_alone(settings):
    data = load(a_spec(source="digits", rows={"stop": 500}), settings)

    pixels = data.inputs[data.train_rows].numpy() / 255
    assert data.input.mean == pytest.approx((pixels.mean(),), rel=1e-5)
    assert data.input.std == pytest.approx((pixels.std(),), rel=1e-5)


def test_npz_images_are_read_as_they_are_and_a_tenth_is_tested_on(settings):
    data = load(npz(settings, inputs=IMAGES, labels=LABELS), settings)

    assert (len(data.inputs), len(data.test_inputs)) == (18, 2)
    everything = torch.cat([data.inputs, data.test_inputs]).flatten(1).tolist()
    assert sorted(everything) == sorted(IMAGES.reshape(20, -1).tolist())
    assert data.facts.classes == ("0", "1")


def test_grey_images_without_a_channel_axis_get_one(settings):
    data = load(npz(settings, inputs=IMAGES[:, 0], labels=LABELS), settings)

    assert data.inputs.shape == (18, 1, 4, 4)


def test_float_arrays_are_vectors_and_a_constant_feature_is_not_divided_by_zero(settings):
    vectors = np.stack([np.linspace(-1, 1, 20), np.full(20, 7.0)], axis=1)

    data = load(npz(settings, inputs=vectors, labels=LABELS), settings)

    assert isinstance(data.input, VectorInput)
    assert data.inputs.dtype == torch.float32
    assert data.input.mean[1] == 7.0
    assert data.input.std[1] == 1.0


def test_a_constant_of_many_digits_is_normalised_to_zero(settings):
    vectors = np.stack([np.linspace(-1, 1, 20), np.full(20, 123_456_792.0)], axis=1)

    data = load(npz(settings, inputs=vectors, labels=LABELS), settings)
    model = build(ZooModel(name="mlp"), input=data.input, num_classes=2)

    assert model.normalise(data.inputs)[:, 1].abs().max() < 1e-3


def test_the_widest_floats_are_vectors_too(settings):
    vectors = np.linspace(-1, 1, 60, dtype=np.longdouble).reshape(20, 3)

    data = load(npz(settings, inputs=vectors, labels=LABELS), settings)

    assert data.inputs[0].tolist() == pytest.approx([-1, -57 / 59, -55 / 59])


@pytest.mark.parametrize(("kind", "read_as"), [(torch.uint16, torch.int64), (torch.float8_e4m3fn, torch.float32)])
def test_safetensors_hold_numbers_of_any_width(settings, kind, read_as):
    rows = torch.arange(60).reshape(20, 3)
    save_file({"inputs": rows.to(kind), "labels": torch.from_numpy(LABELS)}, settings.data_root / "narrow.safetensors")

    data = load(a_spec(source="safetensors", train="narrow.safetensors"), settings)

    assert data.inputs.dtype == read_as
    assert data.inputs[0].tolist() == [0, 1, 2]


def test_integer_arrays_are_tokens_and_the_vocabulary_holds_the_test_rows_too(settings):
    tokens = np.ones((20, 6), dtype=np.uint16)
    np.savez(settings.data_root / "test.npz", inputs=tokens[:2] * 41, labels=LABELS[:2])
    spec = npz(settings, inputs=tokens, labels=LABELS).model_copy(update={"test": "test.npz"})

    data = load(spec, settings)

    assert data.input == TokensInput(length=6, vocabulary=42)
    assert data.inputs.dtype == torch.int64


def test_safetensors_hold_the_same_data_with_the_same_digest(settings):
    tensors = {"inputs": torch.from_numpy(IMAGES), "labels": torch.from_numpy(LABELS)}
    save_file(tensors, settings.data_root / "train.safetensors")

    theirs = load(a_spec(source="safetensors", train="train.safetensors"), settings)

    assert theirs.facts.digest == load(npz(settings, inputs=IMAGES, labels=LABELS), settings).facts.digest


def test_the_digest_is_of_the_content_and_remembered(settings):
    spec = npz(settings, inputs=IMAGES, labels=LABELS)
    first, again = load(spec, settings).facts.digest, load(spec, settings).facts.digest
    changed = load(npz(settings, inputs=IMAGES + 1, labels=LABELS), settings).facts.digest

    assert first == again != changed
    assert len(list((settings.cache / "digests").iterdir())) == 2


def test_an_image_folder_is_a_class_a_folder(settings):
    for name, level in (("cat", 10), ("dog", 200)):
        (settings.data_root / "pets" / name).mkdir(parents=True)
        for number in range(10):
            (settings.data_root / "pets" / name / f"{number}.png").write_bytes(
                png(np.full((6, 6, 3), level + number, dtype=np.uint8))
            )

    data = load(a_spec(source="image-folder", train="pets", size=(4, 4), channels=1), settings)

    assert data.facts.classes == ("cat", "dog")
    assert data.inputs.shape == (18, 1, 4, 4)
    assert torch.equal((data.inputs[:, 0, 0, 0] >= 200).long(), data.labels)


def test_a_torn_image_is_named(settings):
    for name in ("cat", "dog"):
        (settings.data_root / "pets" / name).mkdir(parents=True)
        (settings.data_root / "pets" / name / "0.png").write_bytes(png(np.zeros((6, 6), dtype=np.uint8)))
    (settings.data_root / "pets" / "dog" / "1.png").write_bytes(png(np.zeros((60, 60), dtype=np.uint8))[:-30])

    with pytest.raises(InvalidData, match=r"dog/1\.png is torn"):
        load(a_spec(source="image-folder", train="pets"), settings)


def test_sixteen_bits_of_grey_are_read_by_their_high_byte_not_clipped(settings):
    levels = np.array([[0, 255, 256], [4096, 32768, 65535]], dtype=np.uint16)
    for name in ("cat", "dog"):
        (settings.data_root / "scans" / name).mkdir(parents=True)
        for number in range(2):
            (settings.data_root / "scans" / name / f"{number}.png").write_bytes(png(levels))

    data = load(a_spec(source="image-folder", train="scans", size=(2, 3), channels=1), settings)

    assert data.inputs[0, 0].tolist() == [[0, 0, 1], [16, 128, 255]]


@pytest.mark.parametrize("kind", [pa.uint8(), pa.int32(), pa.uint64()])
def test_parquet_labels_are_integers_of_any_kind_and_an_empty_one_means_none(settings, kind):
    vectors = np.linspace(0, 1, 60).reshape(20, 3).tolist()
    table = pa.table({"inputs": vectors, "labels": pa.array([*LABELS[:19].tolist(), None], type=kind)})
    pq.write_table(table, settings.data_root / "labels.parquet")

    data = load(a_spec(source="parquet", train="labels.parquet"), settings)

    assert data.labels[-1] == -1
    assert sorted(torch.cat([data.labels, data.test_labels]).tolist()) == sorted([-1, *LABELS[:19].tolist()])


def test_parquet_images_are_colour_where_one_of_them_is(settings):
    grey, colour = np.zeros((4, 4), dtype=np.uint8), np.full((4, 4, 3), (200, 0, 0), dtype=np.uint8)
    table = pa.table({"inputs": [png(grey), *[png(colour)] * 19], "labels": LABELS})
    pq.write_table(table, settings.data_root / "mixed.parquet")

    data = load(a_spec(source="parquet", train="mixed.parquet"), settings)

    assert data.inputs.shape == (18, 3, 4, 4)
    assert data.inputs[-1, :, 0, 0].tolist() == [200, 0, 0]


def test_parquet_holds_vectors_or_encoded_images(settings):
    labels = pa.array([*LABELS[:19], None])
    vectors = pa.array(np.linspace(0, 1, 60).reshape(20, 3).tolist())
    encoded = pa.array([{"bytes": png(image[0]), "path": None} for image in IMAGES])
    for name, inputs in (("vectors", vectors), ("images", encoded)):
        pq.write_table(pa.table({"x": inputs, "labels": labels}), settings.data_root / f"{name}.parquet")

    vector_data, image_data = (
        load(a_spec(source="parquet", train=f"{name}.parquet", input_column="x"), settings)
        for name in ("vectors", "images")
    )

    assert vector_data.inputs[-1].tolist() == pytest.approx([57 / 59, 58 / 59, 1.0])
    assert vector_data.labels[-1] == -1
    assert image_data.inputs[-1].tolist() == IMAGES[-1].tolist()


def test_a_float_that_no_float32_holds_is_refused_in_parquet_too(settings):
    pq.write_table(pa.table({"inputs": [[1e39], [0.0]], "labels": [0, 1]}), settings.data_root / "wide.parquet")

    with pytest.raises(InvalidData, match="not finite"):
        load(a_spec(source="parquet", train="wide.parquet"), settings)


def test_ragged_lists_are_refused(settings):
    pq.write_table(pa.table({"inputs": [[1, 2], [3]], "labels": [0, 1]}), settings.data_root / "ragged.parquet")

    with pytest.raises(InvalidData, match="one length"):
        load(a_spec(source="parquet", train="ragged.parquet"), settings)


@pytest.mark.parametrize("path", ["../outside.npz", "link.npz", "{outside}"])
def test_a_path_that_leads_out_of_the_data_root_is_refused(settings, path):
    outside = settings.data_root.parent / "outside.npz"
    np.savez(outside, inputs=IMAGES, labels=LABELS)
    (settings.data_root / "link.npz").symlink_to(outside)

    with pytest.raises(InvalidData, match="leads out of the data root") as refused:
        load(a_spec(source="npz", train=path.format(outside=outside)), settings)

    assert refused.value.details["field"] == "dataset.train"


def test_an_image_that_is_a_link_out_of_the_data_root_is_refused(settings):
    (settings.data_root.parent / "secret.png").write_bytes(png(np.zeros((6, 6), dtype=np.uint8)))
    for name in ("cat", "dog"):
        (settings.data_root / "pets" / name).mkdir(parents=True)
        (settings.data_root / "pets" / name / "0.png").symlink_to(settings.data_root.parent / "secret.png")

    with pytest.raises(InvalidData, match="leads out of the data root"):
        load(a_spec(source="image-folder", train="pets"), settings)


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"inputs": IMAGES.astype(np.float32), "labels": LABELS}, r"no model takes such inputs: .* float32"),
        ({"inputs": IMAGES, "labels": LABELS[:19]}, "expected 20 labels, got 19 labels"),
        ({"inputs": IMAGES, "labels": np.where(np.arange(20) == 5, -2, LABELS)}, r"a label is out of range.* got -2"),
        ({"inputs": IMAGES, "labels": LABELS.astype(np.float32)}, "one integer a row"),
        ({"images": IMAGES, "labels": LABELS}, "no array 'inputs': expected inputs, got images, labels"),
        ({"inputs": IMAGES[:0], "labels": LABELS[:0]}, "no rows"),
        ({"inputs": np.array([{}] * 20), "labels": LABELS}, "not an .npz file of plain arrays"),
        ({"inputs": np.array(["a"] * 20), "labels": LABELS}, "holds no numbers"),
        ({"inputs": np.full((20, 3), np.nan), "labels": LABELS}, "not finite"),
        ({"inputs": np.full((20, 3), 1e39), "labels": LABELS}, "not finite"),
        ({"inputs": IMAGES, "labels": LABELS + 10**9}, "a label is no class number"),
        ({"inputs": IMAGES, "labels": LABELS * 0}, "two classes or more"),
        ({"inputs": IMAGES}, "name a test file"),
    ],
)
def test_arrays_that_can_not_be_learned_from_are_refused(settings, arrays, complaint):
    with pytest.raises(InvalidData, match=complaint):
        load(npz(settings, **arrays), settings)


def test_a_label_beyond_the_named_classes_is_refused(settings):
    spec = npz(settings, inputs=IMAGES, labels=LABELS * 2).model_copy(update={"classes": ("a", "b")})

    with pytest.raises(InvalidData, match="expected 0 to 1, or -1 for none, got 2"):
        load(spec, settings)


@pytest.mark.parametrize("source", ["npz", "safetensors", "parquet"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"no such format at all"])
def test_a_file_of_another_format_or_a_torn_one_is_refused(settings, source, content):
    (settings.data_root / "train").write_bytes(content)

    with pytest.raises(InvalidData, match="'train' is torn, or not a") as refused:
        load(a_spec(source=source, train="train"), settings)

    assert refused.value.details["field"] == "dataset.train"


def test_a_truncated_npz_is_refused(settings):
    spec = npz(settings, inputs=IMAGES, labels=LABELS)
    file = settings.data_root / "train.npz"
    file.write_bytes(file.read_bytes()[:300])

    with pytest.raises(InvalidData, match="torn"):
        load(spec, settings)


def test_an_npz_whose_member_is_no_array_is_refused(settings):
    with zipfile.ZipFile(settings.data_root / "train.npz", "w") as archive:
        archive.writestr("inputs.npy", b"no array")

    with pytest.raises(InvalidData, match="torn, or not an"):
        load(a_spec(source="npz", train="train.npz"), settings)


def test_an_npz_packed_in_a_way_that_nobody_reads_is_refused(settings):
    spec = npz(settings, inputs=IMAGES, labels=LABELS)
    file = settings.data_root / "train.npz"
    content = bytearray(file.read_bytes())
    for signature, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(signature) + place] = 99  # the method of the first member, in both of its headers
    file.write_bytes(content)

    with pytest.raises(InvalidData, match="torn, or not an"):
        load(spec, settings)


def test_a_file_that_is_not_there_is_named(settings):
    with pytest.raises(InvalidData, match=r"there is no 'gone\.npz' below the data root"):
        load(a_spec(source="npz", train="gone.npz"), settings)


def test_a_batch_larger_than_the_data_is_refused(settings):
    facts = load(npz(settings, inputs=IMAGES, labels=LABELS), settings).facts

    check_batch(facts, TrainingSpec(batch_size=16))
    with pytest.raises(InvalidSpec) as refused:
        check_batch(facts, TrainingSpec(batch_size=17))
    assert refused.value.details == {"field": "training.batch_size", "expected": "at most 16", "got": "17"}


def test_data_without_labels_teaches_nothing_without_a_teacher(settings):
    np.savez(settings.data_root / "test.npz", inputs=IMAGES, labels=LABELS)
    data = load(npz(settings, inputs=IMAGES).model_copy(update={"test": "test.npz"}), settings)

    assert (data.facts.num_train, data.facts.num_labelled) == (18, 0)
    check_labels(data.facts, has_teachers=True)
    with pytest.raises(InvalidSpec, match="needs labels"):
        check_labels(data.facts, has_teachers=False)
