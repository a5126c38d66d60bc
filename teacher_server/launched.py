"""A device batch under way, and what it becomes on the host.

Shapes: B rows of a device batch, M members asked, C classes, K classes sent.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from distill.contracts.wire import AnswerPrecision
from distill.science.top_classes import top_classes
from teacher_server.window import LOGITS, TOP_CLASSES, TOP_LOG_PROBS, TOP_TAIL, Array

DTYPES: dict[AnswerPrecision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}


@dataclass(frozen=True)
class Fetched:
    """An answered device batch, on the host."""

    tensors: dict[str, Array]
    """(B, ...) of each, as they are sent."""
    bad: dict[str, Array]
    """(B,) bool of each tensor that has any: rows that hold NaN or infinity."""
    overflowed: dict[str, Array]
    """For the same tensors, (B,) bool: bad rows whose numbers are finite, but more than what is sent can hold."""


class Launched:
    """A device batch whose answer is being computed, or on its way to the host."""

    def __init__(
        self, logits_BMC: Tensor, features: Mapping[str, Tensor], *, precision: AnswerPrecision, top_k: int | None
    ) -> None:
        """Convert as it is to be sent, and start copying, all on the current stream; waits for nothing on a GPU.

        Args:
            logits_BMC: float32, on the device.
            features: (B, ...) by key, on the device.
            precision: of logits and features in the answer.
            top_k: K, or None for all classes.
        """
        dtype = DTYPES[precision]
        faults = {
            key: _faults(feature_B, dtype) for key, feature_B in features.items() if feature_B.is_floating_point()
        }
        sent = {key: feature_B.to(dtype) if key in faults else feature_B for key, feature_B in features.items()}
        if top_k is None:
            sent[LOGITS], faults[LOGITS] = logits_BMC.to(dtype), _faults(logits_BMC, dtype)
        else:
            sent[TOP_LOG_PROBS], sent[TOP_CLASSES], sent[TOP_TAIL] = top_classes(logits_BMC, top_k)
            faults[TOP_LOG_PROBS] = _faults(logits_BMC, torch.float32)
        self._sent = {key: _to_host(tensor) for key, tensor in sent.items()}
        self._faults = {key: _to_host(fault_2B) for key, fault_2B in faults.items()}
        self._arrived = torch.cuda.current_stream().record_event() if logits_BMC.is_cuda else None

    def fetch(self) -> Fetched:
        """Wait until the batch is on the host."""
        if self._arrived is not None:
            self._arrived.synchronize()
        faults = {key: fault_2B.numpy() for key, fault_2B in self._faults.items() if fault_2B[0].any()}
        return Fetched(
            tensors={key: tensor.numpy() for key, tensor in self._sent.items()},
            bad={key: bad_B for key, (bad_B, _) in faults.items()},
            overflowed={key: overflowed_B for key, (_, overflowed_B) in faults.items()},
        )


def _faults(tensor_B: Tensor, dtype: torch.dtype) -> Tensor:
    """(2, B) bool: rows that are not finite as ``dtype``, and of these the ones that are finite as they came.

    Rounding keeps the order, so a row's greatest magnitude decides; NaN counts as the greatest.
    """
    peak_B = tensor_B.flatten(1).abs().amax(dim=1)
    bad_B = ~peak_B.to(dtype).isfinite()
    return torch.stack([bad_B, bad_B & peak_B.isfinite()])


def _to_host(tensor: Tensor) -> Tensor:
    # from a GPU, torch takes pinned memory for a copy that nobody waits for
    return tensor.contiguous().to("cpu", non_blocking=True)
