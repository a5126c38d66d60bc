"""The digest of a row: what the answer book knows it by.

Shapes: N rows, U distinct ones.
"""

from hashlib import blake2b

import numpy as np

from teacher_server.window import Array

DIGEST_BYTES = 16
"""So that nobody can make two rows of one digest, and have the answer of one taken for the other's."""


def row_digests(inputs: Array) -> Array:
    """BLAKE2b of each row's bytes, uint8 (N, 16); ``inputs`` (N, ...) are as a teacher takes them.

    Source:
        Aumasson, Neves, Wilcox-O'Hearn, Winnerlein (2013): BLAKE2.
    """
    whole = np.ascontiguousarray(inputs).data.cast("B")
    size = len(whole) // len(inputs)
    joined = b"".join(
        [blake2b(whole[at : at + size], digest_size=DIGEST_BYTES).digest() for at in range(0, len(whole), size)]
    )
    return np.frombuffer(joined, np.uint8).reshape(len(inputs), DIGEST_BYTES)


def short_digests(digests: Array) -> Array:
    """The first 8 bytes of each digest (N, 16), uint64 (N,): what an answer carries to be told from another row's."""
    return np.ascontiguousarray(digests[:, :8]).view(np.uint64).reshape(len(digests))


def digest_keys(digests: Array) -> list[bytes]:
    """Each digest (N, 16) as bytes that a dictionary can hold."""
    keys: list[bytes] = np.ascontiguousarray(digests).view(f"V{DIGEST_BYTES}").ravel().tolist()
    return keys


def distinct(digests: Array) -> tuple[Array, Array]:
    """Which rows of (N, 16) to keep so that each digest is there once, int (U,), and each row's place among these, (N,)."""
    places: dict[bytes, int] = {}
    place_N = np.array([places.setdefault(key, len(places)) for key in digest_keys(digests)], np.intp)
    _, first_U = np.unique(place_N, return_index=True)
    return first_U, place_N
