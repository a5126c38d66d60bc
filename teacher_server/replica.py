"""One replica of a teacher, as Ray Serve runs it: thin, around the ensemble and its queue."""

import os
from typing import TYPE_CHECKING, Any

import ray
from pydantic import Field

from distill.contracts import names
from distill.contracts.base import Digest, Name, Spec
from distill.contracts.settings import NodeSettings

if TYPE_CHECKING:
    import numpy as np
    import torch


class TeacherArgs(Spec):
    """What never changes of a teacher's version: changing an argument restarts the application."""

    teacher: Name
    version: int = Field(ge=1)
    digest: Digest
    """Of the manifest; a replica that finds another ensemble on storage refuses to start."""
    threads: int = Field(default=1, ge=1)
    """Torch threads."""
    max_batch_rows: int = Field(default=1024, ge=1)
    """Rows of one forward pass."""

    @property
    def reference(self) -> str:
        """``name@version``."""
        return f"{self.teacher}@{self.version}"


class TeacherReplica:
    """Holds all members of one teacher version on one device, and answers windows of rows."""

    def __init__(self, args: TeacherArgs) -> None:
        """Load the ensemble from the node's storage.

        Raises:
            InvalidWeights: what lies on storage is not the version that ``args`` names.
        """
        # here, not above: Serve builds the application in a process of its own that needs no torch, and is quicker
        from teacher_server.answering import Answering
        from teacher_server.batching import Batcher
        from teacher_server.runner import Ensemble

        settings = NodeSettings.from_environment()
        self._args = args
        self._device = _device()
        ensemble = Ensemble.load(
            settings.storage / names.teacher_folder(args.teacher, args.version),
            digest=args.digest,
            device=self._device,
            max_batch_rows=args.max_batch_rows,
            plugins=settings.plugins,
        )
        self._batcher = Batcher(ensemble, teacher=args.reference, threads=args.threads)
        self._answering = Answering(ensemble, self._batcher, teacher=args.reference, digest=args.digest)

    async def answer(
        self, header: dict[str, Any], tensors: "dict[str, np.ndarray]"
    ) -> "tuple[dict[str, Any], dict[str, np.ndarray]]":
        """Answer one window: an `AskHeader` and its tensors, for an `AnswerHeader` and its tensors (`wire`).

        Raises:
            InvalidSpec: the window is not what this teacher takes; asking again can't help.
            TeacherBusy: the queue is full, or the window waited in it past its deadline.
            NotFinite: a member's answer holds NaN or infinity.
        """
        return await self._answering.answer(header, tensors)

    async def describe(self) -> dict[str, Any]:
        """What runs here: ``teacher``, ``digest``, ``device`` and ``pid``."""
        return {
            "teacher": self._args.reference,
            "digest": self._args.digest,
            "device": str(self._device),
            "pid": os.getpid(),
        }

    async def check_health(self) -> None:
        """Serve asks each second, and replaces this replica once it raises."""
        self._batcher.check_health()


def _device() -> "torch.device":
    import torch

    # Ray shows a process only the GPUs that it gave it, so the first is the one
    return torch.device("cuda", 0) if ray.get_gpu_ids() else torch.device("cpu")
