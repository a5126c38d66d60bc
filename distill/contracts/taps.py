"""What is wanted of a model's inner modules: a feature as it is, or no more of it than a loss needs.

Shapes of one row: C channels, H height, W width, L tokens, D features.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from distill.contracts.base import Spec

RowShape = tuple[int, ...]


class WholeTap(Spec):
    """The module's output as it is."""

    kind: Literal["whole"] = "whole"
    name: str

    @property
    def key(self) -> str:
        """What it is called in an answer."""
        return self.name

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that it is made of."""
        return (self.name,)

    def row_shape(self, shapes: Mapping[str, RowShape]) -> RowShape:
        """The shape of one row, from those of the modules."""
        return shapes[self.name]


class AttentionTap(Spec):
    """Where the module looks: the mean over channels of ``|a| ** power``, (H, W) of (C, H, W), or (L,) of (L, D)."""

    kind: Literal["attention"] = "attention"
    name: str
    power: float = Field(gt=0)

    @property
    def key(self) -> str:
        """What it is called in an answer."""
        return f"attention:{self.power:g}:{self.name}"

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that it is made of."""
        return (self.name,)

    def row_shape(self, shapes: Mapping[str, RowShape]) -> RowShape:
        """The shape of one row, from those of the modules.

        Raises:
            ValueError: the module gives neither maps nor tokens.
        """
        shape = shapes[self.name]
        if len(shape) not in {2, 3}:
            raise ValueError(f"'{self.name}' gives {shape}: attention needs maps (C, H, W) or tokens (L, D)")
        return shape[1:] if len(shape) == 3 else shape[:1]


class PooledTap(Spec):
    """Maps (C, H, W) averaged over a coarser grid, (C, *size)."""

    kind: Literal["pooled"] = "pooled"
    name: str
    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]

    @property
    def key(self) -> str:
        """What it is called in an answer."""
        return f"pooled:{self.size[0]}x{self.size[1]}:{self.name}"

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that it is made of."""
        return (self.name,)

    def row_shape(self, shapes: Mapping[str, RowShape]) -> RowShape:
        """The shape of one row, from those of the modules.

        Raises:
            ValueError: the module gives no maps.
        """
        shape = shapes[self.name]
        if len(shape) != 3:
            raise ValueError(f"'{self.name}' gives {shape}: only maps (C, H, W) are pooled")
        return (shape[0], *self.size)


class FlowTap(Spec):
    """Inner products between the channels of two modules' maps, (C of the first, C of the second)."""

    kind: Literal["flow"] = "flow"
    first: str
    second: str

    @property
    def key(self) -> str:
        """What it is called in an answer."""
        return f"flow:{self.first}:{self.second}"

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that it is made of."""
        return (self.first, self.second)

    def row_shape(self, shapes: Mapping[str, RowShape]) -> RowShape:
        """The shape of one row, from those of the modules.

        Raises:
            ValueError: a module gives no maps.
        """
        for name in self.modules:
            if len(shapes[name]) != 3:
                raise ValueError(f"'{name}' gives {shapes[name]}: flow needs maps (C, H, W)")
        return shapes[self.first][0], shapes[self.second][0]


TapSpec = Annotated[WholeTap | AttentionTap | PooledTap | FlowTap, Field(discriminator="kind")]


class MemberTap(Spec):
    """A tap of one member."""

    member: int = Field(ge=0)
    tap: TapSpec
