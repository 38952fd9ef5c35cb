"""Parameters that are out of their range, or that contradict each other."""

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.utils._param_validation import InvalidParameterError

from bad_inputs.rows import (
    AUTOENCODERS,
    DIVERGED,
    EVERY,
    INTRINSIC,
    SPARSE,
    TRAINED,
    VAEASE,
    VAEENSE,
    parameter,
    together,
)
from skvaeense import VAEase, VAEenseTransformer
from skvaeense.dimension import Consensus, Neighbors
from skvaeense.nets.losses import ELBO, PenalizedReconstruction
from skvaeense.nets.networks import MLP, Linear, SingleLayer
from skvaeense.nets.penalties import L1, BatchTopK, Gated, JumpReLU, Log, Matryoshka, TopK
from skvaeense.nets.thresholds import Contribution, FixedVariance

COUNT = "an int in the range [1, inf)"
OR_SHARE = f"None or {COUNT} (set target_explained_variance for a share of the variance)"
POSITIVE, NON_NEGATIVE = "a float in the range (0.0, inf)", "a float in the range [0.0, inf)"
LIST = "a list such as [4, 2], each entry"
COUNTS = f"{COUNT}, {LIST} {COUNT} or None"
LENGTHS = COUNTS.replace(COUNT, POSITIVE)
SWITCH = "an instance of 'bool' or an instance of 'numpy.bool'"
OPTIMIZER = "a str among {…}, a class … or functools.partial of such a class with its settings"
AUTO = " or a str among {'auto'}"
SHARE = "a float in the range (0.0, 1.0)"
AT_LEAST_4 = "an int in the range [4, inf) or a str among {'auto'}"
SEED = "an int in the range [0, 4294967295], an instance of …RandomState' or None"
NAN, INF = float("nan"), float("inf")


class OnlyCounts(BaseEstimator):
    """An autoencoder that cannot decode."""

    def fit(self, X, y=None):
        return self

    def active_dimensions(self, X):
        return np.ones(np.shape(X), dtype=bool)


def part_kind(estimators, room, kind, **params):
    """Return the row of an invalid part of an estimator, whose valid kind is in a subpackage."""
    must = f"a str among {{…}} or an instance of 'skvaeense.nets.{room}.{kind}'"
    return parameter(estimators, must, **params)


def autoencoder_kind(autoencoder):
    """Return the row of an invalid autoencoder."""
    must = "an object implementing … or None"
    return parameter(INTRINSIC, must, autoencoder=autoencoder)


PARAMETERS = [
    *(parameter(SPARSE, f"{COUNT} or None", n_components=v) for v in (0, "all")),
    *(parameter(VAEENSE, OR_SHARE, n_components=v) for v in (0, 0.9)),
    *(
        parameter(VAEENSE, "a str among {…} or an instance of '….VAEase'", model=v)
        for v in ("vae", VAEase)
    ),
    parameter(EVERY, f"an int in the range [0, inf), {SWITCH}", verbose=-1),
    *(parameter(TRAINED, COUNT + AUTO, batch_size=v) for v in (0, 2.5)),
    *(parameter(TRAINED, COUNT + AUTO, max_iter=v) for v in (0, None)),
    parameter(VAEASE, COUNT + AUTO, n_init=0),
    parameter(TRAINED, COUNT, n_iter_no_change=0),
    parameter(TRAINED, f"{COUNT} or None", n_samples_planned=0),
    parameter(SPARSE, COUNT, dead_after=0),
    *(parameter(VAEASE, POSITIVE, learning_rate_init=v) for v in (0, "auto")),
    parameter(SPARSE, POSITIVE + AUTO, learning_rate_init=INF),
    *(parameter(VAEASE, POSITIVE + AUTO, noise_variance=v) for v in (0.0, "pca", [1.0])),
    *(parameter(TRAINED, NON_NEGATIVE, tol=v) for v in (-1e-3, NAN)),
    *(parameter(VAEENSE + SPARSE, f"{POSITIVE} or None", target_l0=v) for v in (0, "auto")),
    *(parameter(VAEENSE + SPARSE, f"{POSITIVE} or None", transform_l0=v) for v in (0, [2])),
    parameter(VAEASE, SWITCH, gated="yes"),
    parameter(VAEASE, SWITCH, learn_noise_variance=2),
    parameter(VAEENSE, SWITCH + AUTO, hard=None),
    *(
        parameter(VAEENSE, f"{SHARE}, a str among {{…}} or None", target_explained_variance=v)
        for v in (1, "most")
    ),
    *(parameter(VAEENSE, f"{SHARE} or None", transform_explained_variance=v) for v in (1, [0.5])),
    parameter(AUTOENCODERS, SWITCH, positive_code="yes"),
    parameter(SPARSE, SWITCH, skip_connection="yes"),
    parameter(AUTOENCODERS, SWITCH, sparse_output="csr"),
    parameter(AUTOENCODERS, SWITCH, warm_start=1.5),
    *(part_kind(TRAINED, "networks", "Network", network=v) for v in ("conv9", Linear)),
    *(part_kind(SPARSE, "penalties", "Penalty", penalty=v) for v in ("l2", 0.1, L1, Linear())),
    *(part_kind(VAEASE, "thresholds", "ThresholdRule", threshold=v) for v in ("none", 0.5)),
    part_kind(VAEASE, "losses", "Loss", loss="penalized_reconstruction"),
    part_kind(SPARSE, "losses", "Loss", loss="elbo"),
    part_kind(TRAINED, "losses", "Loss", loss=L1()),
    part_kind(VAEASE, "priors", "Prior", prior="normal"),
    *(parameter(TRAINED, OPTIMIZER, optimizer=v) for v in ("lbfgs", 0.1, torch.optim.LBFGS)),
    parameter(TRAINED, "a str among {…} or a callable", schedule="linear"),
    *map(autoencoder_kind, ("vae", PCA())),
    *(
        parameter(
            INTRINSIC,
            "a str among {…} or an instance of 'skvaeense.dimension._methods.AutoencoderMethod'",
            method=v,
        )
        for v in ("mle", PCA())
    ),
    parameter(INTRINSIC, AT_LEAST_4, n_neighbors=3),
    parameter(INTRINSIC, "a str among {…}", aggregate="max"),
    parameter(AUTOENCODERS, "a str among {…}", dtype="float16"),
    parameter(AUTOENCODERS, "an instance of 'str'", device=0),
    *(parameter(EVERY, SEED, random_state=v) for v in ("seed", -1)),
]


