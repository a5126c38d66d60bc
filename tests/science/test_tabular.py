"""scikit-learn's bundled sets: its rows, its classes, and a net that learns them through its normalisation."""

import numpy as np
import pytest
from pydantic import TypeAdapter
from sklearn import datasets

from distill.contracts.datasets import DatasetSpec, TabularData
from distill.science.datasets import load

LOADERS = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast-cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
}


def read(name, settings):
    return load(TypeAdapter(DatasetSpec).validate_python({"source": "sklearn", "name": name}), settings)


@pytest.mark.parametrize("name", LOADERS)
def test_its_rows_and_classes_are_scikit_learns_and_every_fifth_row_is_test_data(name, settings):
    data, theirs = read(name, settings), LOADERS[name]()

    rest = np.delete(np.arange(len(theirs.target)), np.s_[4::5])
    assert np.array_equal(data.inputs, theirs.data[rest].astype(np.float32))
    assert np.array_equal(data.test_inputs, theirs.data[4::5].astype(np.float32))
    assert (data.labels.tolist(), data.test_labels.tolist()) == (
        theirs.target[rest].tolist(),
        theirs.target[4::5].tolist(),
    )
    assert data.facts.classes == tuple(str(name) for name in theirs.target_names)


@pytest.mark.parametrize("name", LOADERS)
def test_its_classes_are_known_before_it_is_read(name, settings):
    assert TabularData(source="sklearn", name=name).known_classes == read(name, settings).facts.classes


def test_mean_and_spread_are_those_of_each_feature_over_the_training_rows(settings):
    data = read("wine", settings)

    rows = data.inputs[data.train_rows].double().numpy()
    assert data.input.mean == pytest.approx(rows.mean(axis=0), rel=1e-6)
    assert data.input.std == pytest.approx(rows.std(axis=0), rel=1e-5)


def test_each_set_has_a_digest_of_its_own(settings):
    assert len({read(name, settings).facts.digest for name in LOADERS}) == len(LOADERS)
