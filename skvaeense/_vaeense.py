"""VAEenseTransformer: sparse codes whose active latents adapt to each sample."""

import math
from numbers import Integral
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skvaeense import thresholds
from skvaeense._base import BaseAutoencoder
from skvaeense._bound_fitting import BoundFit
from skvaeense._training._defaults import linear_residual
from skvaeense._training._diagnosis import Findings, failure_signs
from skvaeense.networks import Network, NetworkName
from skvaeense.utils._typing import Auto, FloatArray, Precision, RandomState
from skvaeense.utils._validation import AT_LEAST_ONE, POSITIVE, StrOptions


class VAEenseTransformer(BoundFit, BaseAutoencoder):
    """Variational autoencoder whose latents open and close for each sample.

    The code of a sample has few active latents, and which ones, and how many, depends on the
    sample. On data near a union of manifolds the number of active latents is the dimension of
    the manifold that the sample lies on.

    For a sample x the encoder gives a mean m and a standard deviation s in (0, 1) for each
    latent. The decoder sees the gated latents ``e = (1 - s) z``, with z drawn from N(m, s^2).
    Training maximises the evidence lower bound, in which the noise variance g is learned::

        -2 ELBO(x) = E ||x - f(e)||^2 / g + d log(2 pi g)
                     + sum_j (s_j^2 + m_j^2 - 1 - log s_j^2)

    The method is VAEase in the paper [1]_.

    Parameters
    ----------
    n_components : int or None, default=None
        Number of latents. None means twice the number of principal components that hold 99 % of
        the variance, at most 256: latents that are not needed stay closed.

    gated : bool, default=True
        Whether the decoder sees ``(1 - s) z``. False gives the variational autoencoder, whose
        active latents are the same for every sample.

    network : {"linear", "mlp", "single_layer"} or Network, default="linear"
        Encoder and decoder. "linear" has a linear decoder and a nonlinear encoder, "mlp" hidden
        layers in both, "single_layer" one linear layer each way.

    positive_code : bool, default=False
        Whether posterior means, and with them codes, are not negative. Directions are then found
        with their sign, as in most sparse autoencoders: a subspace of r dimensions takes 2 r
        latents.

    threshold : {"contribution", "fixed_variance", "otsu"} or ThresholdRule, \
            default="fixed_variance"
        The rule that says which latents are active.

    noise_variance : "auto" or float, default="auto"
        Noise variance to start from, in squared units of X. "auto" follows from the spectrum.

    learn_noise_variance : bool, default=True
        Whether the noise variance is learned. False keeps `noise_variance`, which is then a
        number.

    n_init : int, default=5
        Number of starts: they differ in random weights, first noise variance and learning rate,
        and are compared on held-out samples at one noise variance. The best is trained on.

    learning_rate_init : float, default=0.02
        Peak learning rate of the first start; the others multiply it by up to 1.5.

    batch_size : "auto" or int, default="auto"
        Samples in each step. "auto" means 256, or an eighth of the samples where they are few.

    max_iter : "auto" or int, default="auto"
        Epochs that a model is trained for at most: 40 % in its start, the others only for the
        best start. "auto" means the epochs that amount to 1,000 and 1,500 steps.

    tol : float, default=1e-4
        Least gain in the held-out bound, in nats per sample, that counts as one.

    n_iter_no_change : int, default=30
        Epochs without such a gain after which the last phase of training comes to its end: only
        its last 30 %, in which the learning rate falls to nothing, are still run.

    hard : bool, default=False
        Whether `transform` sets the latents that are not active to exactly 0. By themselves
        gated codes are small there, but not 0.

    sparse_output : bool, default=False
        Whether `transform` returns a scipy.sparse CSR array; its codes are hard.

    warm_start : bool, default=False
        Whether `fit` goes on from the fitted model, without new starts.

    dtype : {"float32", "float64"}, default="float32"
        Precision of training. Codes and scores are computed in the precision of the X given.

    device : str, default="auto"
        Where to compute: "cpu", "cuda", another torch device, or "auto" for CUDA if there is any.

    random_state : int, RandomState instance or None, default=None
        Seed of weights, order, noise and the held-out split. Global generators are not touched.

    Attributes
    ----------
    module_ : torch.nn.Module
        Encoder and decoder, for scaled samples.

    components_ : ndarray of shape (n_components_, n_features)
        Decoder columns in units of X, one row for each latent. Only with a linear decoder.

    noise_variance_ : float
        Learned noise variance in squared units of X: mean squared error per held-out feature.

    mean_ : ndarray of shape (n_features,)
        Mean of the training samples.

    scale_ : float
        Root mean square of the centred training samples.

    n_components_ : int
        Number of latents.

    n_iter_ : int
        Epochs that the kept model was trained for.

    loss_curve_ : list of float
        Mean negative bound on the training samples after each epoch of the kept model, in nats in
        units of X, at the noise variance of the time.

    history_ : dict of ndarray
        For each epoch "loss", as in `loss_curve_`; "kl" in nats; "error", summed over features, and
        "noise_variance", in squared units of X; "start", from 0; "final", 1 in the last phase.
        The last `n_iter_` epochs are of the kept model. ``history_.to_frame()`` gives a DataFrame.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen during fit. Only if all are strings.

    See Also
    --------
    IntrinsicDimensionEstimator : The number of active latents as a dimension.
    sklearn.decomposition.PCA : The linear model with the same dense code for all samples.

    Notes
    -----
    Each sample is scored by the objective above. With ``gated=False`` that is a true lower bound
    of the log-density. With the gate, how far latents open is chosen with the sample in view, and
    this choice is not charged for: the score can exceed the log-density of any normalised model.

    References
    ----------
    .. [1] Lu, Zhu, He and Wipf (2025). Sparse Autoencoders, Again? ICML. arXiv:2506.04859.

    Examples
    --------
    >>> from skvaeense import VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> X, _, dimension = make_linear_subspaces(600, dims=(1, 2), n_features=8, random_state=0)
    >>> vaeense = VAEenseTransformer(random_state=0).fit(X[:500])
    >>> n_active = vaeense.active_dimensions(X[500:]).sum(axis=1)
    >>> [round(float(n_active[dimension[500:] == r].mean())) for r in (1, 2)]
    [1, 2]
    """

    noise_variance_: float

    _parameter_constraints = BaseAutoencoder._parameter_constraints | {
        "gated": ["boolean"],
        "threshold": [StrOptions(set(thresholds.ALIASES)), thresholds.ThresholdRule],
        "noise_variance": [POSITIVE, StrOptions({"auto"})],
        "learn_noise_variance": ["boolean"],
        "positive_code": ["boolean"],
        "n_init": [AT_LEAST_ONE],
        "hard": ["boolean"],
        "sparse_output": ["boolean"],
    }

    def __init__(
        self,
        n_components: int | None = None,
        *,
        gated: bool = True,
        network: NetworkName | Network = "linear",
        positive_code: bool = False,
        threshold: thresholds.ThresholdName | thresholds.ThresholdRule = "fixed_variance",
        noise_variance: Auto | float = "auto",
        learn_noise_variance: bool = True,
        n_init: int = 5,
        learning_rate_init: float = 0.02,
        batch_size: Auto | int = "auto",
        max_iter: Auto | int = "auto",
        tol: float = 1e-4,
        n_iter_no_change: int = 30,
        hard: bool = False,
        sparse_output: bool = False,
        warm_start: bool = False,
        dtype: Precision = "float32",
        device: str = "auto",
        random_state: RandomState = None,
    ) -> None:
        self.n_components = n_components
        self.gated = gated
        self.network = network
        self.positive_code = positive_code
        self.threshold = threshold
        self.noise_variance = noise_variance
        self.learn_noise_variance = learn_noise_variance
        self.n_init = n_init
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.hard = hard
        self.sparse_output = sparse_output
        self.warm_start = warm_start
        self.dtype = dtype
        self.device = device
        self.random_state = random_state

    def _failure_signs(self, module, held_out):
        code, log_variance = self._code(module, held_out)
        residual = held_out - module.decode(code)
        active = self._mask(module, code, log_variance)
        findings = Findings(
            active=active.cpu().numpy(),
            deviation=torch.exp(0.5 * log_variance).cpu().numpy(),
            unexplained=float(residual.square().sum() / held_out.square().sum()),
            linear_residual=linear_residual(held_out, self.n_components_),
            gated=self.gated,
            linear_decoder=module.has_linear_decoder,
        )
        return failure_signs(findings)

    def _code(self, module, x):
        code, opening = self._bound().mean_code(module, x)
        return code, F.logsigmoid(opening)

    def _mask(self, module, code, log_variance):
        latents = thresholds.Latents(
            log_variance=log_variance.cpu().numpy(),
            code=code.cpu().numpy(),
            code_scale=module.code_scale().cpu().double().numpy() * self.scale_,
            noise_variance=self.noise_variance_,
        )
        active = thresholds.resolve_threshold(self.threshold).active(latents)
        return torch.as_tensor(active, device=code.device)

    def _active(self, module, x):
        return self._mask(module, *self._code(module, x))

    def _encode(self, module, x):
        if not (self.hard or self.sparse_output):
            return self._bound().mean_code(module, x)[0]
        code, log_variance = self._code(module, x)
        return code * self._mask(module, code, log_variance)

    def posterior(self, X: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return the posterior of the latents before the gate.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        mean : ndarray of shape (n_samples, n_components)
            Posterior means.

        std : ndarray of shape (n_samples, n_components)
            Posterior standard deviations, in (0, 1); near 1 where the latent is closed. The gated
            code is ``(1 - std) * mean``.
        """
        X, module = self._check_for_coding(X)

        def both(x):
            mean, log_variance = self._bound().posterior(module, x)
            return torch.stack([mean, torch.exp(0.5 * log_variance)], dim=1)

        mean, std = np.moveaxis(self._by_chunks(X, module, both), 1, 0)
        return mean, std

    def score_samples(self, X: ArrayLike, *, out: Any = None) -> FloatArray:
        """Return the evidence lower bound of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        out : array of shape (n_samples,) or None, default=None
            Where the scores are written, as for `transform`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Bound on the log-density in nats, in units of X, as `PCA.score_samples` has them. See
            the notes on what the gate leaves out.
        """
        X, module = self._check_for_coding(X)
        objective = self._bound()
        noise_variance = self.noise_variance_ / self.scale_**2
        constant = 0.5 * X.shape[1] * math.log(2 * math.pi * self.noise_variance_)

        def bound(x):
            mean, log_variance = objective.posterior(module, x)
            error, kl = objective.expected_terms(module, x, mean, log_variance)
            return -0.5 * error / noise_variance - kl - constant

        return self._by_chunks(X, module, bound, out=out)

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Return the mean evidence lower bound.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples.

        y : None
            Ignored.

        Returns
        -------
        float
            Mean of `score_samples`: nats per sample in units of X, comparable with `PCA.score`.
        """
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: RandomState = None) -> FloatArray:
        """Draw samples from the model.

        Latents are drawn from the prior N(0, I). With the gate on they are multiplied by
        ``1 - s`` with the deviations s of a random training sample, since the model says how
        latents are distributed when open, and the data which ones open together. With
        ``positive_code=True`` their absolute values are taken.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.

        random_state : int, RandomState instance or None, default=None
            Seed of the draws.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Samples in units of X, noise included.

        Raises
        ------
        ValueError
            If `n_samples` is no int, or below 1.
        """
        check_is_fitted(self)
        if not isinstance(n_samples, Integral) or n_samples < 1:
            raise ValueError(f"n_samples must be an int, at least 1; got {n_samples!r}.")
        rng = check_random_state(random_state)
        code = rng.standard_normal((n_samples, self.n_components_))
        if self.positive_code:
            code = np.abs(code)
        if self.gated:
            code *= 1 - self._deviations_[rng.randint(len(self._deviations_), size=n_samples)]
        X = self.inverse_transform(code)
        return X + math.sqrt(self.noise_variance_) * rng.standard_normal(X.shape)
