"""User code that tests the types of the package; `make lint` runs mypy on it."""

from functools import partial
from pathlib import Path
from typing import Any, assert_type

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import nn

from skvaeense import (
    IntrinsicDimensionEstimator,
    SparseAutoencoder,
    VAEase,
    VAEenseTransformer,
    load,
    save,
)
from skvaeense.datasets import make_linear_subspaces, make_ppca, make_sparse_dictionary
from skvaeense.dimension import AutoencoderMethod, Count
from skvaeense.language import to_saelens, top_activating
from skvaeense.metrics import l0
from skvaeense.nets.losses import ELBO, Loss, Terms
from skvaeense.nets.models import VAE, SparseCoder
from skvaeense.nets.networks import MLP, Linear, Network
from skvaeense.nets.penalties import L1, Coding, JumpReLU, Penalty
from skvaeense.nets.priors import Prior
from skvaeense.nets.thresholds import FixedVariance, Latents, Otsu, ThresholdRule

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int_]
Mask = NDArray[np.bool_]


def use_datasets() -> None:
    X, manifold, dimension = make_linear_subspaces(100, dims=[1, 2], random_state=0)
    assert_type(X, Doubles)
    assert_type(manifold, Integers)
    assert_type(dimension, Integers)
    assert_type(make_sparse_dictionary(n_active=(2, 3)), tuple[NDArray[Any], ...])
    assert_type(make_ppca(return_parameters=True)[4], NDArray[Any])
    make_linear_subspaces("100")  # type: ignore[arg-type]


def use_files(sae: SparseAutoencoder, path: Path) -> None:
    save(sae, path, trusted=[L1])
    loaded: SparseAutoencoder = load(str(path), device="cpu", trusted=(L1,))
    to_saelens(loaded, path, metadata={"model_name": "mine"})
    to_saelens(loaded, path, metadata="mine")  # type: ignore[arg-type]


def use_vaeense(X: Doubles) -> None:
    vaeense = VAEenseTransformer(4, target_explained_variance=0.9, random_state=0)
    assert_type(vaeense.fit(X), VAEenseTransformer)
    assert_type(vaeense.partial_fit([[0.0, 1.0]]), VAEenseTransformer)
    assert_type(vaeense.transform(X), Floats | sparse.csr_array | sparse.csr_matrix)
    assert_type(vaeense.fit_transform(X), Floats | sparse.csr_array | sparse.csr_matrix)
    assert_type(vaeense.active_dimensions(X), Mask)
    assert_type(vaeense.inverse_transform(vaeense.transform(X)), Floats)
    assert_type(vaeense.posterior(X), tuple[Floats, ...])
    assert_type(vaeense.score_samples(X), Floats)
    assert_type(vaeense.score(X), float)
    assert_type(vaeense.sample(3, random_state=np.random.RandomState(0)), Floats)
    assert_type(vaeense.components_, Doubles)
    assert_type(vaeense.locations_, Doubles)
    assert_type(vaeense.noise_variance_, float)
    assert_type(vaeense.explanation_, str)
    VAEenseTransformer(model="gates")
    VAEenseTransformer(model="best")  # type: ignore[arg-type]


def use_vaease() -> None:
    vaeense = VAEenseTransformer(4, model=VAEase(Linear((64,)), threshold=Otsu(), gated=False))
    assert_type(vaeense.module_, VAE)
    assert_type(vaeense.loss_curve_, list[float])
    VAEase(loss=ELBO(beta=2.0), optimizer=partial(torch.optim.SGD, momentum=0.5), schedule=falling)
    VAEase(optimizer=torch.optim.RAdam, schedule="cosine")
    VAEase(schedule="linear")  # type: ignore[arg-type]
    VAEase(max_iter="never")  # type: ignore[arg-type]


def use_sparse_autoencoder(X: Doubles) -> None:
    sae = SparseAutoencoder(penalty=JumpReLU(loss="tanh"), network="mlp")
    assert_type(sae.fit(X, None), SparseAutoencoder)
    assert_type(sae.module_, SparseCoder)
    codes = sae.transform(X)
    assert_type(l0(codes), float)
    assert_type(sae.loss_curve_, list[float])


def use_inspection(sae: SparseAutoencoder, X: Doubles) -> None:
    top_activating(sae, sparse.csr_array(X), n_samples=3)


def use_dimension_estimators(X: Doubles) -> None:
    estimator = IntrinsicDimensionEstimator(VAEenseTransformer(), method="count")
    assert_type(estimator.fit(X), IntrinsicDimensionEstimator)
    assert_type(estimator.predict(X), Doubles)
    assert_type(estimator.predict(X, return_std=True), tuple[Doubles, Doubles])
    assert_type(estimator.fit_predict(X), Doubles)
    assert_type(estimator.transform(X), Floats)
    assert_type(estimator.score(X, [1, 2]), float)
    assert_type(estimator.dimension_, float)
    IntrinsicDimensionEstimator(method=Widest(), n_neighbors=50)


def resolve_names() -> None:
    assert_type(Network.resolve("mlp"), Network)
    assert_type(Penalty.resolve(L1(0.2)), Penalty)
    assert_type(AutoencoderMethod.resolve("auto"), AutoencoderMethod)
    assert_type(Loss.resolve(Doubled()), Loss)
    assert_type(Prior.resolve("standard_normal"), Prior)
    model = VAE(MLP(16), 5, 3, generator=torch.Generator())
    assert_type(model.decode(torch.zeros(2, 3)), torch.Tensor)
    terms = ELBO().terms(model, torch.ones(4, 5), generator=torch.Generator())
    assert_type(terms, dict[str, torch.Tensor])


class Doubled(Loss):
    """A custom loss."""

    def terms(self, model: VAE, x: torch.Tensor, *, generator: torch.Generator) -> Terms:
        error, kl = model.elbo(x, generator=generator)
        return {"loss": 2 * (error + kl).mean()}


def falling(fraction_done: float) -> float:
    """Return the factor of a custom schedule."""
    return 1 - fraction_done


class Widest(AutoencoderMethod):
    """A custom method."""

    def estimate(self, autoencoder: Any, X: Floats) -> tuple[Doubles, Doubles]:
        count, std = Count().estimate(autoencoder, X)
        return np.full(len(X), count.max()), std


class HalfVariance(ThresholdRule):
    """A custom rule."""

    def active(self, latents: Latents) -> Mask:
        return np.asarray(latents.log_variance < np.log(0.5)) & FixedVariance().active(latents)


class SquareRoot(Penalty):
    """A custom penalty."""

    def __init__(self, alpha: float = 0.1) -> None:
        self.alpha = alpha

    def build(self, n_components: int, *, unit: float, positive: bool) -> nn.Module:
        return nn.ReLU()

    def cost(self, coding: Coding) -> torch.Tensor:
        return (coding.code.abs() / coding.unit).sqrt().sum(dim=1)
