"""What Ray Train is asked for."""

import pytest

from distill.contracts.job import ComputeSpec
from student_worker.fit import connection, scaling


@pytest.mark.parametrize(("gpus", "backend"), [(0, None), (0.5, "gloo"), (1, None), (2, None)])
def test_workers_that_share_a_gpu_talk_over_gloo_and_others_as_ray_chooses(gpus: float, backend: str | None):
    compute = ComputeSpec(workers=2, gpus_per_worker=gpus)
    assert connection(compute).backend == backend
    assert scaling(compute).use_gpu == (gpus > 0)
