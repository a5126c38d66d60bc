"""The student as a job names it: its architecture, and the weights that it starts from."""

from typing import Annotated

from pydantic import Field

from distill.contracts.models import PluginModel, TransformersModel, TransformersWeightsRef, WeightsRef, ZooModel


class ZooStudent(ZooModel):
    """A student of the zoo."""

    init_from: WeightsRef | None = None
    """Start from these weights rather than from random ones."""


class TransformersStudent(TransformersModel):
    """A student of the transformers library."""

    init_from: TransformersWeightsRef | None = None
    """A folder gives its configuration too, which ``config`` overrides."""


class PluginStudent(PluginModel):
    """A student of the operator's own."""

    init_from: WeightsRef | None = None
    """Start from these weights rather than from what the factory gives."""


StudentSpec = Annotated[ZooStudent | TransformersStudent | PluginStudent, Field(discriminator="source")]
