"""The way of a window through a replica: checked, recalled where it can be, computed in its turn, answered alone.

Shapes: N rows of the window, U of them distinct.
"""

import time
from collections.abc import Mapping
from typing import Any, Protocol

from distill.contracts.errors import TeacherBusy
from distill.contracts.wire import AnswerHeader, AskHeader, BookKey
from teacher_server.batching import Batcher
from teacher_server.digests import distinct, row_digests, short_digests
from teacher_server.memory import Memory, NoMemory
from teacher_server.recalling import Checks, Recalling, Window
from teacher_server.runner import Ensemble
from teacher_server.window import DIGESTS, Array, read_header, read_inputs


class Counter(Protocol):
    """Counts what teams had; `teacher_server.meter.Meter` does."""

    def answered(self, team: str, *, computed_rows: int, recalled_rows: int, device_s: float) -> None:
        """A window was answered; rows are rows times members."""

    def refused(self, team: str) -> None:
        """A window was refused."""


class Answering:
    """Answers windows with one ensemble, and with what the answer book knows."""

    def __init__(
        self,
        ensemble: Ensemble,
        batcher: Batcher,
        memory: Memory,
        meter: Counter,
        *,
        teacher: str,
        digest: str,
        compute: str,
    ) -> None:
        """Answer nothing yet.

        Args:
            ensemble: for what it takes and can be asked.
            batcher: the queue before it.
            memory: the answer book.
            meter: counts what teams had.
            teacher: ``name@version``.
            digest: of the version's manifest.
            compute: how answers are computed, as the manifest says.
        """
        self._ensemble = ensemble
        self._batcher = batcher
        self._memory = memory
        self._meter = meter
        self._teacher = teacher
        self._digest = digest
        self._compute = compute
        self._checks = Checks()

    async def answer(
        self, header: Mapping[str, Any], tensors: Mapping[str, Array]
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """Answer one window: an `AskHeader` and its tensors, for an `AnswerHeader` and its tensors (`wire`).

        Raises:
            InvalidSpec: the window is not what this teacher takes, or its answer is too large; asking again can't help.
            TeacherBusy: the queue is full, or the window waited past its deadline.
            NotFinite: a member's answer holds NaN or infinity.
        """
        arrived = time.monotonic()
        ask = read_header(header)
        inputs = read_inputs(ask, tensors, self._ensemble.input)
        members = self._ensemble.choose_members(ask.members)
        self._ensemble.check_taps(ask.taps, members)
        digests = row_digests(inputs)
        try:
            with self._batcher.coming.taken(ask.request_id, ask.num_rows * len(members)):
                said, recalling = await self._say(ask, inputs, digests, members, arrived)
        except TeacherBusy:
            self._meter.refused(ask.team)
            raise
        recalled_rows = max(0, ask.num_rows - recalling.num_computed)
        self._meter.answered(
            ask.team,
            computed_rows=recalling.num_computed * len(members),
            recalled_rows=recalled_rows * len(members),
            device_s=recalling.device_s,
        )
        reply = AnswerHeader(
            request_id=ask.request_id,
            teacher=self._teacher,
            digest=self._digest,
            num_rows=ask.num_rows,
            members=members,
            recalled_rows=recalled_rows,
            seconds=time.monotonic() - arrived,
            compute_seconds=recalling.device_s,
        )
        return reply.model_dump(mode="json"), {**said, DIGESTS: short_digests(digests)}

    def expect(self, header: Mapping[str, Any], at_most_s: float | None) -> dict[str, Any]:
        """What there is left to do; unless that is more than ``at_most_s``, the window is expected, and counts in it.

        Args:
            header: the window's `AskHeader`.
            at_most_s: seconds of work; None: it isn't expected.

        Returns:
            `Left` by name, ``num_windows``, which have come and are not answered, and ``is_promised``.

        Raises:
            InvalidSpec: the window is not what this teacher takes.
        """
        coming = self._batcher.coming
        is_promised = at_most_s is not None and self._batcher.left().is_at_most(at_most_s)
        if is_promised:
            ask = read_header(header)
            coming.promise(ask.request_id, ask.num_rows * len(self._ensemble.choose_members(ask.members)))
        return {**self._batcher.left()._asdict(), "num_windows": coming.num_taken, "is_promised": is_promised}

    async def _say(
        self, ask: AskHeader, inputs: Array, digests: Array, members: tuple[int, ...], arrived: float
    ) -> tuple[dict[str, Array], Recalling]:
        """Tensors (N, ...), and how they came to be."""
        first_U, place_N = distinct(digests)
        is_all = len(first_U) == len(digests)
        window = Window(
            ask=ask,
            key=BookKey.of(ask, teacher=self._digest, compute=self._compute, num_members=self._ensemble.num_members),
            members=members,
            inputs=inputs if is_all else inputs[first_U],
            digests=digests if is_all else digests[first_U],
            arrived=arrived,
        )
        memory = self._memory if ask.remember else NoMemory()
        recalling = Recalling(window, self._batcher, memory, self._checks)
        said = await recalling.answer()
        return (said if is_all else {name: part[place_N] for name, part in said.items()}), recalling
