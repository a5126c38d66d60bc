"""Data that are none: bombs, objects, lies about shapes; and folders of models and tokenizers that bring code."""

import gzip
import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.corpus import HostileFile, evil, honest_safetensors, safetensors_of, sparse

NPZ = {"source": "npz"}
TENSORS = {"source": "safetensors"}
PARQUET = {"source": "parquet"}
IMAGES = {"source": "image-folder", "size": [8, 8]}
TEXT = {"source": "text", "tokenizer": "tokenizer", "length": 8}
ROWS = np.arange(64, dtype=np.float32).reshape(16, 4)
LABELS = np.arange(16) % 2


def npz(**members: bytes) -> Callable[[Path], object]:
    """A zip of these members."""

    def lay(at: Path) -> None:
        with zipfile.ZipFile(at / "given", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(f"{name}.npy", content)

    return lay


def npy(array: np.ndarray[Any, Any]) -> bytes:
    """An honest member."""
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npy_header(description: str, data: bytes = b"") -> bytes:
    """A member with this header."""
    text = description.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


def claims(shape: str, descr: str = "'<f4'") -> bytes:
    """A member that claims a shape, and holds eight bytes."""
    return npy_header(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}", bytes(8))


def npz_bomb(at: Path) -> None:
    """1 GiB of zeros in a megabyte."""
    with zipfile.ZipFile(at / "given", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("inputs.npy", "w") as member:
        member.write(npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (67108864, 4), }"))
        for _ in range(1024):
            member.write(bytes(1 << 20))


def lying_npz(at: Path) -> None:
    """A zip whose directory says that 64 MiB of zeros are ten bytes."""
    npz(inputs=npy(np.zeros((1 << 22, 4), np.float32)))(at)
    content = bytearray((at / "given").read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 24 : place + 28] = struct.pack("<I", 10)
    (at / "given").write_bytes(content)


def object_array(at: Path) -> None:
    """An array of objects: a pickle, which numpy would read if it were let."""
    header = npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")
    npz(inputs=header + evil(at), labels=npy(LABELS))(at)


def object_labels(at: Path) -> None:
    """The same for labels."""
    header = npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")
    npz(inputs=npy(ROWS), labels=header + evil(at))(at)


def object_field(at: Path) -> None:
    """Objects inside a structure."""
    header = npy_header("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }")
    npz(inputs=header + evil(at), labels=npy(LABELS))(at)


def twice(at: Path) -> None:
    """Two members of one name."""
    with zipfile.ZipFile(at / "given", "w") as archive:
        archive.writestr("inputs.npy", npy(ROWS))
        archive.writestr("labels.npy", npy(LABELS))
        archive.writestr("labels", b"another")


def parquet(columns: dict[str, Any], **how: Any) -> Callable[[Path], object]:
    """A file of these columns."""
    return lambda at: pq.write_table(pa.table(columns), at / "given", **how)


def parquet_bomb(at: Path) -> None:
    """64 Mi equal numbers in a few kilobytes."""
    column = pa.array(np.zeros(1 << 20, np.float64))
    batch = pa.FixedSizeListArray.from_arrays(column, 64)
    with pq.ParquetWriter(at / "given", pa.schema([("inputs", batch.type)]), compression="gzip") as writer:
        for _ in range(64):
            writer.write_table(pa.table({"inputs": batch}))


def png(width: int, height: int, pixels: bytes | None = None) -> bytes:
    """A grey PNG that claims this size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    body = zlib.compress(b"\0" * 100 if pixels is None else pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + chunk(
        b"IDAT", body) + chunk(b"IEND", b"")  # fmt: skip


def picture(content: bytes | Callable[[Path], object], name: str = "a.png") -> Callable[[Path], object]:
    """A folder with two classes, one of which has this image."""

    def lay(at: Path) -> None:
        for place, klass in enumerate(("cats", "dogs")):
            (at / "given" / klass).mkdir(parents=True)
            for number in range(4):
                (at / "given" / klass / f"{number}.png").write_bytes(png(8, 8, (b"\0" + bytes([place]) * 8) * 8))
        target = at / "given" / "cats" / name
        if isinstance(content, bytes):
            target.write_bytes(content)
        else:
            content(target)

    return lay


TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 3}, "unk_token": "[UNK]"},
}  # fmt: skip
"""One that is taken."""


def texts(content: str | bytes, tokenizer: str | bytes | None = None, ending: str = ".csv") -> Callable[[Path], object]:
    """A file of texts and a tokenizer beside it."""

    def lay(at: Path) -> None:
        (at / "tokenizer").mkdir()
        (at / f"given{ending}").write_bytes(content if isinstance(content, bytes) else content.encode())
        said = json.dumps(TOKENIZER) if tokenizer is None else tokenizer
        (at / "tokenizer" / "tokenizer.json").write_bytes(said if isinstance(said, bytes) else said.encode())
        (at / "tokenizer" / "tokenizer_config.json").write_text('{"pad_token": "[PAD]"}')

    return lay


LINES = "text,label\n" + "good bad,0\nbad good,1\n" * 10


def csv(what: str, content: str | bytes, **more: Any) -> HostileFile:
    """A CSV file."""
    return HostileFile(what, texts(content, **more), TEXT, "data", "given.csv")


def jsonl(what: str, content: str | bytes) -> HostileFile:
    """A file of JSON lines."""
    return HostileFile(what, texts(content, ending=".jsonl"), TEXT, "data", "given.jsonl")


def linked_tokenizer(at: Path) -> None:
    """Honest texts and tokenizer, which lies outside of the root."""
    texts(LINES)(at)
    (at / "tokenizer").rename(at.parent / "outside-tokenizer")
    (at / "linked").symlink_to(at.parent / "outside-tokenizer")


VIT = {
    "model_type": "vit", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8,
    "image_size": 8, "patch_size": 4, "num_channels": 1,
}  # fmt: skip


def model_folder(config: Any = VIT, **files: bytes | str | Path) -> Callable[[Path], object]:
    """A folder of the transformers library; a Path is linked to, and ``__`` in a name is a dot."""

    def lay(at: Path) -> None:
        there = at / "given"
        there.mkdir()
        (there / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        (there / "modeling.py").write_text(f"import os\nos.mkdir({str(at.parent / 'canary')!r})\n")
        for name, content in files.items():
            file = there / name.replace("__", ".")
            if isinstance(content, Path):
                file.symlink_to(content)
            else:
                file.write_bytes(content.encode() if isinstance(content, str) else content)

    return lay


def folder(what: str, lay: Callable[[Path], object]) -> HostileFile:
    """A folder of the transformers library."""
    return HostileFile(what, lay, {}, "folder")


def pickled_folder(at: Path) -> None:
    """A folder with a pickle for weights."""
    model_folder(VIT, pytorch_model__bin=evil(at))(at)


def disguised_folder(at: Path) -> None:
    """The same, called safetensors."""
    model_folder(VIT, model__safetensors=evil(at))(at)


def shards_elsewhere(at: Path) -> None:
    """An index that names a file outside of the folder."""
    (at / "elsewhere.safetensors").write_bytes(honest_safetensors(a=ROWS))
    index = {"metadata": {}, "weight_map": {"a": "../elsewhere.safetensors"}}
    model_folder(VIT, model__safetensors__index__json=json.dumps(index), b__safetensors=safetensors_of(b"{}"))(at)


def data(what: str, spec: dict[str, Any], lay: Callable[[Path], object], **more: Any) -> HostileFile:
    """A data file."""
    return HostileFile(what, lay, spec, "data", **more)


def raw(content: bytes) -> Callable[[Path], object]:
    """These very bytes."""
    return lambda at: (at / "given").write_bytes(content)


FILES = (
    data("an .npz of objects", NPZ, object_array),
    data("labels that are objects", NPZ, object_labels),
    data("objects in a structure", NPZ, object_field),
    data("a pickle called .npz", NPZ, lambda at: (at / "given").write_bytes(evil(at))),
    data("a gigabyte of zeros in an .npz of a megabyte", NPZ, npz_bomb),
    data("an .npz whose directory lies about sizes", NPZ, lying_npz),
    data("an array of 2^60 rows in eight bytes", NPZ, npz(inputs=claims(f"({1 << 60}, 4)"), labels=npy(LABELS))),
    data("an array whose shape overflows", NPZ, npz(inputs=claims(f"({1 << 70}, 4)"), labels=npy(LABELS))),
    data("an array of a negative shape", NPZ, npz(inputs=claims("(-4, 4)"), labels=npy(LABELS))),
    data("an array of 4 GiB in eight bytes", NPZ, npz(inputs=claims(f"({1 << 28}, 4)"), labels=npy(LABELS))),
    data("an array header that is an expression", NPZ, npz(inputs=claims("(__import__('os').getpid(),)"), labels=npy(LABELS))),
    data("an array header nested deep", NPZ, npz(inputs=claims("(" * 3000), labels=npy(LABELS))),
    data("an array header that claims 4 GiB", NPZ, npz(
        inputs=b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr'", labels=npy(LABELS))),
    data("an array of an unknown type of number", NPZ, npz(inputs=claims("(2,)", "'os.system'"), labels=npy(LABELS))),
    data("an array of texts", NPZ, npz(inputs=npy(np.array(["a"] * 16)), labels=npy(LABELS))),
    data("an array of complex numbers", NPZ, npz(inputs=npy(ROWS.astype(np.complex64)), labels=npy(LABELS))),
    data("two arrays of one name", NPZ, twice),
    data("a member that is no array", NPZ, npz(inputs=b"import os", labels=npy(LABELS))),
    data("labels of 10^18", NPZ, npz(inputs=npy(ROWS), labels=npy(LABELS + 10**18))),
    data("labels below -1", NPZ, npz(inputs=npy(ROWS), labels=npy(LABELS - 5))),
    data("inputs with NaN", NPZ, npz(inputs=npy(np.full((16, 4), np.nan)), labels=npy(LABELS))),
    data("inputs with infinity", NPZ, npz(inputs=npy(np.full((16, 4), np.inf)), labels=npy(LABELS))),
    data("inputs of ten axes", NPZ, npz(inputs=npy(np.zeros((1,) * 10)), labels=npy(LABELS))),
    data("a pipe for data", NPZ, lambda at: os.mkfifo(at / "given")),
    data("a device for data", NPZ, lambda at: (at / "given").symlink_to("/dev/zero")),
    data("a link out of the root", NPZ, lambda at: (at / "given").symlink_to("/etc/passwd")),
    data("a path with dots", NPZ, raw(b""), path="../../etc/passwd"),
    data("a sparse terabyte called .npz", NPZ, lambda at: sparse(at / "given", b"PK\x03\x04", 1 << 40)),
    data("a sparse terabyte of safetensors", TENSORS, lambda at: sparse(at / "given", safetensors_of(json.dumps(
        {"inputs": {"dtype": "U8", "shape": [1 << 20, 1 << 10, 1 << 10], "data_offsets": [0, 1 << 40]}}).encode()), 1 << 40)),
    data("a pickle called safetensors of data", TENSORS, lambda at: (at / "given").write_bytes(evil(at))),
    data("safetensors that overlap", TENSORS, raw(safetensors_of(json.dumps({
        "inputs": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "labels": {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]}}).encode(), bytes(16)))),
    data("64 Mi equal numbers in a small Parquet file", PARQUET, parquet_bomb),
    data("a Parquet file that is cut", PARQUET, lambda at: (
        parquet({"inputs": [[1.0, 2.0]] * 16})(at), (at / "given").write_bytes((at / "given").read_bytes()[:-9]))),
    data("a Parquet footer as long as memory", PARQUET, raw(b"PAR1" + b"\xff\xff\xff\x7fPAR1")),
    data("a Parquet footer of nothing", PARQUET, raw(b"PAR1" + bytes(64) + struct.pack("<I", 64) + b"PAR1")),
    data("a pickle called Parquet", PARQUET, lambda at: (at / "given").write_bytes(evil(at))),
    data("Parquet lists of several lengths", PARQUET, parquet({"inputs": [[1.0], [1.0, 2.0]] * 8})),
    data("Parquet lists of lists", PARQUET, parquet({"inputs": [[[1.0]]] * 16})),
    data("Parquet cells that are pickles", PARQUET, lambda at: parquet({"inputs": [evil(at)] * 16})(at)),
    data("Parquet images of 60,000 x 60,000 pixels", PARQUET, parquet({"inputs": [png(60_000, 60_000)] * 16})),
    data("Parquet images that are large together", PARQUET, parquet({
        "inputs": [png(2000, 2000, (b"\0" + bytes(2000)) * 2000)] * 64, "labels": [0, 1] * 32})),
    data("a Parquet column of negative token ids", PARQUET, parquet({"inputs": [[-1, -2]] * 16})),
    data("an image of 60,000 x 60,000 pixels", IMAGES, picture(png(60_000, 60_000))),
    data("an image of 12,000 x 12,000 pixels", IMAGES, picture(png(12_000, 12_000))),
    data("an image of no pixels", IMAGES, picture(png(0, 0))),
    data("an image that is cut", IMAGES, picture(png(8, 8)[:40])),
    data("a pickle called .png", IMAGES, picture(lambda target: target.write_bytes(evil(target.parents[2])))),
    data("an SVG with an entity bomb, called .png", IMAGES, picture(
        b'<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><svg>&b;</svg>')),
    data("a PostScript program called .png", IMAGES, picture(b"%!PS-Adobe-3.0 EPSF-3.0\n(x) (w) file\n")),
    data("an image that is a link out of the root", IMAGES, picture(lambda target: target.symlink_to("/etc/passwd"))),
    data("an image that is a pipe", IMAGES, picture(os.mkfifo)),
    data("an image that is a device", IMAGES, picture(lambda target: target.symlink_to("/dev/zero"))),
    data("images that are resized to 4 GB", IMAGES | {"size": [4096, 4096]}, picture(png(8, 8, (b"\0" + bytes(8)) * 8))),
    csv("texts that are not UTF-8", b"text,label\n\xff\xfe,0\n"),
    csv("a text of a megabyte in one cell", "text,label\n" + "a" * (1 << 20) + ",0\n"),
    csv("a quote that never ends", LINES + '"good,0\n'),
    csv("a NUL among the texts", "text,label\ngood\x00bad,0\ngood,1\n", ),
    csv("rows of a thousand cells", "text,label\n" + "good," * 1000 + "0\n"),
    csv("a label of 5,000 digits", "text,label\ngood," + "9" * 5000 + "\nbad,1\n"),
    csv("a label of 30 digits", "text,label\ngood," + "9" * 30 + "\nbad,1\n"),
    csv("a label that is an expression", "text,label\ngood,__import__('os')\n"),
    csv("texts that take too much as token ids", LINES.replace("good bad", "good") + "good,0\n" * 200_000),
    jsonl("a line nested ten thousand deep", '{"text": ' + "[" * 10_000 + "\n"),
    jsonl("a line with a number of 10,000 digits", '{"text": "good", "label": ' + "9" * 10_000 + "}\n"),
    jsonl("a line that is a list", "[1, 2]\n"),
    jsonl("a line with NaN for a label", '{"text": "good", "label": NaN}\n'),
    csv("a tokenizer that is a pickle", LINES, tokenizer=b"\x80\x04cos\nsystem\n."),
    csv("a tokenizer that is no JSON", LINES, tokenizer="import os"),
    csv("a tokenizer nested ten thousand deep", LINES, tokenizer="[" * 10_000),
    csv("a tokenizer with an id of 2^40", LINES, tokenizer=json.dumps(TOKENIZER).replace('"bad": 3', f'"bad": {1 << 40}')),
    csv("a tokenizer without a vocabulary", LINES, tokenizer=json.dumps(TOKENIZER | {"model": {"type": "WordLevel"}})),
    data("a tokenizer that is a link out of the root", TEXT | {"tokenizer": "linked"}, linked_tokenizer, path="given.csv"),
    csv("a tokenizer that names code", LINES, tokenizer=json.dumps(TOKENIZER | {"pre_tokenizer": {"type": "os.system"}})),
    folder("a configuration with auto_map", model_folder(
        VIT | {"auto_map": {"AutoModelForImageClassification": "modeling.Model", "AutoConfig": "modeling.Config"}},
        model__safetensors=safetensors_of(b"{}"))),
    folder("a configuration of a type that its own code defines", model_folder(
        {"model_type": "evil", "auto_map": {"AutoConfig": "modeling.Config"}})),
    folder("a configuration that says its code may be trusted", model_folder(VIT | {"trust_remote_code": True})),
    folder("a configuration that is a list", model_folder([])),
    folder("a configuration nested ten thousand deep", model_folder("[" * 10_000)),
    folder("a configuration of a hidden size of 2^40", model_folder(VIT | {"hidden_size": 1 << 40})),
    folder("a folder whose weights are a pickle", pickled_folder),
    folder("a folder whose weights are a pickle called safetensors", disguised_folder),
    folder("an index that names weights elsewhere", shards_elsewhere),
    folder("an index that is torn", model_folder(VIT, model__safetensors__index__json="{", a__safetensors=safetensors_of(b"{}"))),
    folder("weights that are a link out of the folder", model_folder(VIT, model__safetensors=Path("/etc/passwd"))),
    folder("weights that are a device", model_folder(VIT, model__safetensors=Path("/dev/zero"))),
    folder("an adapter that names a model elsewhere", model_folder(
        VIT, adapter_config__json='{"base_model_name_or_path": "http://evil/model"}', model__safetensors=safetensors_of(b"{}"))),
    HostileFile("an IDX file of 512 MiB in half a megabyte", lambda at: (at / "given").write_bytes(
        gzip.compress(b"\0\0\x08\x01" + struct.pack(">I", 512 << 20) + bytes(512 << 20), 1)), reader="idx"),
    HostileFile("an IDX file that claims 2^62 bytes", raw(b"\0\0\x08\x02" + b"\x7f\xff\xff\xff" * 2), reader="idx"),
    HostileFile("an IDX file of 255 axes", raw(b"\0\0\x08\xff" + b"\0\0\0\1" * 255), reader="idx"),
    HostileFile("an IDX file of floats", raw(b"\0\0\x0d\x01\0\0\0\1" + bytes(4)), reader="idx"),
    HostileFile("a gzip that is cut", raw(gzip.compress(bytes(1000))[:20]), reader="idx"),
)  # fmt: skip