def of_part(estimators, part, name, must, **params):
    """Return the row of a parameter of a part, which is a penalty or an estimator."""
    message = f"The {name!r} parameter of {part} must be {must}. Got … instead."
    return together(estimators, message, InvalidParameterError, **params)


WIDTHS = f"a str among {{'auto'}}, {COUNT}, {LIST} {COUNT} or a tuple among {{()}}"

NESTED = [
    *(of_part(SPARSE, "L1", "alpha", NON_NEGATIVE, penalty=L1(v)) for v in (-0.1, NAN)),
    of_part(SPARSE, "Log", "alpha", NON_NEGATIVE, penalty=Log(-1)),
    of_part(SPARSE, "Log", "eps", POSITIVE, penalty=Log(eps=0)),
    of_part(SPARSE, "Gated", "alpha", NON_NEGATIVE, penalty=Gated("auto")),
    of_part(SPARSE, "JumpReLU", "alpha", NON_NEGATIVE, penalty=JumpReLU(-0.1)),
    of_part(SPARSE, "JumpReLU", "loss", "a str among {…}", penalty=JumpReLU(loss="l1")),
    of_part(SPARSE, "JumpReLU", "bandwidth", POSITIVE, penalty=JumpReLU(bandwidth=0)),
    of_part(SPARSE, "JumpReLU", "threshold", POSITIVE, penalty=JumpReLU(threshold=0)),
    of_part(SPARSE, "JumpReLU", "tanh_scale", POSITIVE, penalty=JumpReLU(tanh_scale=-1)),
    of_part(SPARSE, "TopK", "k", COUNTS, penalty=TopK(0)),
    of_part(SPARSE, "TopK", "k", COUNTS, penalty=TopK([3, 2.5])),
    of_part(SPARSE, "BatchTopK", "k", LENGTHS, penalty=BatchTopK(0)),
    of_part(SPARSE, "Matryoshka", "k", LENGTHS, penalty=Matryoshka(0)),
    of_part(SPARSE, "Matryoshka", "n_prefixes", COUNT, penalty=Matryoshka(n_prefixes=0)),
    of_part(VAEASE, "ELBO", "beta", NON_NEGATIVE, loss=ELBO(beta=-1)),
    of_part(
        SPARSE, "PenalizedReconstruction", "decay", NON_NEGATIVE, loss=PenalizedReconstruction(NAN)
    ),
    of_part(INTRINSIC, "Neighbors", "n_neighbors", AT_LEAST_4, method=Neighbors(3)),
    of_part(INTRINSIC, "Consensus", "n_neighbors", AT_LEAST_4, method=Consensus(5.0)),
    of_part(
        INTRINSIC,
        "VAEenseTransformer",
        "target_l0",
        f"{POSITIVE} or None",
        autoencoder=VAEenseTransformer(target_l0=0),
    ),
    of_part(
        INTRINSIC,
        "VAEase",
        "n_init",
        COUNT + AUTO,
        autoencoder=VAEenseTransformer(model=VAEase(n_init=0)),
    ),
    *(
        of_part(TRAINED, type(network).__name__, "hidden_layer_sizes", WIDTHS, network=network)
        for network in (Linear((0,)), MLP((-3, 4)), Linear(0), MLP("wide"))
    ),
    of_part(
        TRAINED,
        "Linear",
        "skip",
        f"{SWITCH} or a str among {{'first'}}",
        network=Linear(skip="last"),
    ),
    of_part(TRAINED, "SingleLayer", "init_norm", POSITIVE + AUTO, network=SingleLayer(init_norm=0)),
    of_part(VAEASE, "FixedVariance", "level", SHARE, threshold=FixedVariance(1.5)),
    of_part(VAEASE, "Contribution", "level", NON_NEGATIVE, threshold=Contribution(-1)),
    *(
        together(
            AUTOENCODERS,
            f"device must be 'auto' or a torch device that works here, got {device!r}. torch "
            "reports: …",
            device=device,
        )
        for device in ("toaster", "meta")
    ),
]

