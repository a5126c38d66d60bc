"""The way of a window through a replica: checked, recalled where it can be, computed in its turn, answered alone.

Shapes: N rows of the window.
"""

import time
from collections.abc import Mapping
from typing import Any

from distill.contracts.wire import AnswerHeader
from teacher_server.batching import Batcher
from teacher_server.digests import row_digests, short_digests
from teacher_server.runner import Ensemble
from teacher_server.window import DIGESTS, Array, read_header, read_inputs


class Answering:
    """Answers windows with one ensemble."""

    def __init__(self, ensemble: Ensemble, batcher: Batcher, *, teacher: str, digest: str) -> None:
        self._ensemble = ensemble
        self._batcher = batcher
        self._teacher = teacher
        self._digest = digest

    async def answer(
        self, header: Mapping[str, Any], tensors: Mapping[str, Array]
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """Answer one window: an `AskHeader` and its tensors, for an `AnswerHeader` and its tensors (`wire`).

        Raises:
            InvalidSpec: the window is not what this teacher takes, or its answer is too large; asking again can't help.
            TeacherBusy: the queue is full, or the window waited in it past its deadline.
            NotFinite: a member's answer holds NaN or infinity.
        """
        arrived = time.monotonic()
        ask = read_header(header)
        inputs = read_inputs(ask, tensors, self._ensemble.input)
        members = self._ensemble.choose_members(ask.members)
        self._ensemble.check_taps(ask.taps, members)
        digests = row_digests(inputs)
        computed = await self._batcher.compute(ask, inputs, members, arrived=arrived)
        reply = AnswerHeader(
            request_id=ask.request_id,
            teacher=self._teacher,
            digest=self._digest,
            num_rows=ask.num_rows,
            members=members,
            seconds=time.monotonic() - arrived,
            compute_seconds=computed.device_s,
        )
        return reply.model_dump(mode="json"), {**computed.tensors, DIGESTS: short_digests(digests)}
