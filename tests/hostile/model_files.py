"""Weights that are none: pickles in disguise, headers that lie, bombs, links, devices."""

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.corpus import HostileFile, evil, honest_safetensors, safetensors_of, sparse

TERABYTE = 1 << 40


def honest() -> dict[str, np.ndarray[Any, Any]]:
    """Weights that the reader's model takes."""
    from distill.contracts.models import ZooModel
    from distill.science.models import build
    from tests.hostile.reader import INPUT

    model = build(ZooModel.model_validate({"name": "mlp", "args": {"hidden": [4]}}), input=INPUT, num_classes=2)
    return {name: tensor.numpy() for name, tensor in model.net.state_dict().items()}


def described(**changes: dict[str, Any]) -> dict[str, Any]:
    """The header of honest weights, with changes to the entries of some tensors."""
    whole = honest_safetensors(**honest())
    header: dict[str, Any] = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
    first = next(iter(header))
    return header | {first: header[first] | changes.get("first", {})} | changes.get("more", {})


def payload() -> bytes:
    """The bytes behind the header of honest weights."""
    whole = honest_safetensors(**honest())
    return whole[8 + int.from_bytes(whole[:8], "little") :]


def changed(**first: Any) -> Callable[[Path], object]:
    """Honest weights but for the entry of the first tensor."""
    return lambda at: (at / "given").write_bytes(safetensors_of(json.dumps(described(first=first)).encode(), payload()))


def header(text: str | bytes, data: bytes = b"") -> Callable[[Path], object]:
    """A header alone."""
    return lambda at: (at / "given").write_bytes(
        safetensors_of(text if isinstance(text, bytes) else text.encode(), data)
    )


def raw(content: bytes) -> Callable[[Path], object]:
    """These very bytes."""
    return lambda at: (at / "given").write_bytes(content)


def spoiled(spoil: Callable[[dict[str, np.ndarray[Any, Any]]], dict[str, Any]]) -> Callable[[Path], object]:
    """Honest weights, spoiled and written as they should be."""
    return lambda at: (at / "given").write_bytes(honest_safetensors(**spoil(honest())))


def torch_archive(at: Path) -> None:
    """What torch.save writes: a zip with a pickle."""
    with zipfile.ZipFile(at / "given", "w") as archive:
        archive.writestr("archive/data.pkl", evil(at))
        archive.writestr("archive/version", "3\n")


def exported_program(at: Path) -> None:
    """A .pt2 whose sample inputs are a pickle, as torch.export.save lays them down."""
    with zipfile.ZipFile(at / "given", "w") as archive:
        archive.writestr("archive_format", "pt2")
        archive.writestr("data/sample_inputs/model.pt", evil(at))
        archive.writestr("models/model.json", json.dumps({"graph_module": {}}))


def zip_bomb(at: Path) -> None:
    """256 MiB of zeros in a quarter of a megabyte."""
    with zipfile.ZipFile(at / "given", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(256 << 20))


