"""The model runner: all members of a teacher on one device, in evaluation mode, without gradients.

A device batch is launched by one thread and fetched by another: while one is copied out and packed, the next computes.

Shapes: N rows of a window, B rows of a device batch, M members asked, C classes, k classes sent.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from distill.contracts.classes import check_top_k
from distill.contracts.errors import InvalidSpec, InvalidWeights, NotFinite
from distill.contracts.models import InputSpec
from distill.contracts.taps import MemberTap, RowShape
from distill.contracts.teachers import ComputePrecision
from distill.contracts.wire import AnswerPrecision
from distill.science.models import Classifier
from distill.science.weights import load_model
from teacher_server.folder import ensemble_digest, member_folder, read_manifest
from teacher_server.forward import Forward
from teacher_server.launched import Launched
from teacher_server.size import answer_row_bytes, check_size
from teacher_server.window import Array

ROW_MULTIPLE = 32
"""Device batches are padded to multiples of this: kernels differ between 1, 2 and more rows in a result's last bits."""


class Ensemble:
    """Members that answer the same rows. One thread at a time may launch; any may fetch."""

    def __init__(
        self,
        members: Sequence[Classifier],
        *,
        input: InputSpec,
        num_classes: int,
        taps: Sequence[Mapping[str, RowShape]],
        device: torch.device,
        max_batch_rows: int,
        precision: ComputePrecision = "fp32",
        fused: bool = False,
        name: str = "the teacher",
    ) -> None:
        """Take the members over: they are moved to ``device`` and put in evaluation mode.

        Args:
            members: in manifest order.
            input: what a row looks like.
            num_classes: C of every member.
            taps: of each member, the modules that may be asked and the shape of one row, as the manifest lists them.
            device: where all of them run.
            max_batch_rows: rows of one forward pass; rounded down to a multiple of 32, at least 32.
            precision: of the forward pass: ``bf16`` is torch.autocast to bfloat16; what leaves it is float32 again.
            fused: whether members of one architecture run as one forward pass where all of them are asked, and no taps.
            name: what it is called in errors, such as ``fashion@3``.
        """
        self.input = input
        self.num_classes = num_classes
        self.batch_rows = max(ROW_MULTIPLE, max_batch_rows // ROW_MULTIPLE * ROW_MULTIPLE)
        """The most rows of one `launch`."""
        self._name = name
        self._members = [member.to(device).eval() for member in members]
        self.num_members = len(self._members)
        self._forward = Forward(self._members, device=device, precision=precision, fused=fused)
        self.is_fused = self._forward.is_fused
        """Whether some members run as one forward pass."""
        self._shapes = list(taps)
        self._device = device
        self._streams = cycle(_streams(device))

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        digest: str,
        device: torch.device,
        max_batch_rows: int,
        precision: ComputePrecision | None = None,
        fused: bool | None = None,
        plugins: Collection[str] = (),
    ) -> Self:
        """The ensemble of a version's folder.

        Args:
            folder: the version's, on storage.
            digest: of the version that is meant.
            device: where it runs.
            max_batch_rows: rows of one forward pass.
            precision: of the forward pass; left out: as the manifest says.
            fused: left out: as the manifest says.
            plugins: the import paths that its members may name.

        Raises:
            InvalidWeights: a file is missing, torn or changed, or the whole is not what ``digest`` names.
        """
        manifest = read_manifest(folder)
        folders = [member_folder(folder, position) for position in range(len(manifest.members))]
        loaded = [load_model(place, plugins=plugins) for place in folders]
        if (came := ensemble_digest([card for _, card in loaded])) != digest:
            raise InvalidWeights(
                f"the ensemble in {folder} is not the version that was asked for: publish it again as a new version",
                expected=digest,
                got=came,
            )
        return cls(
            [model for model, _ in loaded],
            input=manifest.input,
            num_classes=len(manifest.classes),
            taps=[member.taps for member in manifest.members],
            device=device,
            max_batch_rows=max_batch_rows,
            precision=manifest.precision if precision is None else precision,
            fused=manifest.fused if fused is None else fused,
            name=f"{manifest.teacher}@{manifest.version}",
        )

    def choose_members(self, asked: tuple[int, ...] | None) -> tuple[int, ...]:
        """The positions of the members asked: all, if none are named.

        Raises:
            InvalidSpec: a position doesn't exist, or is named twice.
        """
        if asked is None:
            return tuple(range(self.num_members))
        if not asked or len(set(asked)) < len(asked) or not set(asked) <= set(range(self.num_members)):
            raise InvalidSpec(
                f"members {list(asked)} can't be asked: this teacher has members 0 to {self.num_members - 1}, each once",
                field="members",
            )
        return asked

    def check_taps(self, taps: tuple[MemberTap, ...], members: tuple[int, ...]) -> None:
        """See that each tap is of a member asked, and that this member has the modules.

        Raises:
            InvalidSpec: it is not, or the modules give nothing that such a tap is made of.
        """
        for asked in taps:
            if asked.member not in members:
                raise InvalidSpec(f"a tap of member {asked.member} is asked, but not its answer", field="taps")
            for name in asked.tap.modules:
                if name not in self._shapes[asked.member]:
                    raise InvalidSpec(
                        f"member {asked.member} has no tap '{name}': the manifest lists each member's", field="taps"
                    )
            try:
                asked.tap.row_shape(self._shapes[asked.member])
            except ValueError as error:
                raise InvalidSpec(f"member {asked.member}: {error}", field="taps") from error

    def check_answer_size(
        self,
        num_rows: int,
        *,
        members: tuple[int, ...],
        precision: AnswerPrecision,
        top_k: int | None,
        taps: tuple[MemberTap, ...],
    ) -> None:
        """See that what is asked of ``num_rows`` rows is not too large, before anything is computed.

        Raises:
            InvalidSpec: ``top_k`` is not less than the number of classes.
            TooLarge: the answer would be more than `size.MAX_ANSWER_BYTES`.
        """
        if top_k is not None:
            check_top_k(top_k, self.num_classes)
        row_bytes = answer_row_bytes(
            len(members), self.num_classes, precision=precision, top_k=top_k, taps=taps, shapes=self._shapes
        )
        check_size(num_rows, row_bytes)

    def answer(
        self,
        inputs: Array,
        *,
        members: tuple[int, ...],
        precision: AnswerPrecision,
        top_k: int | None = None,
        taps: tuple[MemberTap, ...],
    ) -> dict[str, Array]:
        """Answer a window, batch after batch: for callers without a queue; the arguments are those of `launch`.

        Args:
            inputs: rows (N, ...), as many as there are.
            members: M positions.
            precision: of logits and taps.
            top_k: K.
            taps: reduced here.

        Returns:
            The tensors of the answer (N, ...) as `wire` describes them. A row's answer depends on that row alone.

        Raises:
            NotFinite: a tensor holds NaN or infinity.
            InvalidSpec: ``top_k`` is not less than the number of classes.
            TooLarge: the whole would be more than `size.MAX_ANSWER_BYTES`.
        """
        self.check_answer_size(len(inputs), members=members, precision=precision, top_k=top_k, taps=taps)
        parts: list[dict[str, Array]] = []
        for start in range(0, len(inputs), self.batch_rows):
            rows = inputs[start : start + self.batch_rows]
            # off the device at once: it holds one batch, whatever the window
            fetched = self.launch(rows, members=members, precision=precision, top_k=top_k, taps=taps).fetch()
            for key, bad_B in fetched.bad.items():
                raise self.not_finite(key, overflowed=bool((fetched.overflowed[key] == bad_B).all()))
            parts.append(fetched.tensors)
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def launch(
        self,
        inputs: Array,
        *,
        members: tuple[int, ...],
        precision: AnswerPrecision,
        top_k: int | None,
        taps: tuple[MemberTap, ...],
    ) -> Launched:
        """Start a device batch; on a GPU this returns before it is computed. What it returns may be fetched by any thread.

        Args:
            inputs: rows (B, ...) as `window.read_inputs` lets them pass, at most `batch_rows`.
            members: M positions, as `choose_members` gives them.
            precision: of logits and taps in the answer.
            top_k: only the K greatest classes and the mass of the others; None: logits of all classes.
            taps: as `check_taps` lets them pass; each is reduced here.

        Raises:
            InvalidSpec: ``top_k`` is not less than the number of classes.
        """
        if len(inputs) > self.batch_rows:
            raise ValueError(f"{len(inputs)} rows are more than one device batch, {self.batch_rows}")
        num_rows = len(inputs)
        with torch.inference_mode(), torch.cuda.stream(next(self._streams)):
            logits_BMC, features = self._forward(self._padded(inputs), members, taps)
            own = {key: feature_B[:num_rows] for key, feature_B in features.items()}
            return Launched(logits_BMC[:num_rows], own, precision=precision, top_k=top_k)

    def not_finite(self, key: str, *, overflowed: bool = False) -> NotFinite:
        """The error of a request whose rows of tensor ``key`` hold NaN or infinity (`Fetched.bad`).

        Args:
            key: of the tensor.
            overflowed: every such row is finite, but beyond what half precision holds (`Fetched.overflowed`).
        """
        if overflowed:
            return NotFinite(
                f"{self._name} answers with values beyond {torch.finfo(torch.float16).max:g} in '{key}': they need "
                "answers of precision fp32",
                field="answers.precision",
                expected="fp32",
                got="fp16",
            )
        return NotFinite(
            f"{self._name} answers with NaN or infinity in '{key}': some row of the data is none that it can take",
            field="teachers",
            got="NaN or infinity",
            hint="look for rows that are far from what the teacher was trained on, or publish another version",
        )

    def _padded(self, rows: Array) -> Tensor:
        num_padded = -(-len(rows) // ROW_MULTIPLE) * ROW_MULTIPLE
        padded_B = np.zeros((num_padded, *rows.shape[1:]), rows.dtype)
        padded_B[: len(rows)] = rows
        batch_B = torch.from_numpy(padded_B)
        if self._device.type == "cuda":
            # pinned memory goes to the GPU while it computes the batch before
            batch_B = batch_B.pin_memory()
        return batch_B.to(self._device, non_blocking=True)


def _streams(device: torch.device) -> list[torch.cuda.Stream | None]:
    """Two to take in turn: on one stream, a batch would wait until the one before is copied out."""
    if device.type != "cuda":
        return [None]
    streams: list[torch.cuda.Stream | None] = [
        torch.cuda.Stream(device),  # type: ignore[no-untyped-call]
        torch.cuda.Stream(device),  # type: ignore[no-untyped-call]
    ]
    # what was put on the device until now, on another stream, is there before these begin
    torch.cuda.synchronize(device)
    return streams
