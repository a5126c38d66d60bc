"""Vectors of unit length, and means over rows.

Shapes: N rows.
"""

from torch import Tensor
from torch.linalg import vector_norm


def unit_rows(values: Tensor) -> Tensor:
    """Each vector along the last axis divided by its L2 norm. Zeros stay zeros, with a finite gradient."""
    norm: Tensor = vector_norm(values, dim=-1, keepdim=True)
    return values / norm.masked_fill(norm == 0, 1.0)


def mean_over_rows(values: Tensor, weight_N: Tensor | None) -> Tensor:
    """The mean of ``values`` (N, ...), a scalar; each row's own mean times its weight, where rows have one."""
    if weight_N is None:
        return values.mean()
    return (values.flatten(1).mean(dim=1) * weight_N).mean()
