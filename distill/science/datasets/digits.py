"""scikit-learn's bundled digits: always there, no file of ours."""

import torch

from distill.contracts.datasets import DIGITS_CLASSES
from distill.science.datasets.raw import Raw, Split


def load_digits() -> Raw:
    """1,438 training and 359 test rows of grey 8 x 8 images; every fifth row of the 1,797 is test data.

    scikit-learn's brightness goes from 0 to 16; here it is spread over 0 to 255.
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    images = (torch.from_numpy(digits.images) * (255 / 16)).round().to(torch.uint8).unsqueeze(1)  # (1797, 1, 8, 8)
    labels = torch.from_numpy(digits.target).long()
    is_test = torch.arange(len(labels)) % 5 == 4
    return Raw(
        train=Split(images[~is_test], labels[~is_test]),
        test=Split(images[is_test], labels[is_test]),
        classes=DIGITS_CLASSES,
    )
