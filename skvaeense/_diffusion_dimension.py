"""DiffusionDimensionEstimator: the dimension of each sample from the score of noisy samples."""

import copy
import math
from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Literal

import numpy as np
import torch

from skvaeense._dimension import BaseDimensionEstimator
from skvaeense._evaluation import ModelEvaluation, rows_at_a_time
from skvaeense.dimension import ScoreMethod
from skvaeense.dimension._normal_bundle import simplex
from skvaeense.losses import DenoisingScoreMatching
from skvaeense.models import Denoiser
from skvaeense.networks._layers import check_layer_sizes
from skvaeense.optimizers import Adam
from skvaeense.schedules import Cosine
from skvaeense.training._data import prepare_data
from skvaeense.training._devices import DTYPES, resolve_device
from skvaeense.training._phase import Phase, Plateau
from skvaeense.training._scaling import Scaling
from skvaeense.training._session import FitSession
from skvaeense.training._sizes import HELD_OUT, LONG_STEPS, n_epochs
from skvaeense.training._threads import suited_threads, threads_of_all
from skvaeense.training._trainer import Trainer
from skvaeense.utils._blocks import SOME_ROWS
from skvaeense.utils._callbacks import CallbackSupportMixin
from skvaeense.utils._processes import find_processes
from skvaeense.utils._seeding import draw_seed, make_generator
from skvaeense.utils._typing import Auto, Precision, RandomState
from skvaeense.utils._validation import AT_LEAST_ONE, POSITIVE, AliasOf, StrOptions
from skvaeense.utils._weights import distinct_rows

# Noise levels of the training, as multiples of the level at which the score is used.
LEAST_LEVEL, GREATEST_LEVEL = 2 / 3, 8 / 3
# Number of noise draws for each held-out row: to compare the states of a training, and at most to
# compare fitted models, which takes more draws the more features there are.
STATE_DRAWS, MOST_DRAWS = 8, 64


