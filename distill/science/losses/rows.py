"""Vectors of unit length."""

from torch import Tensor
from torch.linalg import vector_norm


def unit_rows(values: Tensor) -> Tensor:
    """Each vector along the last axis divided by its L2 norm. Zeros stay zeros, with a finite gradient."""
    norm: Tensor = vector_norm(values, dim=-1, keepdim=True)
    return values / norm.masked_fill(norm == 0, 1.0)
