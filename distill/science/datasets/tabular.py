"""scikit-learn's bundled classification sets, as vectors: always there, no file of ours.

Shapes: N rows, F features.
"""

import torch
from torch import Tensor

from distill.contracts.datasets import TabularData
from distill.science.datasets.raw import Raw, Split


def load_tabular(spec: TabularData) -> Raw:
    """The set's rows in its own order, as float32 in its own units; every fifth row is test data."""
    inputs_NF, labels_N = _bundled(spec.name)
    is_test = torch.arange(len(labels_N)) % 5 == 4
    return Raw(
        train=Split(inputs_NF[~is_test], labels_N[~is_test]),
        test=Split(inputs_NF[is_test], labels_N[is_test]),
        classes=spec.known_classes,
    )


def _bundled(name: str) -> tuple[Tensor, Tensor]:
    from sklearn import datasets

    loaders = {
        "iris": datasets.load_iris,
        "wine": datasets.load_wine,
        "breast-cancer": datasets.load_breast_cancer,
        "digits": datasets.load_digits,
    }
    inputs, labels = loaders[name](return_X_y=True)
    return torch.from_numpy(inputs).float(), torch.from_numpy(labels).long()
