"""All methods work for tables like those of users, with and without scaling."""

import warnings

import numpy as np
from helpers import fit_unwarned
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from strategies import TABLES, sparse_autoencoder, tables, vaeense

from skvaeense import VAEenseTransformer

# Held-out rows may be this many times farther out in codes than in the table.
FURTHER = 1000


def farthest(X, X_new):
    """Return the largest distance of held-out rows, in standard deviations of training rows."""
    return np.abs(StandardScaler().fit(X).transform(X_new)).max()


def assert_usable(estimator, X, X_new, is_scaled):
    if is_scaled:
        scaler = StandardScaler().fit(X)
        X, X_new = scaler.transform(X), scaler.transform(X_new)
    with warnings.catch_warnings():
        # Warnings about far rows and about scores of repeated values do not matter here.
        warnings.simplefilter("ignore", UserWarning)
        fitted = fit_unwarned(estimator, X)
        score = fitted.score(X) if np.ptp(X, axis=0).any() else 0.0
    codes, new = fitted.transform(X), fitted.transform(X_new)
    answers = [score, codes, new, fitted.score_samples(X_new), fitted.inverse_transform(new)]
    if hasattr(fitted, "predict"):
        answers.append(fitted.predict(X_new))
    assert all(np.isfinite(answer).all() for answer in answers)
    assert farthest(codes, new) <= FURTHER * max(farthest(X, X_new), 1)


def halves(kind, seed):
    """Return thirty training rows of a table, and thirty other rows."""
    X = TABLES[kind](np.random.default_rng(seed), 60, 6)
    return X[:30], X[30:]


@settings(max_examples=5)
@given(table=tables(), is_scaled=st.booleans())
@example(table=halves("binary", 0), is_scaled=False)
@example(table=halves("one-hot", 8), is_scaled=False)
def test_default_fits_of_tables(table, is_scaled):
    assert_usable(VAEenseTransformer(random_state=0), *table, is_scaled)


@settings(max_examples=20)
@given(
    table=tables(),
    is_scaled=st.booleans(),
    estimator=st.sampled_from(
        [
            vaeense(),
            VAEenseTransformer(model="gates", random_state=0),
            VAEenseTransformer(3, target_l0=1.5, random_state=0),
            sparse_autoencoder(),
            sparse_autoencoder("batch_topk", n_components=None),
        ]
    ),
)
def test_short_fits_of_tables(table, is_scaled, estimator):
    assert_usable(estimator, *table, is_scaled)
