"""One replica of a teacher, as Ray Serve runs it: the ensemble, its queue, what is remembered and metered, put together."""

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import ray
from pydantic import Field
from ray import serve

from distill.contracts import names
from distill.contracts.base import Digest, Name, Spec
from distill.contracts.settings import NodeSettings

if TYPE_CHECKING:
    import numpy as np
    import torch

    from teacher_server.meter import Meter
    from teacher_server.runner import Ensemble


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
    max_batch_tokens: int | None = Field(default=None, ge=1)
    """Of text: rows times length of one forward pass, which bounds its rows further; left out: rows alone count."""

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
        from distill.science.allocator import keep_freed_memory
        from teacher_server.answering import Answering
        from teacher_server.batching import Batcher
        from teacher_server.memory import open_memory

        keep_freed_memory()
        self._args = args
        self._device = _device()
        self._opened = ExitStack()
        settings = NodeSettings.from_environment()
        ensemble, compute = self._load(settings)
        self._batcher = Batcher(ensemble, teacher=args.reference, threads=args.threads)
        self._opened.callback(self._batcher.close)
        self._answering = Answering(
            ensemble,
            self._batcher,
            open_memory(serve.get_replica_context().replica_tag),
            self._metered(settings),
            teacher=args.reference,
            digest=args.digest,
            compute=compute,
        )

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

    async def expect(self, header: dict[str, Any], at_most_s: float | None) -> dict[str, Any]:
        """What there is left to do, asked by a caller's router: see `Answering.expect`."""
        return self._answering.expect(header, at_most_s)

    async def describe(self) -> dict[str, Any]:
        """What runs here, ``teacher``, ``digest``, ``device`` and ``pid``; and ``queued_rows``, which wait or are computed."""
        return {
            "teacher": self._args.reference,
            "digest": self._args.digest,
            "device": str(self._device),
            "pid": os.getpid(),
            "queued_rows": self._batcher.gauge().queued_rows,
        }

    async def check_health(self) -> None:
        """Serve asks each second, and replaces this replica once it raises."""
        self._batcher.check_health()

    def __del__(self) -> None:
        """Serve calls this when it ends a replica in order, once its windows are answered: no figure is lost then."""
        self._opened.close()

    def _load(self, settings: NodeSettings) -> "tuple[Ensemble, str]":
        """The ensemble, and how it computes, where that changes its answers."""
        from teacher_server.batching import rows_of_batch
        from teacher_server.folder import read_manifest
        from teacher_server.runner import Ensemble

        args = self._args
        folder = settings.storage / names.teacher_folder(args.teacher, args.version)
        manifest = read_manifest(folder)
        ensemble = Ensemble.load(
            folder,
            digest=args.digest,
            device=self._device,
            max_batch_rows=rows_of_batch(
                manifest.input, max_rows=args.max_batch_rows, max_tokens=args.max_batch_tokens
            ),
            plugins=settings.plugins,
        )
        return ensemble, manifest.compute

    def _metered(self, settings: NodeSettings) -> "Meter":
        from distill.journal.client import open_redis
        from teacher_server.meter import Meter

        here = serve.get_replica_context()
        redis = open_redis(settings.redis_url)
        meter = Meter(redis, teacher=self._args.reference, application=here.app_name, replica=here.replica_tag)
        meter.start(self._batcher.gauge, self._batcher.set_weights)
        self._opened.callback(meter.close)
        return meter


def _device() -> "torch.device":
    import torch

    # Ray shows a process only the GPUs that it gave it, so the first is the one
    return torch.device("cuda", 0) if ray.get_gpu_ids() else torch.device("cpu")
