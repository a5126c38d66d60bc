"""A Parquet file: a column of inputs, and one of labels."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distill.contracts.datasets import ParquetData
from distill.science.datasets.images import num_channels, read_image
from distill.science.datasets.raw import Raw, Split, check_fits, checked_split, invalid, numbered_classes
from distill.science.datasets.splits import read_splits

BATCH_ROWS = 4096


def load_parquet(spec: ParquetData, root: Path, *, most_bytes: int) -> Raw:
    """The splits of one or two files below ``root``, each of at most ``most_bytes`` when unpacked.

    Lists of floats are vectors and lists of integers token ids, all of one length; bytes (or the struct with ``bytes``
    in it that image data sets use) are encoded PNG or JPEG images, all of one size, and in colour where one of them is. An
    empty label means none.

    Raises:
        InvalidData: a path leads out of the root, a file is torn, a column is missing or no model takes it.
    """
    train, test, files = read_splits(
        spec, root, lambda file, field: _split(spec, file, field, most_bytes), most_bytes=most_bytes
    )
    return Raw(
        train=train,
        test=test,
        classes=numbered_classes(spec.classes, train, test),
        files=files,
        reading=f"parquet {spec.input_column} {spec.label_column}",
    )


def _split(spec: ParquetData, file: Path, field: str, most_bytes: int) -> Split:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            there = opened.schema_arrow.names
            # 'label_column' may be missing unless the job file itself says that name
            required = {spec.input_column} | ({spec.label_column} if "label_column" in spec.model_fields_set else set())
            if missing := sorted(required - set(there)):
                raise invalid(
                    field,
                    f"'{file.name}' has no column '{missing[0]}'",
                    expected=" and ".join(sorted(required)),
                    got=", ".join(there) or "no columns",
                )
            named = [name for name in (spec.input_column, spec.label_column) if name in there]
            table = _table(opened, named, file, field, most_bytes)
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        raise invalid(field, f"'{file.name}' is torn, or not a Parquet file ({error})") from error
    labels = _labels(table.column(spec.label_column), field) if spec.label_column in table.column_names else None
    return checked_split(_inputs(table.column(spec.input_column), field, most_bytes), labels, field=field)


def _table(opened: Any, columns: list[str], file: Path, field: str, most_bytes: int) -> Any:
    """The columns, read in small batches: what a file says of its own size is its own word."""
    import pyarrow as pa

    read, num_bytes = [], 0
    for batch in opened.iter_batches(batch_size=BATCH_ROWS, columns=columns):
        num_bytes += batch.nbytes
        check_fits(num_bytes, most_bytes, field=field, what=f"what '{file.name}' holds")
        read.append(batch)
    return pa.Table.from_batches(read) if read else opened.read(columns=columns)


def _labels(column: Any, field: str) -> Tensor:
    import pyarrow as pa

    if not pa.types.is_integer(column.type):
        raise invalid(field, "labels must be integers", expected="an integer column", got=str(column.type))
    # signed first: -1 is no number of an unsigned column
    return torch.from_numpy(column.cast(pa.int64(), safe=False).fill_null(-1).to_numpy().copy())


def _inputs(column: Any, field: str, most_bytes: int) -> Tensor:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return _images([cell and cell["bytes"] for cell in column.to_pylist()], field, most_bytes)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _images(column.to_pylist(), field, most_bytes)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _numbers(column.combine_chunks(), field)
    raise invalid(field, "no model takes such a column", expected="lists of numbers, or encoded images", got=str(kind))


def _numbers(column: Any, field: str) -> Tensor:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, lengths = column.type.value_type, pc.unique(pc.list_value_length(column)).to_pylist()
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise invalid(field, "lists must hold numbers", expected="integers or floats", got=str(kind))
    if len(lengths) != 1 or lengths[0] is None or column.flatten().null_count:
        raise invalid(
            field,
            "every row must be a full list of one length; pad token ids with 0",
            expected="one length",
            got=f"lengths {sorted(lengths, key=str)[:5]}, {column.flatten().null_count} empty values",
        )
    numbers = column.flatten().to_numpy(zero_copy_only=False)
    kept = numbers.astype("int64" if pa.types.is_integer(kind) else numbers.dtype)
    return torch.from_numpy(kept.reshape(len(column), lengths[0]))


def _images(cells: list[bytes | None], field: str, most_bytes: int) -> Tensor:
    files = {f"row {row}": io.BytesIO(cell) for row, cell in enumerate(cells) if cell is not None}
    if not cells or len(files) < len(cells):
        raise invalid(field, "a row has no image", expected="an image in every row", got=f"{len(cells)} rows")
    channels = max(num_channels(file, name=name, field=field) for name, file in files.items())
    first = read_image(files["row 0"], channels=channels, size=None, name="row 0", field=field)
    check_fits(len(cells) * first.nbytes, most_bytes, field=field, what="all images together")
    images = torch.empty((len(cells), *first.shape), dtype=torch.uint8)
    for row, (name, file) in enumerate(files.items()):
        image = read_image(file, channels=channels, size=None, name=name, field=field)
        if image.shape != first.shape:
            raise invalid(
                field, f"{name} has another size", expected=str(tuple(first.shape)), got=str(tuple(image.shape))
            )
        images[row] = image
    return images
