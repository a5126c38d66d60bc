"""The model runner: all members of a teacher on one device, in evaluation mode, without gradients.

Shapes: N rows of a window, B rows of a device batch, M members asked, C classes.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from distill.contracts.errors import InvalidSpec, InvalidWeights, NotFinite, TooLarge
from distill.contracts.models import InputSpec
from distill.contracts.taps import MemberTap, RowShape
from distill.science.models import Classifier
from distill.science.taps import Taps
from distill.science.terms.features import reduced
from distill.science.weights import load_model
from teacher_server.folder import ensemble_digest, member_folder, read_manifest
from teacher_server.window import LOGITS, Array, tap_key

ROW_MULTIPLE = 32
"""Device batches are padded to multiples of this: kernels differ between 1, 2 and more rows in a result's last bits."""

MAX_ANSWER_BYTES = 256 * 2**20
"""A tap can be a thousand times larger than its input: what one window asks for must not take the node's memory."""

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


class Ensemble:
    """Members that answer the same rows. Not for two threads at once."""

    def __init__(
        self,
        members: Sequence[Classifier],
        *,
        input: InputSpec,
        taps: Sequence[Mapping[str, RowShape]],
        device: torch.device,
        max_batch_rows: int,
        name: str = "the teacher",
    ) -> None:
        """Take the members over: they are moved to ``device`` and put in evaluation mode.

        Args:
            members: in manifest order.
            input: what a row looks like.
            taps: of each member, the modules that may be asked and the shape of one row, as the manifest lists them.
            device: where all of them run.
            max_batch_rows: rows of one forward pass; rounded down to a multiple of 32, at least 32.
            name: what it is called in errors, such as ``fashion@3``.
        """
        self.input = input
        self._name = name
        self.num_members = len(members)
        self._members = [member.to(device).eval() for member in members]
        self._shapes = list(taps)
        self._device = device
        self._batch_rows = max(ROW_MULTIPLE, max_batch_rows // ROW_MULTIPLE * ROW_MULTIPLE)

    @classmethod
    def load(
        cls, folder: Path, *, digest: str, device: torch.device, max_batch_rows: int, plugins: Collection[str] = ()
    ) -> Self:
        """The ensemble of a version's folder; ``plugins`` are the import paths that its members may name.

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
        members = [model for model, _ in loaded]
        taps = [member.taps for member in manifest.members]
        name = f"{manifest.teacher}@{manifest.version}"
        return cls(members, input=manifest.input, taps=taps, device=device, max_batch_rows=max_batch_rows, name=name)

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

    def answer(
        self,
        inputs: Array,
        *,
        members: tuple[int, ...],
        precision: Literal["fp32", "fp16"],
        taps: tuple[MemberTap, ...],
    ) -> dict[str, Array]:
        """Answer a window.

        Args:
            inputs: rows (N, ...) as `window.read_inputs` lets them pass.
            members: M positions, as `choose_members` gives them.
            precision: of every floating-point tensor in the answer.
            taps: as `check_taps` lets them pass; each is reduced here.

        Returns:
            ``logits`` (N, M, C), and ``tap.<member>.<key>`` (N, ...). A row's answer depends on that row alone.

        Raises:
            NotFinite: a tensor holds NaN or infinity.
            TooLarge: the whole would be more than `MAX_ANSWER_BYTES`.
        """
        parts: list[dict[str, Array]] = []
        with torch.inference_mode():
            for start in range(0, len(inputs), self._batch_rows):
                part = self._answer_batch(inputs[start : start + self._batch_rows], members, taps)
                # off the device at once: it holds one batch, whatever the window
                parts.append({key: self._to_send(key, tensor, DTYPES[precision]) for key, tensor in part.items()})
                _check_size(parts[0], len(inputs))
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

    def _answer_batch(self, rows: Array, members: tuple[int, ...], taps: tuple[MemberTap, ...]) -> dict[str, Tensor]:
        batch_B = self._padded(rows)
        tensors: dict[str, Tensor] = {}
        logits = []
        for member in members:
            with ExitStack() as stack:
                wanted = [asked.tap for asked in taps if asked.member == member]
                names = tuple(dict.fromkeys(name for tap in wanted for name in tap.modules))
                features = stack.enter_context(Taps(self._members[member], names)) if names else {}
                logits.append(self._members[member](batch_B)[: len(rows)])
                tensors |= {tap_key(member, tap): reduced(tap, features)[: len(rows)] for tap in wanted}
        return {LOGITS: torch.stack(logits, dim=1), **tensors}

    def _to_send(self, key: str, tensor: Tensor, dtype: torch.dtype) -> Array:
        if tensor.is_floating_point():
            sent = tensor.to(dtype)
            if not bool(torch.isfinite(sent).all()):
                raise self._not_finite(key, tensor, dtype)
            tensor = sent
        array: Array = tensor.cpu().numpy()
        return array

    def _not_finite(self, key: str, tensor: Tensor, dtype: torch.dtype) -> NotFinite:
        if bool(torch.isfinite(tensor).all()):
            return NotFinite(
                f"{self._name} answers with values beyond {torch.finfo(dtype).max:g} in '{key}': they need answers of "
                "precision fp32",
                field="answers.precision",
                expected="fp32",
                got=str(dtype).removeprefix("torch."),
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
        return torch.from_numpy(padded_B).to(self._device)


def _check_size(first: Mapping[str, Array], num_rows: int) -> None:
    row_bytes = sum(tensor[0].nbytes for tensor in first.values())
    if num_rows * row_bytes > MAX_ANSWER_BYTES:
        raise TooLarge(
            f"the answer to {num_rows} rows would take {num_rows * row_bytes} bytes, and a teacher gives {MAX_ANSWER_BYTES}: "
            f"ask for at most {MAX_ANSWER_BYTES // row_bytes} rows at once, or for fewer taps",
            field="num_rows",
        )