def numpy_pickle(at: Path) -> None:
    """An .npy of objects, which numpy would unpickle if it were let."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    (at / "given").write_bytes(out.getvalue() + evil(at))


def huge_claim(size: int) -> str:
    """A header that claims a tensor of ``size`` rows of eight bytes, and nothing behind it."""
    return json.dumps({"0.weight": {"dtype": "F64", "shape": [size], "data_offsets": [0, size * 8]}})


def terabyte(at: Path) -> None:
    """A sparse file whose header is right: one tensor of a terabyte of zeros."""
    text = json.dumps({"0.weight": {"dtype": "U8", "shape": [TERABYTE], "data_offsets": [0, TERABYTE]}}).encode()
    sparse(at / "given", safetensors_of(text), TERABYTE + 8 + len(text))


def with_first(array: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Callable[[Path], object]:
    """Honest weights whose first tensor is another."""

    def spoil(tensors: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
        first = next(iter(tensors))
        return tensors | {first: array(tensors[first])}

    return spoiled(spoil)


def linked(target: str) -> Callable[[Path], object]:
    """A link to somewhere else."""
    return lambda at: (at / "given").symlink_to(target)


def outside(at: Path) -> None:
    """Honest weights beside the root, and a link to them within it."""
    (at.parent / "outside.safetensors").write_bytes(honest_safetensors(**honest()))
    (at / "given").symlink_to(at.parent / "outside.safetensors")


def circle(at: Path) -> None:
    """Two links that lead to each other."""
    (at / "given").symlink_to(at / "other")
    (at / "other").symlink_to(at / "given")


def a_card(**changes: Any) -> Callable[[Path], object]:
    """A folder with honest weights and a card that says something else."""

    def lay(at: Path) -> None:
        (at / "given").mkdir()
        (at / "given" / "model.safetensors").write_bytes(honest_safetensors(**honest()))
        card = {
            "model": {"source": "zoo", "name": "mlp", "args": {"hidden": [4]}},
            "input": {"kind": "image", "channels": 1, "height": 8, "width": 8, "mean": [0.5], "std": [0.5]},
            "classes": ["a", "b"],
            "weights_digest": "sha256:" + "0" * 64,
        }
        (at / "given" / "model.json").write_text(json.dumps(card | changes))

    return lay


def a_plugin(path: str) -> Callable[[Path], object]:
    """A card that names this import path."""
    return a_card(model={"source": "plugin", "import": path})


MODEL_FILES = (
    *(
        HostileFile(f"a pickle of protocol {protocol} called safetensors",
                    lambda at, protocol=protocol: (at / "given").write_bytes(evil(at, protocol)))
        for protocol in range(6)
    ),
    HostileFile("a pickle behind a safetensors header", lambda at: (at / "given").write_bytes(safetensors_of(b"{}", evil(at)))),
    HostileFile("a pickle for a safetensors header", lambda at: (at / "given").write_bytes(safetensors_of(evil(at)))),
    HostileFile("what torch.save writes, with code in it", torch_archive),
    HostileFile("an exported program with a pickle in it", exported_program),
    HostileFile("an .npy of objects called safetensors", numpy_pickle),
    HostileFile("a zip bomb", zip_bomb),
    HostileFile("nothing at all", raw(b"")),
    HostileFile("seven bytes", raw(b"\x00" * 7)),
    HostileFile("zeros", raw(bytes(4096))),
    HostileFile("a header that claims to be as long as memory", raw(b"\xff" * 8 + b"{}")),
    HostileFile("a header of a gigabyte that isn't there", raw((1 << 30).to_bytes(8, "little") + b"{")),
    HostileFile("a header longer than its file", raw((100).to_bytes(8, "little") + b"{}")),
    HostileFile("a sparse header of 200 MB", lambda at: sparse(
        at / "given", (200 << 20).to_bytes(8, "little") + b"{", 201 << 20)),
    HostileFile("a header of 30 MB of spaces", header("{" + " " * (30 << 20) + "}")),
    HostileFile("a header that is no JSON", header("weights")),
    HostileFile("a header that is a list", header("[]")),
    HostileFile("a header that is a number", header("7")),
    HostileFile("a header that is not UTF-8", header(b'{"\xff\xfe": 1}')),
    HostileFile("a header nested ten thousand deep", header("[" * 10_000)),
    HostileFile("a header of objects nested ten thousand deep", header('{"a":' * 10_000)),
    HostileFile("a header with a number of 10,000 digits", header('{"a":{"dtype":"F32","shape":[' + "9" * 10_000 + ']}}')),
    HostileFile("a header of 100,000 tensors", header(json.dumps(
        {str(i): {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}))),
    HostileFile("an empty header", header("{}")),
    HostileFile("a shape of 2^60 rows in a tiny file", header(huge_claim(1 << 60))),
    HostileFile("a shape that overflows 64 bits", header(huge_claim(1 << 63))),
    HostileFile("a shape whose product overflows", header(json.dumps(
        {"0.weight": {"dtype": "F32", "shape": [1 << 32, 1 << 32], "data_offsets": [0, 0]}}))),
    HostileFile("a shape of ten thousand axes", header(json.dumps(
        {"0.weight": {"dtype": "F32", "shape": [1] * 10_000, "data_offsets": [0, 4]}}), bytes(4))),
    HostileFile("a terabyte of zeros that takes no room", terabyte),
    HostileFile("a tensor that begins before the file", changed(data_offsets=[-8, 0])),
    HostileFile("a tensor that ends before it begins", changed(data_offsets=[16, 0])),
    HostileFile("a tensor that ends behind the file", changed(data_offsets=[0, 1 << 40])),
    HostileFile("tensors that overlap", changed(data_offsets=[4, 20])),
    HostileFile("two tensors in one place", lambda at: (at / "given").write_bytes(safetensors_of(json.dumps(
        described(more={"twin": described()[next(iter(described()))]})).encode(), payload()))),
    HostileFile("offsets that are fractions", changed(data_offsets=[0.5, 16.5])),
    HostileFile("offsets that are texts", changed(data_offsets=["0", "16"])),
    HostileFile("three offsets", changed(data_offsets=[0, 8, 16])),
    HostileFile("a negative shape", changed(shape=[-4])),
    HostileFile("a shape of texts", changed(shape=["4"])),
    HostileFile("a shape larger than its bytes", changed(shape=[4096])),
    HostileFile("an unknown type of number", changed(dtype="F999")),
    HostileFile("a type of number that names code", changed(dtype="os.system")),
    HostileFile("bytes that no tensor holds", lambda at: (at / "given").write_bytes(safetensors_of(json.dumps(
        described()).encode(), payload() + bytes(64)))),
    HostileFile("a name that stands twice", lambda at: (at / "given").write_bytes(safetensors_of(
        json.dumps(described()).encode()[:-1] + b"," + json.dumps(described()).encode()[1:], payload()))),
    HostileFile("metadata that are no texts", lambda at: (at / "given").write_bytes(safetensors_of(json.dumps(
        described(more={"__metadata__": {"code": ["os.system"]}})).encode(), payload()))),
    HostileFile("weights cut in the middle", lambda at: (at / "given").write_bytes(honest_safetensors(**honest())[:-10])),
    HostileFile("a tensor too many", spoiled(lambda tensors: tensors | {"__class__": np.zeros(1, np.float32)})),
    HostileFile("a tensor too few", spoiled(lambda tensors: dict(list(tensors.items())[1:]))),
    HostileFile("names that mean modules of Python", spoiled(
        lambda tensors: {f"os.{name}": one for name, one in tensors.items()})),
    HostileFile("a tensor of another shape", with_first(lambda array: np.zeros((3, 3), np.float32))),
    HostileFile("a tensor turned round", with_first(
        lambda array: np.ascontiguousarray(array.T) if array.ndim > 1 else array[:0])),
    HostileFile("a tensor of integers", with_first(lambda array: array.astype(np.int64))),
    HostileFile("a tensor of bytes", with_first(lambda array: array.astype(np.uint8))),
    HostileFile("weights with NaN", with_first(lambda array: np.full_like(array, np.nan))),
    HostileFile("weights with infinity", with_first(lambda array: np.full_like(array, np.inf))),
    HostileFile("a pipe, which would block for ever", lambda at: os.mkfifo(at / "given")),
    HostileFile("a link to a device without end", linked("/dev/zero")),
    HostileFile("a link to random numbers without end", linked("/dev/urandom")),
    HostileFile("a link to a terminal", linked("/dev/tty")),
    HostileFile("a link to the passwords", linked("/etc/passwd")),
    HostileFile("a link to this process's own memory", linked("/proc/self/mem")),
    HostileFile("honest weights outside of the root, by a link", outside),
    HostileFile("links in a circle", circle),
    HostileFile("a folder for a file", lambda at: (at / "given").mkdir()),
    HostileFile("a path with two dots", raw(b""), path="../given"),
    HostileFile("an absolute path", raw(b""), path="/etc/passwd"),
    HostileFile("a path with a NUL", raw(b""), path="given\x00.safetensors"),
    HostileFile("a path of 5,000 characters", raw(b""), path="x" * 5000),
    HostileFile("a path of two thousand folders", raw(b""), path="a/" * 2000),
    HostileFile("a file that isn't there", raw(b""), path="never-was"),
    HostileFile("a card of weights that were changed", a_card(), reader="card"),
    HostileFile("a card that names a plugin nobody allowed", a_plugin("os:system"), reader="card"),
    HostileFile("a card that names dotted attributes", a_plugin("os:path.join"), reader="card"),
    HostileFile("a card that names a module by a path", a_plugin("../evil:run"), reader="card"),
    HostileFile("a card of an unknown model", a_card(model={"source": "zoo", "name": "__import__"}), reader="card"),
    HostileFile("a card of rows of a petabyte", a_card(
        input={"kind": "image", "channels": 1 << 20, "height": 1 << 20, "width": 1 << 20, "mean": [0.5], "std": [0.5]}),
        reader="card"),
    HostileFile("a card with numbers that are not finite", a_card(
        input={"kind": "image", "channels": 1, "height": 8, "width": 8, "mean": [float("nan")], "std": [0.5]}), reader="card"),
    HostileFile("a card nested ten thousand deep", lambda at: (
        (at / "given").mkdir(), (at / "given" / "model.json").write_text("[" * 10_000)), reader="card"),
)  # fmt: skip
