"""Fashion-MNIST (Xiao, Rasul, Vollgraf, 2017, arXiv:1708.07747): read where it is, or fetched once."""

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from distill.contracts.datasets import FASHION_MNIST_CLASSES
from distill.contracts.errors import InvalidData
from distill.contracts.settings import NodeSettings
from distill.science.datasets.idx import decoded, read_idx
from distill.science.datasets.raw import Raw, checked_split, invalid

FIELD = "dataset.source"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_PACKAGE = "dataset-fashion-mnist"
PUBLIC_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"

SHA256_OF_DECODED = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
"""Of the unpacked IDX files: Debian packed them anew, so the sums of the .gz files differ."""


def load_fashion_mnist(settings: NodeSettings) -> Raw:
    """60,000 training and 10,000 test rows of grey 28 x 28 images.

    Raises:
        InvalidData: it is nowhere and can't be fetched, or a file is not the published one. The files of a folder that
            the operator names are taken as they are; the data set's digest tells which they were.
    """
    folder = locate(settings.fashion_mnist, settings.cache)
    files = tuple(_file(folder, name) for name in SHA256_OF_DECODED)
    if folder != settings.fashion_mnist:
        _verify(folder)
    train_images, train_labels, test_images, test_labels = (read_idx(file, field=FIELD) for file in files)
    return Raw(
        train=checked_split(train_images, train_labels, field=FIELD),
        test=checked_split(test_images, test_labels, field=FIELD),
        classes=FASHION_MNIST_CLASSES,
        files=files,
    )


def is_available(settings: NodeSettings) -> bool:
    """Whether the files lie on this machine already; nothing is fetched."""
    if settings.fashion_mnist is not None:
        return _is_complete(settings.fashion_mnist)
    return _is_complete(DEBIAN_FOLDER) or _is_complete(settings.cache / "fashion-mnist")


def locate(named: Path | None, cache: Path) -> Path:
    """The folder with the four files: the one named, Debian's, the cache's, or else fetched into the cache.

    Processes that fetch at the same time wait for the first.

    Raises:
        InvalidData: with the reason why each way failed.
    """
    if named is not None:
        if not _is_complete(named):
            raise invalid(
                FIELD,
                f"the folder named for Fashion-MNIST, {named}, lacks files",
                expected=f"{', '.join(SHA256_OF_DECODED)}, each plain or .gz",
                got=f"missing: {', '.join(_missing(named))}",
            )
        return named
    for folder in (DEBIAN_FOLDER, cache / "fashion-mnist"):
        if _is_complete(folder):
            return folder
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / "fashion-mnist.lock"):
        return _fetched(cache)


def _fetched(cache: Path) -> Path:
    folder = cache / "fashion-mnist"
    if _is_complete(folder):
        return folder
    reasons = []
    for fetch in (_from_debian, _from_public_address):
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fashion-mnist-") as scratch:
            try:
                found = fetch(Path(scratch))
                _verify(found)
            except (OSError, subprocess.SubprocessError, InvalidData) as error:
                reasons.append(str(error).removeprefix(f"{FIELD}: "))
                continue
            shutil.rmtree(folder, ignore_errors=True)
            found.rename(folder)
            return folder
    raise invalid(
        FIELD,
        f"Fashion-MNIST is not on this machine and can't be fetched ({'; '.join(reasons)})",
        hint=f"install Debian's {DEBIAN_PACKAGE}, or name a folder with its four IDX files in STILLHOUSE_FASHION_MNIST",
    )


def _from_debian(scratch: Path) -> Path:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise invalid(FIELD, "there is no apt-get here to fetch Debian's package with")
    _run(["apt-get", "download", DEBIAN_PACKAGE], scratch)
    package = next(scratch.glob("*.deb"), None)
    if package is None:
        raise invalid(FIELD, f"apt-get fetched no {DEBIAN_PACKAGE}")
    _run(["dpkg-deb", "-x", package.name, "unpacked"], scratch)
    return scratch / "unpacked" / DEBIAN_FOLDER.relative_to("/")


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise invalid(FIELD, f"'{' '.join(command)}' failed: {said[-1] if said else done.returncode}")


def _from_public_address(scratch: Path) -> Path:
    folder = scratch / "downloaded"
    folder.mkdir()
    for name in SHA256_OF_DECODED:
        address = f"{PUBLIC_ADDRESS}/{name}.gz"
        try:
            with urlopen(address, timeout=30) as answer, (folder / f"{name}.gz").open("wb") as file:  # noqa: S310 - fixed
                shutil.copyfileobj(answer, file)
        except (OSError, HTTPException) as error:
            raise invalid(FIELD, f"{address} can't be downloaded: {error}") from error
    return folder


def _verify(folder: Path) -> None:
    for name, expected in SHA256_OF_DECODED.items():
        came = hashlib.sha256(decoded(_file(folder, name), field=FIELD)).hexdigest()
        if came != expected:
            raise invalid(
                FIELD,
                f"{_file(folder, name)} is not the published file; delete it and let it be fetched again",
                expected=f"SHA-256 {expected}",
                got=f"SHA-256 {came}",
            )


def _file(folder: Path, name: str) -> Path:
    packed = folder / f"{name}.gz"
    return packed if packed.exists() else folder / name


def _is_complete(folder: Path) -> bool:
    return not _missing(folder)


def _missing(folder: Path) -> list[str]:
    return [name for name in SHA256_OF_DECODED if not _file(folder, name).is_file()]


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        # the lock goes with the file's closing, also when this process is killed
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
