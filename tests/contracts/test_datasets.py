"""What the data section of a job file refuses by itself."""

from typing import Any

import pytest
from pydantic import ValidationError

from distill.contracts.datasets import DigitsData


@pytest.mark.parametrize("seed", [-1, 2**63])
@pytest.mark.parametrize(
    "section",
    [
        {"validation": {"seed": None}},
        {"labels": {"kind": "count", "count": 10, "seed": None}},
        {"augmentation": {"policy": "crop-flip", "seed": None}},
    ],
    ids=["validation", "labels", "augmentation"],
)
def test_a_seed_that_no_generator_takes_is_refused(section: dict[str, dict[str, Any]], seed: int):
    seeded = {name: fields | {"seed": seed} for name, fields in section.items()}
    with pytest.raises(ValidationError, match="seed"):
        DigitsData.model_validate({"source": "digits", **seeded})