class DiffusionDimensionEstimator(CallbackSupportMixin, ModelEvaluation, BaseDimensionEstimator):
    """Estimate the intrinsic dimension of each sample from a learned score.

    Add noise of standard deviation t to samples near a manifold of dimension d in D features.
    The score of the noisy samples, the gradient of their log-density, points back to the
    manifold: in D - d directions it is about -1/t times the noise, and in the other d directions it
    is small. A network learns the score by predicting the noise in noisy samples, as in diffusion
    models, and the dimension follows from the score in one of two ways.

    Parameters
    ----------
    method : {"normal_bundle", "flipd"} or ScoreMethod, default="normal_bundle"
        How the dimension of a sample x follows from the score s at the noise level t.
        "normal_bundle" [1]_ takes the scores at perturbations of x, of length t sqrt(D), and
        counts the singular values of their matrix that lie below the largest gap; it gives
        integers. "flipd" [2]_ gives ``D + t^2 (tr grad s(x) + |s(x)|^2)``, clipped to [0, D]; it is
        faster on many features. The method can be changed after fitting. An instance of
        :class:`~skvaeense.dimension.FLIPD` sets the number of random vectors.

    noise_level : float, default=0.15
        Noise level at which the score is used, as a fraction of the standard deviation of the data
        in a direction in which the data varies. Finer structure does not count as a dimension.

    hidden_layer_sizes : tuple of int, default=(256, 256)
        Width of each hidden layer of the network. Hidden units are gated: each has two weights for
        each input.

    learning_rate_init : float, default=0.003
        Peak learning rate. It falls to 0 by the end.

    batch_size : "auto" or int, default="auto"
        Samples in each step. "auto" means 256, or an eighth of the samples if there are few.

    max_iter : "auto" or int, default="auto"
        Number of epochs. "auto" means the number that amounts to 3,000 steps.

    aggregate : {"mean", "median"}, default="mean"
        How `dimension_` follows from the dimensions of the training samples.

    dtype : {"float32", "float64"}, default="float32"
        Precision of training. Dimensions are computed in the precision of X.

    device : str, default="auto"
        Where to compute: "cpu", "cuda", another torch device, or "auto" for CUDA if there is any.

    random_state : int, RandomState instance or None, default=None
        Seed of weights, order, noise, perturbations and the held-out split. Global generators
        are not touched.

    Attributes
    ----------
    dimension_ : float
        Dimension of the training set: the aggregate of `dimension_pw_`.

    dimension_pw_ : ndarray of shape (n_samples,)
        Dimension at each training sample.

    module_ : torch.nn.Module
        The network, which predicts the noise in scaled samples by its method ``noise(z, level)``.

    noise_level_ : float
        Noise level at which the score is used, in the units of X.

    mean_ : ndarray of shape (n_features,)
        Mean of the training samples.

    scale_ : float
        Root mean square of the centred training samples.

    n_iter_ : int
        Number of epochs of the training.

    loss_curve_ : list of float
        Mean squared error of the predicted noise in each epoch, summed over the features. The best
        value is about the mean dimension.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen during fit. Only if all are strings.

    See Also
    --------
    IntrinsicDimensionEstimator : The dimension from an autoencoder and neighbours; cheaper to use.

    Notes
    -----
    The process is variance-exploding: noise is added, and samples are not shrunk. The network is
    trained on levels from 2/3 to 8/3 of the level at which it is used, and the state with the least
    loss on held-out samples is kept.

    For each sample of D features, "normal_bundle" evaluates the network at D + 1 points, and
    computes the eigenvalues of a matrix of about this size. "flipd" takes a derivative in each
    direction. From 65 features on, it estimates the trace with 64 random vectors. All perturbations
    and vectors are the same for every sample, so the dimension of a sample does not depend on other
    samples.

    References
    ----------
    .. [1] Stanczuk, Batzolis, Deveney and Schönlieb (2024). Diffusion Models Encode the Intrinsic
       Dimension of Data Manifolds. ICML. arXiv:2212.12611.

    .. [2] Kamkari, Ross, Hosseinzadeh, Cresswell and Loaiza-Ganem (2024). A Geometric View of
       Data Complexity: Efficient Local Intrinsic Dimension Estimation with Diffusion Models.
       NeurIPS. arXiv:2406.03537.

    Examples
    --------
    >>> from skvaeense import DiffusionDimensionEstimator
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> X, _, dimension = make_linear_subspaces(1200, dims=(1, 3), n_features=8, random_state=0)
    >>> estimator = DiffusionDimensionEstimator(
    ...     hidden_layer_sizes=(64, 64), max_iter=100, random_state=0
    ... )
    >>> estimator = estimator.fit(X[:1000])
    >>> round(estimator.dimension_)
    2
    >>> predicted = estimator.predict(X[1000:])
    >>> [round(float(predicted[dimension[1000:] == r].mean())) for r in (1, 3)]
    [1, 3]
    """

    module_: Denoiser
    noise_level_: float
    n_iter_: int
    loss_curve_: list[float]

    _method_kind = ScoreMethod
    _held_out = HELD_OUT
    _parameter_constraints = BaseDimensionEstimator._parameter_constraints | {
        "method": [AliasOf(ScoreMethod), ScoreMethod],
        "noise_level": [POSITIVE],
        "hidden_layer_sizes": [tuple, list, AT_LEAST_ONE],
        "learning_rate_init": [POSITIVE],
        "batch_size": [AT_LEAST_ONE, StrOptions({"auto"})],
        "max_iter": [AT_LEAST_ONE, StrOptions({"auto"})],
        "dtype": [StrOptions(set(DTYPES))],
        "device": [str],
    }

    def __init__(
        self,
        method: str | ScoreMethod = "normal_bundle",
        *,
        noise_level: float = 0.15,
        hidden_layer_sizes: int | Iterable[int] = (256, 256),
        learning_rate_init: float = 0.003,
        batch_size: Auto | int = "auto",
        max_iter: Auto | int = "auto",
        aggregate: Literal["mean", "median"] = "mean",
        dtype: Precision = "float32",
        device: str = "auto",
        random_state: RandomState = None,
    ) -> None:
        self.method = method
        self.noise_level = noise_level
        self.hidden_layer_sizes = hidden_layer_sizes
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.aggregate = aggregate
        self.dtype = dtype
        self.device = device
        self.random_state = random_state

    # --- training -----------------------------------------------------------------------------

    def _learn(self, X, weights):
        X, weights, _ = distinct_rows(X, weights)
        scaling = Scaling.from_data(X, weights)
        processes = find_processes()
        session = FitSession(self, X, scaling, weights, processes=processes)
        with threads_of_all(X.shape):
            data = prepare_data(self, X, scaling, weights, None, session.random_state, processes)
            with session.running(data, stacklevel=5):
                trainer = self._make_trainer(data, session.random_state)
                # Seed of the draws at prediction, which are the same in every call.
                self._seed_ = draw_seed(session.random_state)
                epochs = n_epochs(self.max_iter, len(data.train), data.batch_size, LONG_STEPS)
                session.begin(epochs)
                phase = Phase(trainer, epochs, Plateau(0.0, math.inf))
                session.trainer = session.train(phase).result()
            trainer = session.end()
        self.__dict__.update(self._attributes(trainer, data))

    def _level(self, data):
        """Return the noise level in units of the scaled samples."""
        return self.noise_level * math.sqrt(data.spectrum.mean_eigenvalue)

    def _validation_loss(self, model, x):
        valid = x[:SOME_ROWS]
        draws = _fixed_noise(x.shape[1], STATE_DRAWS).to(valid)
        loss = DenoisingScoreMatching(model.levels)
        with suited_threads(model, len(valid) * len(draws), n_products=1):
            return float(loss.sample_losses(model, valid, draws).mean())

    def _attributes(self, trainer, data):
        return {
            "module_": copy.deepcopy(trainer.model).cpu().eval(),
            "mean_": data.scaling.mean,
            "scale_": data.scaling.scale,
            "noise_level_": self._level(data) * data.scaling.scale,
            "n_iter_": len(trainer.log),
            "loss_curve_": [epoch["loss"] for epoch in trainer.log],
            "_seed_": self._seed_,
        }

    def _make_trainer(self, data, random_state):
        """Return the trainer of a new network."""
        n_features = data.train.shape[1]
        sizes = check_layer_sizes("hidden_layer_sizes", self.hidden_layer_sizes, n_features, 2)
        if not sizes:
            raise ValueError("hidden_layer_sizes is empty; give the size of at least one layer.")
        device = resolve_device(self.device)
        generator = make_generator(draw_seed(random_state), device)
        weights = make_generator(draw_seed(random_state))
        level = self._level(data)
        levels = LEAST_LEVEL * level, GREATEST_LEVEL * level
        model = Denoiser(n_features, sizes, levels, generator=weights)
        return Trainer(
            model.to(device=device, dtype=DTYPES[self.dtype]),
            DenoisingScoreMatching(levels),
            optimizer=Adam(),
            learning_rate=self.learning_rate_init,
            schedule=Cosine(),
            generator=generator,
            processes=data.processes,
        )

    # --- prediction ---------------------------------------------------------------------------

    def _estimate(self, X):
        method = self._resolved_method()
        model, n_features = self._model_for(X.dtype), X.shape[1]
        level = self.noise_level_ / self.scale_
        vectors = method.vectors(n_features, make_generator(self._seed_))
        vectors = vectors.to(next(model.parameters()))

        def noise(z):
            return model.noise(z, z.new_full((1, 1), level))

        def estimate(model, x):
            return method.estimate(noise, x, level, vectors).double()

        n_rows = max(rows_at_a_time(X, model) // max(len(vectors), 1), 1)
        dimension = self._by_chunks(X, model, estimate, n_rows).clip(0.0, n_features)
        return dimension, np.full(len(X), np.nan)

    def _score_fit(self, X, weights):
        model = self._model_for(X.dtype)
        loss = DenoisingScoreMatching(model.levels)
        n_corners = X.shape[1] + 1
        draws = _fixed_noise(
            X.shape[1], min(math.ceil(STATE_DRAWS / n_corners) * n_corners, MOST_DRAWS)
        ).to(next(model.parameters()))
        losses = self._by_chunks(X, model, partial(loss.sample_losses, noise=draws))
        return -float(np.average(losses, weights=weights))


@lru_cache(maxsize=4)
def _fixed_noise(n_features, n_draws):
    """Return draws of noise that are the same for all models, so that losses are comparable.

    The draws are corners of regular simplices: the share of such noise that lies along a manifold
    hardly varies.
    """
    generator = make_generator(0)
    n_simplices = math.ceil(n_draws / (n_features + 1))
    corners = [simplex(n_features, generator) for _ in range(n_simplices)]
    return torch.cat(corners)[:n_draws]
