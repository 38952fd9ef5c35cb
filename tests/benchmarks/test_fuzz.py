"""Cases of the benchmark that draws random tables and estimators."""

import numpy as np
import pytest

from benchmarks import fuzz
from skvaeense import (
    IntrinsicDimensionEstimator,
    SparseAutoencoder,
    VAEase,
    VAEenseTransformer,
)
from skvaeense.explanations import GateDictionary
from skvaeense.mixture import SubspaceMixture


def test_cases_have_every_estimator_and_the_model_of_the_paper():
    estimators = [fuzz.Case(seed).last for seed in range(100)]
    assert {type(estimator) for estimator in estimators} == {
        VAEenseTransformer,
        SparseAutoencoder,
        SubspaceMixture,
        GateDictionary,
        IntrinsicDimensionEstimator,
    }
    models = [e.model for e in estimators if isinstance(e, VAEenseTransformer)]
    assert {model for model in models if isinstance(model, str)} == {"auto", "mixture", "gates"}
    assert any(isinstance(model, VAEase) for model in models)


def test_changes_do_what_their_names_say():
    X = np.random.default_rng(0).standard_normal((200, 3))
    changed = {
        name: fuzz.changed(np.random.default_rng(1), name, X.copy()) for name in fuzz.CHANGES
    }
    assert len(np.unique(changed["few distinct rows"], axis=0)) <= 20
    assert len(changed["few distinct rows"]) == 200
    ratio = np.linalg.norm(changed["far rows"], axis=1) / np.linalg.norm(X, axis=1)
    assert 1 <= (ratio > 99).sum() <= 3
    scale = np.abs(changed["extreme units"]).max() / np.abs(X).max()
    assert scale == pytest.approx(1e-160) or scale > 1e159
