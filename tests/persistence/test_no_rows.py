"""Files of estimators hold no training row, whatever the parameters."""

import numpy as np
import pytest
from helpers import APART, PAIRS, PENALTIES, SUBSPACES, fit_unwarned, quick_sae, quick_vaeense
from safetensors.numpy import load_file
from sklearn.base import clone

from skvaeense import IntrinsicDimensionEstimator, VAEenseTransformer, save
from skvaeense.explanations import GateDictionary
from skvaeense.mixture import SubspaceMixture

# A row is stored if its direction is, up to rounding in single precision.
LEAST_COSINE = 1 - 1e-9
LAWS = {
    "default": VAEenseTransformer(random_state=0),
    "so many latents": VAEenseTransformer(n_components=4, random_state=0),
    "length": VAEenseTransformer(target_l0=2, random_state=0),
    "more latents than needed": VAEenseTransformer(60, target_l0=2, random_state=0),
    "share": VAEenseTransformer(target_explained_variance=0.9, random_state=0),
    "no share": VAEenseTransformer(target_explained_variance=None, random_state=0),
    "positive": VAEenseTransformer(positive_code=True, random_state=0),
    "mixture": VAEenseTransformer(model="mixture", random_state=0),
    "gates": VAEenseTransformer(model="gates", random_state=0),
    "shorter codes": VAEenseTransformer(model="gates", transform_l0=1, random_state=0),
    "subspace mixture": SubspaceMixture(random_state=0),
    "many components": SubspaceMixture(40, random_state=0),
    "dictionary": GateDictionary(random_state=0),
    "dictionary of a length": GateDictionary(target_l0=2, random_state=0),
    "dictionary of a share": GateDictionary(60, target_explained_variance=0.9, random_state=0),
}
NETS = {
    "vaease": quick_vaeense(),
    "vaease, mlp": quick_vaeense(network="mlp"),
    "vaease, three inits": quick_vaeense(n_init=3),
    "vaease, not gated": quick_vaeense(gated=False),
    "vaease, double": quick_vaeense(dtype="float64"),
    **{name: quick_sae(penalty) for name, penalty in PENALTIES.items()},
    "unrolled": quick_sae(PENALTIES["topk"], network="unrolled"),
    "target": quick_sae(target_l0=2),
    "counts": IntrinsicDimensionEstimator(VAEenseTransformer(random_state=0), method="count"),
    "ranks": IntrinsicDimensionEstimator(
        VAEenseTransformer(random_state=0), method="component_rank"
    ),
}


def unit(rows):
    """Return rows of norm 1, without those that are 0."""
    sizes = np.linalg.norm(rows, axis=1)
    return rows[sizes > 0] / sizes[sizes > 0, None]


def vectors_of(arrays, d):
    """Return all vectors of d numbers in arrays of 2 and more dimensions, of norm 1."""
    found = [np.zeros((0, d))]
    for array in arrays:
        for axis in range(array.ndim if array.ndim > 1 else 0):
            if array.shape[axis] == d:
                found.append(np.moveaxis(array, axis, -1).reshape(-1, d))
    return unit(np.concatenate(found, dtype=np.float64))


def stored_rows(path, X):
    """Return the positions of the rows that a file holds: as they are, centred, or scaled."""
    arrays, d = load_file(path), X.shape[1]
    vectors = vectors_of(arrays.values(), d)
    # Every stored vector of one number a feature, and every mean, can be a centre of the rows.
    centers = [np.zeros(d), X.mean(axis=0), np.median(X, axis=0)]
    centers += [a for a in arrays.values() if a.shape == (d,) and a.dtype.kind == "f"]
    centers += [*arrays.get("means_", ()), *arrays.get("locations_", ())]
    held = np.zeros(len(X), dtype=bool)
    for center in centers:
        cosines = np.abs(unit(X - center) @ vectors.T)
        held |= (cosines > LEAST_COSINE).any(axis=1)
    return np.flatnonzero(held).tolist()


@pytest.mark.parametrize("samples", [SUBSPACES, APART, PAIRS], ids=["lines", "apart", "pairs"])
@pytest.mark.parametrize("name", LAWS)
def test_laws_hold_no_rows(name, samples, tmp_path):
    X = noisy(samples.train[:400])
    path = tmp_path / "file"
    estimator = fit_unwarned(clone(LAWS[name]), X)
    save(estimator, path)
    assert stored_rows(path, X) == []
    if hasattr(estimator, "partial_fit"):
        save(estimator.partial_fit(X), path)
        assert stored_rows(path, X) == []


@pytest.mark.parametrize("name", NETS)
def test_nets_hold_no_rows(name, tmp_path):
    X = noisy(SUBSPACES.train[:400])
    path = tmp_path / "file"
    save(fit_unwarned(clone(NETS[name]), X), path)
    assert stored_rows(path, X) == []
    if hasattr(NETS[name], "partial_fit"):
        save(fit_unwarned(clone(NETS[name]), X, "partial_fit"), path)
        assert stored_rows(path, X) == []


def noisy(X):
    """Return samples with so much noise that no two have the same direction."""
    return X + 0.05 * np.random.default_rng(0).standard_normal(X.shape)


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_that_is_held_is_seen(scale, dtype, tmp_path):
    """Otherwise the other tests could not fail."""
    X = noisy(SUBSPACES.train[:400])
    mixture = SubspaceMixture(random_state=0).fit(X)
    for rows in (X[[3, 7]], (X - X.mean(axis=0))[None, [3, 7]], (X - mixture.means_[0])[[3, 7]].T):
        mixture.note = (scale * rows).astype(dtype)
        save(mixture, tmp_path / "file")
        assert stored_rows(tmp_path / "file", X) == [3, 7]
