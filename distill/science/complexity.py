"""How big and how slow a model is: no data is needed to know it."""

import statistics
import time

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from distill.contracts.measures import Size
from distill.contracts.models import InputSpec
from distill.science.inputs import example_input
from distill.science.memory import peak_memory_bytes
from distill.science.models import Classifier

__all__ = ["count_flops", "example_input", "measure_size", "median_latency_ms"]

LATENCY_BATCHES = (1, 64)
MEMORY_BATCH = 64


def measure_size(
    model: Classifier,
    input: InputSpec,
    *,
    weights_bytes: int,
    threads: int,
    device: torch.device | str,
) -> Size:
    """Parameters, operations of one row's forward pass, median latency at batch 1 and 64, peak memory at batch 64.

    Args:
        model: on ``device``; measured in evaluation mode, which is then put back.
        input: what a row looks like.
        weights_bytes: size of the safetensors file.
        threads: torch threads while timing; put back after.
        device: where the model is.

    Returns:
        Operations are those of convolutions and matrix products, a multiply-add counted as two. Each latency takes
        about half a second to measure.
    """
    threads_before, was_training = torch.get_num_threads(), model.training
    torch.set_num_threads(threads)
    model.eval()
    try:
        with torch.inference_mode():
            flops = count_flops(model, example_input(input, 1).to(device))
            latency_ms = {
                num_rows: median_latency_ms(model, example_input(input, num_rows).to(device))
                for num_rows in LATENCY_BATCHES
            }
            memory_bytes = peak_memory_bytes(model, example_input(input, MEMORY_BATCH).to(device))
    finally:
        torch.set_num_threads(threads_before)
        model.train(was_training)
    return Size(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        bytes=weights_bytes,
        flops=flops,
        latency_ms=latency_ms,
        latency_threads=threads,
        latency_device=torch.device(device).type,
        peak_memory_bytes=memory_bytes,
    )


def count_flops(model: Classifier, inputs: Tensor) -> int:
    """Floating-point operations of one forward pass; a multiply-add counts as two."""
    # torch's counter passes over the CPU's fused attention; as plain matrix products it is counted on every device
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(inputs)
    return int(counter.get_total_flops())


def median_latency_ms(model: Classifier, inputs: Tensor, *, budget_s: float = 0.4, most: int = 200) -> float:
    """Median milliseconds of a forward pass: at least 3 passes, then as many as fit ``budget_s``, at most ``most``."""
    for _ in range(3):
        model(inputs)
    started = time.perf_counter()
    durations_ms: list[float] = []
    while len(durations_ms) < 3 or (len(durations_ms) < most and time.perf_counter() - started < budget_s):
        durations_ms.append(_pass_ms(model, inputs))
    return statistics.median(durations_ms)


def _pass_ms(model: Classifier, inputs: Tensor) -> float:
    started = time.perf_counter()
    model(inputs)
    if inputs.device.type == "cuda":
        torch.cuda.synchronize(inputs.device)
    return (time.perf_counter() - started) * 1000
