"""Ray Train, held at arm's length: one attempt's workers, started in a thread, and their end as data."""

import logging
import os
from concurrent.futures import Future
from pathlib import Path

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from distill.contracts import names
from distill.contracts.job import ComputeSpec
from student_worker.background import in_background
from student_worker.ending import Ending
from student_worker.loop import train_loop
from student_worker.outcomes import ending_of
from student_worker.plan import Plan

log = logging.getLogger(__name__)

TRAIN_SETTINGS = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}
"""The end is noticed sooner; and two processes that we don't need are not started before the first step."""


def start_workers(plan: Plan, storage: Path) -> "Future[Ending]":
    """Ask Ray for the attempt's workers and let them run.

    Ray retries nothing by itself: what one attempt is, is for the control plane to say.
    """
    for name, value in TRAIN_SETTINGS.items():
        os.environ.setdefault(name, value)
    trainer = _Trainer(
        train_loop,
        train_loop_config={"plan": plan.model_dump_json()},
        torch_config=connection(plan.record.spec.compute),
        scaling_config=scaling(plan.record.spec.compute),
        run_config=RunConfig(
            name=names.submission_id(plan.job, plan.attempt),
            storage_path=str(plan.folder_in(storage) / "train"),
            failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),
        ),
    )
    return in_background("fit", lambda: _fit(trainer))


def scaling(compute: ComputeSpec) -> ScalingConfig:
    """The workers, as Ray is asked for them."""
    resources = {"CPU": compute.cpus_per_worker}
    if compute.gpus_per_worker:
        resources["GPU"] = compute.gpus_per_worker
    return ScalingConfig(
        num_workers=compute.workers, use_gpu=bool(compute.gpus_per_worker), resources_per_worker=resources
    )


def connection(compute: ComputeSpec) -> TorchConfig:
    """How the workers exchange gradients: as Ray chooses, but NCCL refuses two ranks on one GPU, and gloo doesn't."""
    return TorchConfig(backend="gloo" if 0 < compute.gpus_per_worker < 1 else None)


class _Trainer(TorchTrainer):  # type: ignore[misc]
    """Ray's own, without the actor that removes placement groups after a controller's death.

    Ours go with the driver's job anyway; starting that actor costs a second before the first step, and stopping it can
    cost twelve. Should Ray rename the hook, we get the actor back and nothing else changes.
    """

    def _create_default_callbacks(self) -> list[object]:
        callbacks = super()._create_default_callbacks()
        return [callback for callback in callbacks if type(callback).__name__ != "PlacementGroupCleanerCallback"]


def _fit(trainer: TorchTrainer) -> Ending:
    try:
        return Ending.model_validate_json(trainer.fit().return_value)
    except Exception as error:
        log.exception("the workers failed")
        return ending_of(error)