TOGETHER = [
    *(
        together(
            estimators,
            f"loss={loss!r} needs the method …, which … does not have. Set another loss.",
            loss=loss,
        )
        for estimators, loss in ((VAEASE, PenalizedReconstruction()), (SPARSE, ELBO()))
    ),
    together(
        VAEASE,
        "learn_noise_variance=False keeps the given noise_variance, so noise_variance must be a "
        "number, in squared units of X; got 'auto'.",
        learn_noise_variance=False,
        noise_variance="auto",
    ),
    *(
        together(
            VAEASE,
            f"noise_variance={value:g} must be within a factor of 1.8e+19 of …, the square of the "
            'scale … of X. Give the noise variance in squared units of X, or "auto".',
            noise_variance=value,
        )
        for value in (1e-30, 1e30)
    ),
    together(
        VAEASE,
        "Unrolled gives codes without a posterior, so it only works in SparseAutoencoder. Set "
        'network="linear".',
        network="unrolled",
    ),
    *(
        together(
            VAEASE,
            f"{name}={value!r} sets a price on gates, which model=… does not have. Leave it out, "
            'or set model="auto".',
            **{name: value},
        )
        for name, value in [("target_l0", 2), ("target_explained_variance", 0.9)]
    ),
    together(
        VAEENSE,
        "target_l0 and target_explained_variance cannot both be set. Leave one of them None.",
        target_l0=2,
        target_explained_variance=0.9,
    ),
    together(
        VAEENSE,
        "target_l0=9 must be at most the number of features, 4, unless n_components is given.",
        n_components=None,
        target_l0=9,
    ),
    together(
        SPARSE,
        "The gated penalty does not allow codes of both signs, because a gate opens on one side "
        "only. Set positive_code=True, or another penalty.",
        penalty="gated",
        positive_code=False,
    ),
    together(
        SPARSE,
        "skip_connection=True needs a target, as in fit(X, Y). Without a target, its linear map "
        "would reconstruct all samples without a code.",
        skip_connection=True,
    ),
    together(
        SPARSE,
        "target_l0=2 adapts the coefficient alpha, but TopK(k=3) has no alpha. Set its k instead, "
        "and leave target_l0=None.",
        penalty=TopK(3),
        target_l0=2,
    ),
    together(
        VAEENSE + SPARSE,
        "target_l0=9 must be at most n_components=3.",
        n_components=3,
        target_l0=9,
    ),
    together(
        SPARSE,
        "target_l0=2 adapts alpha by factors, so the initial alpha must be above 0; got "
        "L1(alpha=0).",
        penalty=L1(0),
        target_l0=2,
    ),
    together(
        INTRINSIC,
        "Neighbors needs an autoencoder with transform and inverse_transform, which OnlyCounts() "
        'does not have. Set method="count".',
        autoencoder=OnlyCounts(),
        method="neighbors",
    ),
    *(
        together(TRAINED, DIVERGED, FloatingPointError, learning_rate_init=rate)
        for rate in (1e30, 1e300)
    ),
    together(TRAINED, DIVERGED, FloatingPointError, learning_rate_init=1e300, optimizer="sgd"),
]
