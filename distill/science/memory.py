"""The most memory that a forward pass holds at once."""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distill.science.models import Classifier


def peak_memory_bytes(model: Classifier, inputs: Tensor) -> int:
    """Bytes that one forward pass holds at its fullest moment, beside the weights and ``inputs``.

    Args:
        model: in the mode that is measured; call without gradients, or what is saved for them counts too.
        inputs: raw inputs (N, ...), on the model's device.

    Returns:
        On the CPU the bytes of tensors that are alive at once between operations: the same on every machine and at any
        number of threads; the kernels' own workspace isn't in it. On CUDA what torch's allocator had given out at most,
        less what it had given out before: workspace and the rounding of blocks are in it.
    """
    if inputs.device.type == "cuda":
        return _allocated_on_cuda(model, inputs)
    living = _LivingTensors()
    with living:
        model(inputs)
    return living.most_bytes


def _allocated_on_cuda(model: Classifier, inputs: Tensor) -> int:
    device = inputs.device
    model(inputs)  # the first pass also loads libraries, which keep workspace of their own
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before_bytes = torch.cuda.memory_allocated(device)
    model(inputs)
    torch.cuda.synchronize(device)
    most_bytes: int = torch.cuda.max_memory_allocated(device)
    return most_bytes - before_bytes


class _LivingTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages that operations make, from their making until nobody holds them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most_bytes = 0
        self._bytes: dict[int, int] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(result):
            if storage._cdata not in given:  # a view, or an operation in place, makes no storage
                self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._bytes:
            self._bytes[storage._cdata] = storage.nbytes()
            weakref.finalize(storage, self._bytes.pop, storage._cdata)
        self.most_bytes = max(self.most_bytes, sum(self._bytes.values()))


def _storages(values: Any) -> Iterator[torch.UntypedStorage]:
    return (leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, Tensor))
