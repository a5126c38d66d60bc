"""A folder of images: one folder a class, PNG or JPEG files in it."""

from pathlib import Path

import torch

from distill.contracts.confined import LeavesRoot, NoPlainFile, real_path
from distill.contracts.datasets import ImageFolderData
from distill.science.datasets.images import read_image
from distill.science.datasets.paths import inside_root
from distill.science.datasets.raw import Raw, Split, check_fits, invalid, split_off_test

SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})


def load_image_folder(spec: ImageFolderData, root: Path, *, most_bytes: int) -> Raw:
    """Images of one or two folders below ``root``, all resized to ``spec.size``; classes in the order of their names.

    The images of a folder may take ``most_bytes`` together.

    Raises:
        InvalidData: a path or a link leads out of the root, a class is empty or unknown, an image is torn.
    """
    folder = inside_root(root, spec.train, field="dataset.train")
    classes = _classes(folder, "dataset.train")
    train, files = _split(spec, folder, classes, root, "dataset.train", most_bytes)
    if spec.test is None:
        train, test = split_off_test(train)
    else:
        test_folder = inside_root(root, spec.test, field="dataset.test")
        if unknown := sorted(set(_classes(test_folder, "dataset.test")) - set(classes)):
            raise invalid(
                "dataset.test", "a class folder is not in 'train'", expected=", ".join(classes), got=unknown[0]
            )
        test, test_files = _split(spec, test_folder, classes, root, "dataset.test", most_bytes)
        files += test_files
    return Raw(
        train=train, test=test, classes=classes, files=files, reading=f"image-folder {spec.size} {spec.channels}"
    )


def _classes(folder: Path, field: str) -> tuple[str, ...]:
    if not folder.is_dir():
        raise invalid(field, f"'{folder.name}' is not a folder", expected="a folder of class folders", got="a file")
    classes = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))
    if not classes:
        raise invalid(field, f"'{folder.name}' has no folders", expected="one folder a class", got="no folder")
    return classes


def _split(
    spec: ImageFolderData, folder: Path, classes: tuple[str, ...], root: Path, field: str, most_bytes: int
) -> tuple[Split, tuple[Path, ...]]:
    named = [(place, file) for place, name in enumerate(classes) for file in _images(folder / name, root, field)]
    height, width = spec.size
    if min(height, width) < 1:
        raise invalid("dataset.size", "an image needs pixels", expected="1 or more", got=str(spec.size))
    num_bytes = len(named) * spec.channels * height * width
    check_fits(num_bytes, most_bytes, field=field, what="all images together")
    inputs = torch.empty((len(named), spec.channels, height, width), dtype=torch.uint8)
    for row, (_, file) in enumerate(named):
        name = str(file.relative_to(folder))
        inputs[row] = read_image(file, channels=spec.channels, size=spec.size, name=name, field=field)
    return Split(inputs, torch.tensor([place for place, _ in named])), tuple(file for _, file in named)


def _images(folder: Path, root: Path, field: str) -> list[Path]:
    if not folder.is_dir():
        return []
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise invalid(field, f"class '{folder.name}' has no images", expected="PNG or JPEG files", got="none")
    for file in files:
        try:
            real_path(root, str(file))
        except LeavesRoot as error:
            raise invalid(field, f"'{folder.name}/{file.name}' is a link that leads out of the data root") from error
        except NoPlainFile as error:
            raise invalid(field, f"'{folder.name}/{file.name}': {error}") from error
    return files
