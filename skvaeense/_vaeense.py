"""VAEenseTransformer: sparse codes whose active latents adapt to each sample."""

import math
import warnings
from contextlib import suppress
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils import check_random_state

from skvaeense import losses, networks, priors, thresholds
from skvaeense._base import BaseAutoencoder
from skvaeense._density import DensityAutoencoder
from skvaeense._explained import coder_of, fit_coder
from skvaeense.explanations._em import GateEM, make_em
from skvaeense.explanations._explain import explain
from skvaeense.explanations._rows import find_density
from skvaeense.models import VAE
from skvaeense.models._base import as_number
from skvaeense.models._effective_dimension import participation_ratio, rank
from skvaeense.models._vae import N_GATES
from skvaeense.networks._base import with_known
from skvaeense.priors._samples import TrainingRows
from skvaeense.samples._devices import DTYPES, resolve_device
from skvaeense.samples._missing import check_seen
from skvaeense.samples._weights import Distinct
from skvaeense.training._diagnosis import Findings, find_collapse
from skvaeense.training._gate_trainer import GateTrainer
from skvaeense.training._hooks import (
    FINAL_NOISE,
    annealed_noise,
    best_noise,
    followed_noise,
    network_hooks,
    validation_loss,
    validation_terms,
)
from skvaeense.training._optimizers import (
    Optimizer,
    Schedule,
    find_schedule,
    is_scale_free,
    layer_rates,
)
from skvaeense.training._session import Phase, Selection
from skvaeense.training._sizes import (
    ANNEALED,
    EXACT_RATE,
    MAX_COMPONENTS,
    RANDOM_STEPS,
    default_n_components,
    linear_residual,
)
from skvaeense.training._trainer import Trainer
from skvaeense.utils._rows import N_BLOCKS, block_rows
from skvaeense.utils._torch import draw_seed, make_generator
from skvaeense.utils._typing import (
    Auto,
    DoubleArray,
    FloatArray,
    IntArray,
    Precision,
    RandomState,
    SparseArray,
)
from skvaeense.utils._validation import (
    AT_LEAST_ONE,
    POSITIVE,
    SHARE,
    AliasOf,
    NumberOfLatents,
    StrOptions,
)

# Largest factor between a given noise variance and the squared scale of the data. Beyond it, terms
# of the loss leave the range of single precision.
NOISE_RANGE = 1e20
# Peak learning rates of feed-forward encoders, as shares of learning_rate_init. Random inits take
# them in turn.
FEED_FORWARD_RATES = 0.4, 0.6, 0.2
# Number of inits for n_init="auto", unless gates have a prior.
N_INIT = len(FEED_FORWARD_RATES)


class VAEenseTransformer(DensityAutoencoder):
    """Sparse codes with as many active latents as each sample needs, and a density of the samples.

    `fit` looks for structure, and compares what it finds on held-out samples:

    * If the samples consist of a few *flat parts* that are clear of their noise, such as subspaces,
      each direction of a part has a latent. The number of active latents is then the dimension of
      the part that a sample lies on.
    * If samples are sums of a few *atoms* of a dictionary, each atom has a latent with a gate. The
      number of active latents is then the number of atoms in a sample.
    * If there is *neither*, nothing in the samples sets a length of codes. They are the shortest
      that keep 95 % of the variance, or what `target_l0` or `target_explained_variance` asks for.

    `transform` and `active_dimensions` use the result. `score`, `sample` and `outlier_p_values` use
    the density under which held-out samples are most probable. `summary` prints both.

    With a given `network`, `prior` or `noise_variance`, `fit` trains the model of the paper [1]_
    instead, VAEase, by gradients: see :class:`skvaeense.models.VAE`.

    Parameters
    ----------
    n_components : int or None, default=None
        Number of latents. None means one for each direction of the flat parts of the data if these
        explain the data, and as many as the samples need if gates do. With a target the number is
        four for each principal component that is needed for 99 % of the variance, at most 384 and
        half of the number of samples, but at least one for each of these components. Latents that
        are not needed stay closed.

    target_l0 : float or None, default=None
        Target for the mean number of active latents of new samples, estimated on held-out samples.
        Which latents are active, and how many, depends on the sample; the codes of all other
        latents are exactly 0. Gates then have the prior "spike_slab" and a price that meets the
        target. With fewer than about 500 samples, codes of new samples can be longer. None sets no
        target.

    target_explained_variance : "auto", float or None, default="auto"
        Share of the variance of new samples that codes keep, in (0, 1), like a fractional
        `n_components` of PCA. Codes are as short as this share allows, and keep more of the
        training samples. A price of open gates meets the share on held-out samples, as it meets a
        `target_l0`; only one of the two can be set. With fewer than about 500 samples, codes of new
        samples can keep several points less. With "auto" and ``prior="auto"`` codes keep 95 %, with
        one exception: if flat parts or gates explain held-out samples best, and also most of the
        variance, the noise variance determines the share. None sets no share: if neither flat parts
        nor gates explain the samples, latents are the principal components above noise.

    transform_l0 : float or None, default=None
        Mean number of active latents in the codes of a fitted model, at most `target_l0` and at
        least 1/256 of it. It can be changed after fitting. None means `target_l0`. With
        ``prior="spike_slab"`` it can be set without a `target_l0`; codes are then shorter than the
        model would make them. Densities do not depend on it, but the bound of `elbo_samples` does.

    transform_explained_variance : float or None, default=None
        Share of the variance that codes of a fitted model with ``prior="spike_slab"`` keep, at most
        the share that its longest codes keep. Like `transform_l0`, it can be changed after fitting;
        only one of the two can be set.

    gated : bool, default=True
        Whether the decoder sees ``(1 - s) z``. False gives a plain variational autoencoder, whose
        active latents are the same for every sample.

    network : {"auto", "linear", "mlp", "single_layer"} or Network, default="auto"
        Encoder and decoder. "linear" has a linear decoder and a nonlinear encoder, "mlp" has hidden
        layers in both, and "single_layer" has one linear layer each way. "auto" means "linear". It
        must stay "auto" with ``prior="spike_slab"``, which needs no encoder.

    positive_code : bool, default=False
        Whether posterior means, and therefore codes, are non-negative. Directions then have a sign,
        as in most sparse autoencoders, and a subspace of r dimensions takes 2 r latents.

    threshold : {"contribution", "fixed_variance", "otsu"} or ThresholdRule, \
            default="fixed_variance"
        Rule that decides which latents are active. It is not used with ``prior="spike_slab"``:
        there a latent is active if its gate is more probably open than closed.

    loss : {"elbo"} or Loss, default="elbo"
        Loss that training minimises.

    prior : {"auto", "mixture", "spike_slab", "standard_normal"} or Prior, default="auto"
        Prior distribution of the latents. "spike_slab" gives each latent a gate that is open with a
        learned probability. An open gate has a price, so that codes are sparse if this explains
        samples better, even with more latents than features. There is no encoder: decoder, gates
        and noise are fitted by expectation maximisation, so optimizer, learning rate, schedule,
        batch size and plateau are not used. The other priors train with independent standard
        normal latents. If the decoder is linear, "mixture" and "spike_slab" fit a Gaussian mixture
        to the codes after training, when `score_samples`, `score`, `sample`, `predict_proba`,
        `predict` or `impute` first needs it. `priors.Mixture` with ``lazy=False`` fits it in `fit`.
        Models with a nonlinear decoder have no density. "standard_normal" with
        ``gated=False`` is the classical variational autoencoder. "auto" means "spike_slab" with a
        `target_l0` or `target_explained_variance`, and for the default model if no flat parts
        explain the samples; otherwise "mixture".

    noise_variance : "auto" or float, default="auto"
        First noise variance, in squared units of X. "auto" derives it from the spectrum of X.

    learn_noise_variance : bool, default=True
        Whether the noise variance is learned. False keeps `noise_variance`, which must then be a
        number.

    n_init : "auto" or int, default="auto"
        Number of random inits, which differ in weights, first noise variance and learning rate.
        Each init is trained to the end, and the one with the best held-out bound is kept. "auto"
        means 1 with ``prior="spike_slab"`` and 3 otherwise. With the default network training
        starts instead from a model computed from the data: exact inference in a mixture of
        subspaces, or principal components. `n_init` is then not used.

    optimizer : str, class or functools.partial, default="adam"
        Optimizer of the weights: a name in torch.optim, such as "adam" or "sgd" (with a momentum of
        0.9), a class that derives from torch.optim.Optimizer, or a functools.partial of a class
        with its settings.

    learning_rate_init : float, default=0.02
        Learning rate, of which training takes a share as its peak: 0.05 if `partial_fit` continues
        from exact inference, and 0.4, 0.6 and 0.2 for random inits, in turn.

    schedule : {"auto", "constant", "cosine"} or callable, default="auto"
        Schedule of the learning rate. "auto" means "cosine": a rise to the peak over the first
        tenth of the training, and a fall to 0. A function takes the share of the training that is
        done, in [0, 1), and returns the factor of the peak.

    batch_size : "auto" or int, default="auto"
        Number of samples in each step. "auto" means 256, or an eighth of the samples if there are
        few.

    max_iter : "auto" or int, default="auto"
        Maximum number of epochs of a training. "auto" means the epochs that amount to 2,000 steps
        from a random init, and 1 for exact inference, which is not trained. If gates have a prior,
        "auto" means 12 epochs of 16 steps from small subsets of the samples, and 6 rounds through
        many samples. With a target it means epochs of 4 steps: 16 for a share of the variance, 32
        for a length.

    tol : float, default=1e-4
        Least gain in the held-out bound that counts as an improvement, in nats per sample.

    n_iter_no_change : int, default=30
        Number of epochs without such an improvement after which training skips to its last 30 %, in
        which the learning rate falls to 0.

    hard : "auto" or bool, default="auto"
        Whether `transform` sets latents that are not active to exactly 0. Soft codes of these
        latents are small but not 0, unless no training sample uses the latent. "auto" means False
        for the models of the paper and for plain VAEs, ``prior="standard_normal"`` or
        ``gated=False``, and True otherwise. With ``prior="spike_slab"`` hard codes are the best
        codes for the open gates, and soft codes are posterior means.

    sparse_output : bool, default=False
        Whether `transform` returns hard codes as a scipy.sparse CSR array.

    warm_start : bool, default=False
        Whether `fit` continues from the fitted model, without new inits. `n_components`, `network`,
        `positive_code`, `gated` and `prior` must not have changed since the model was made.

    verbose : int, default=0
        Progress on the screen: 1 shows a bar on a terminal, and otherwise a line every second or
        two; 2 shows a line for each step.

    dtype : {"float32", "float64"}, default="float32"
        Precision of training. Codes and scores are computed in the precision of X.

    device : str, default="auto"
        Device: "cpu", "cuda", another torch device, or "auto" for CUDA if there is any.

    random_state : int, RandomState instance or None, default=None
        Seed of weights, sample order, noise and held-out split. Global generators are not touched.

    Attributes
    ----------
    module_ : torch.nn.Module
        The model, `skvaeense.models.VAE` or `skvaeense.models.SpikeSlabVAE`, for centred and scaled
        samples.

    components_ : ndarray of shape (n_components_, n_features)
        Decoder columns in units of X, one row for each latent, followed by the rows of
        ``locations_ - mean_``. Only with a linear decoder.

    locations_ : ndarray of shape (n_locations, n_features)
        Points that groups of samples lie around, in units of X. Only if there are several such
        groups; see the notes.

    noise_variance_ : float
        Learned noise variance in squared units of X: the mean squared error per feature of held-out
        samples, or with ``prior="spike_slab"`` the noise variance from training.

    mean_ : ndarray of shape (n_features,)
        Mean of the training samples.

    scale_ : float
        Root mean square of the centred training samples.

    n_components_ : int
        Number of columns of codes: one for each latent, and one for each of several locations.

    n_iter_ : int
        Number of epochs that the kept model was trained for.

    explanation_ : {"mixture", "gates", "share", "normal", "points"}
        What gives the codes, and sets their length. "mixture": the flat parts of the samples are
        few and clear of their noise, and each has its own latents. "gates": held-out samples are
        surely more probable under sparse codes, whose gates have a prior. "normal": one flat
        part, whose latents are the principal components above noise; also without a target, if
        nothing else explains the samples. "share": none of these, and codes keep the target share
        of the variance. "points": samples are exact copies of a
        few points. Only for models that follow from an explanation of the samples, as the default
        model does.

    explanation_nats_ : dict of str to float
        Mean log-density of held-out samples, in nats in units of X, under each explanation that was
        compared: "mixture", of normal distributions, flat or not; "normal", a single normal
        distribution; and "gates", which is a lower bound.

    density_name_ : {"mixture", "gates"}
        The explanation with the most of these nats, which `score_samples` and `sample` use, and
        `get_density` returns. It is "gates" only if these give the codes, too.

    loss_curve_ : list of float
        Mean negative bound on the training samples after each epoch of the kept model, in nats in
        units of X, at the noise variance of that epoch.

    history_ : dict of ndarray
        Values for each epoch: "loss", as in `loss_curve_`; "kl" in nats; "error", summed over
        features, and "noise_variance", both in squared units of X; and "init", counted from 0. The
        last `n_iter_` epochs belong to the kept model. ``history_.to_frame()`` gives a DataFrame.

    n_features_in_ : int
        Number of features seen during fit.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen during fit. Only if all are strings.

    See Also
    --------
    IntrinsicDimensionEstimator : Intrinsic dimension, from active latents and neighbours.
    sklearn.decomposition.PCA : Linear model with the same dense latents for all samples.

    Notes
    -----
    The bound of the paper's model is not a density, since the encoder sees the sample when it
    chooses how far latents open. `elbo_samples` returns it. Samples are scored by a separate
    density, under which codes follow a Gaussian mixture, whatever the encoder returns. With a
    linear decoder samples follow a Gaussian mixture, too, and their log-density is exact. See
    :class:`skvaeense.priors.Mixture`. A default fit knows this density, and keeps no training
    sample. Otherwise it is fitted when it is first needed, to at most 8,192 training samples that
    `module_` keeps until then and afterwards, also in saved files.

    The default model looks for the flat parts of the data with
    :class:`skvaeense.mixture.SubspaceMixture`. Unless `n_components` is given, this mixture is also
    the density of the model, whatever the target of its codes. If groups of samples, such as
    clusters, lie in subspaces without a common point, each group has a *location*, a point that its
    samples lie around. Each sample is then described relative to its location, and codes end with
    one column for each location, which is 1 for the location of the sample and 0 otherwise. So
    ``codes @ components_`` is still the reconstruction, up to a constant. The columns of locations
    are never active: the position of a cluster is not one of its dimensions. `scale_` is then the
    root mean square about the locations. In the density each component of the mixture has its own
    position, and no sample is assigned to a location. `fit` looks for locations, but only in arrays
    in memory; `partial_fit` has one location. Samples that are far from all others are left out of
    training if they are at most 5 % of the samples and have more than half of the variance.

    With a linear decoder and ``prior="mixture"``, arrays and data frames can hold NaN for missing
    values. Training samples are filled in with draws from a mixture that integrates missing values
    out. This mixture is then the density. New samples are filled in with conditional means.

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

    locations_: DoubleArray

    _phases = ("structure", "codes", "checks")
    _structural = (*BaseAutoencoder._structural, "gated", "prior")
    _length_cure = "Set target_l0 and fit again"

    _parameter_constraints = BaseAutoencoder._parameter_constraints | {
        "target_l0": [POSITIVE, None],
        "target_explained_variance": [SHARE, StrOptions({"auto"}), None],
        "transform_explained_variance": [SHARE, None],
        "gated": ["boolean"],
        "n_components": [None, NumberOfLatents()],
        "network": [AliasOf(networks.Network, "auto", refused="unrolled"), networks.Network],
        "threshold": [AliasOf(thresholds.ThresholdRule), thresholds.ThresholdRule],
        "loss": [StrOptions({"elbo"}), losses.Loss],
        "prior": [AliasOf(priors.Prior, "auto"), priors.Prior],
        "noise_variance": [POSITIVE, StrOptions({"auto"})],
        "learn_noise_variance": ["boolean"],
        "n_init": [AT_LEAST_ONE, StrOptions({"auto"})],
        "hard": ["boolean", StrOptions({"auto"})],
    }

    def __init__(
        self,
        n_components: int | None = None,
        *,
        target_l0: float | None = None,
        target_explained_variance: Auto | float | None = "auto",
        transform_l0: float | None = None,
        transform_explained_variance: float | None = None,
        gated: bool = True,
        network: str | networks.Network = "auto",
        positive_code: bool = False,
        threshold: str | thresholds.ThresholdRule = "fixed_variance",
        loss: Literal["elbo"] | losses.Loss = "elbo",
        prior: str | priors.Prior = "auto",
        noise_variance: Auto | float = "auto",
        learn_noise_variance: bool = True,
        n_init: Auto | int = "auto",
        optimizer: Optimizer = "adam",
        learning_rate_init: float = 0.02,
        schedule: Schedule = "auto",
        batch_size: Auto | int = "auto",
        max_iter: Auto | int = "auto",
        tol: float = 1e-4,
        n_iter_no_change: int = 30,
        hard: Auto | bool = "auto",
        sparse_output: bool = False,
        warm_start: bool = False,
        verbose: int = 0,
        dtype: Precision = "float32",
        device: str = "auto",
        random_state: RandomState = None,
    ) -> None:
        self.n_components = n_components
        self.target_l0 = target_l0
        self.target_explained_variance = target_explained_variance
        self.transform_l0 = transform_l0
        self.transform_explained_variance = transform_explained_variance
        self.gated = gated
        self.network = network
        self.positive_code = positive_code
        self.threshold = threshold
        self.loss = loss
        self.prior = prior
        self.noise_variance = noise_variance
        self.learn_noise_variance = learn_noise_variance
        self.n_init = n_init
        self.optimizer = optimizer
        self.learning_rate_init = learning_rate_init
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.hard = hard
        self.sparse_output = sparse_output
        self.warm_start = warm_start
        self.verbose = verbose
        self.dtype = dtype
        self.device = device
        self.random_state = random_state

    # --- fitting ------------------------------------------------------------------------------

    @property
    def _n_steps(self):
        return GateEM.n_steps if self._has_gates else RANDOM_STEPS

    @property
    def _has_gates(self):
        """Whether the parameters give gates a prior."""
        return isinstance(self._resolved_prior(), priors.SpikeSlab)

    def _resolved_prior(self):
        if self.prior != "auto":
            return priors.Prior.resolve(self.prior)
        has_target = self._kept_share is not None or self.target_l0 is not None
        return priors.SpikeSlab() if has_target else priors.Mixture()

    @property
    def _kept_share(self):
        """The target share of the variance, or None unless numbers are given."""
        share = self.target_explained_variance
        return None if share == "auto" else share

    @property
    def _targets(self):
        """The targets that prices of gates must meet."""
        return {"target_l0": self.target_l0, "target_explained_variance": self._kept_share}

    def _gate_estimator(self, share, n_components=None):
        """Return a copy of the estimator whose gates have a prior, with a target share."""
        n_components = n_components or self.n_components
        return clone(self).set_params(
            prior="spike_slab", target_explained_variance=share, n_components=n_components
        )

    def _train(self, data, session, trainer):
        if trainer is not None:
            return self._train_one(trainer, data, session)
        if self._may_explain():
            if data.explained is None:
                data.explained = self._explained_elsewhere(data)
            if coder_of(self, data.explained) is not None:
                return fit_coder(self, data, session)
            data.explained = None
        return self._inits(data, session)

    def _train_one(self, trainer, data, session):
        """Train through the one phase of a trainer, and return it."""
        has_gates = isinstance(trainer, GateTrainer)
        epochs = self._epochs_of(trainer) if has_gates else self._epochs(data, RANDOM_STEPS)
        session.begin(epochs, 1 if has_gates else data.n_records)
        watch = self.tol, self.n_iter_no_change
        return session.train(Phase(trainer, epochs, *watch, is_watched=not has_gates)).result()

    def _epochs_of(self, trainer):
        """Return `max_iter`; "auto" means the epochs of a whole fit of gates."""
        return trainer.n_epochs if self.max_iter == "auto" else self.max_iter

    def _inits(self, data, session):
        """Train each init, and return the trainer of the best one."""
        n_init = (1 if self._has_gates else N_INIT) if self.n_init == "auto" else self.n_init
        seeds = session.random_state.randint(2**31 - 1, size=(n_init, 2)).tolist()
        inits = Selection(lambda i: self._make_trainer(data, seeds[i], i))
        inits = session.track("inits", inits)
        if self._has_gates:
            epochs = self._epochs_of(inits.make_trainer(0))
        else:
            epochs = self._epochs(data, RANDOM_STEPS)
        session.begin(n_init * epochs, 1 if self._has_gates else data.n_records)
        for i in range(len(inits.logs), n_init):
            trainer, name = inits.make_trainer(i), f"init {i}"
            phase = Phase(
                trainer,
                epochs,
                self.tol,
                self.n_iter_no_change,
                name=name,
                unwatched=ANNEALED,
                is_watched=not self._has_gates,
            )
            is_lost = session.train(phase).is_lost
            is_compared = n_init > 1 and not is_lost
            loss = self._loss_of_init(trainer.model, data) if is_compared else 0.0
            inits.offer(trainer, math.inf if is_lost else loss)
            if session.stopped:
                break
        return inits.choose()

    def _loss_of_init(self, model, data):
        """Return the loss that compares inits: of codes that meet a target, or the bound."""
        if model.has_prices and model.has_target:
            model.calibrate(data.valid)
            costs = model.lengths if self.target_l0 is None else model.left_of_lengths
            return data.processes.from_first(float(costs[0]))
        return data.processes.from_first(self._validation_loss(model, data.valid))

    def _prepare_rows(self, rows):
        check_seen(rows.X, getattr(self, "feature_names_in_", None))
        if not self._may_explain():
            rows = self._imputed_rows(rows)
            return (self._without_far(rows) if self._has_gates else rows), None
        near = self._without_far(rows)
        explained = self._explained(near)
        if near is not rows:
            # The density covers all rows, far ones included.
            density = find_density(rows.X, rows.weights, np.random.RandomState(self._seed()))
            explained = replace(explained, density=density)
        return self._imputed_rows(near, explained.density), explained

    def _explained_elsewhere(self, data):
        """Return the explanation of samples that are not in memory; they have one location."""
        explained = self._explained(Distinct(data.train.head.cpu().numpy(), None, slice(None)))
        if explained.locations is None:
            return explained
        return replace(explained, coder="share", locations=None)

    def _explained(self, rows):
        return explain(
            rows.X,
            self.n_components or MAX_COMPONENTS,
            rows.weights,
            seed=self._seed(),
            positive=self.positive_code,
            may_have_gates=self._is_free,
        )

    def _seed(self):
        """Return the seed of what explains the samples, so that a fit can be resumed."""
        return 0 if self.random_state is None else draw_seed(check_random_state(self.random_state))

    def _imputed_rows(self, rows, density=None):
        if not np.isnan(rows.X).any():
            return rows
        rng = np.random.RandomState(self._seed())
        density = find_density(rows.X, rows.weights, rng) if density is None else density
        # Draws: conditional means have less noise than known values, and would hide flat parts.
        filled = density.impute(rows.X.astype(np.float64), rng)
        return rows._replace(X=filled.astype(rows.X.dtype))

    def _may_explain(self):
        """Return whether the model follows from what explains the samples."""
        return (
            self._network().is_replaceable
            and self._minimises_bound
            and type(self._resolved_prior()) in (priors.Mixture, priors.StandardNormal)
            and self.gated
            and (self._trains_gates or not self.positive_code)
        )

    @property
    def _is_free(self):
        """Whether `fit` may choose gates with a prior, since no parameter decides on them."""
        return self.prior == "auto" and self.network == "auto"

    @property
    def _trains_gates(self):
        """Whether `fit` may train gates with a prior."""
        return self._is_free and self.target_explained_variance == "auto"

    def _copy_of_model(self):
        model = super()._copy_of_model()
        # Further samples may use latents that no sample has used so far.
        model.is_used.fill_(True)
        return model

    def _make_trainer(self, data, seeds, init=0, model=None):
        thresholds.ThresholdRule.resolve(self.threshold)
        self._check_targets()
        if model is not None and model.has_prices and not self._has_gates:
            # An earlier fit has chosen gates with a prior.
            chosen = self._gate_estimator(model.config["target_explained_variance"])
            return chosen._gate_trainer(data, seeds, init, model.gates)
        if self._has_gates:
            if model is not None and not model.has_prices:
                target = next(f"{k}={v!r}" for k, v in self._targets.items() if v is not None)
                raise ValueError(
                    f"A model without a prior on its gates cannot continue with {target}. Set "
                    "warm_start=False to fit a new model."
                )
            return self._gate_trainer(data, seeds, init, None if model is None else model.gates)
        generator = make_generator(seeds[0], resolve_device(self.device))
        continues = model is not None
        if not continues:
            model = self._make_model(data, seeds[1])
        learned = self.learn_noise_variance
        if continues:
            noise = followed_noise(float(model.noise_variance), FINAL_NOISE, learned=learned)
            rate = EXACT_RATE if model.config["network"].is_exact else FEED_FORWARD_RATES[0]
        else:
            first, scale = self._first_noise(data, init), data.spectrum.mean_eigenvalue
            noise = annealed_noise(first, scale, learned=learned)
            rate = FEED_FORWARD_RATES[init % len(FEED_FORWARD_RATES)]
        return self._trainer(model, noise, rate, generator, data, init=init)

    def _gate_trainer(self, data, seeds, init=0, gates=None):
        """Return the trainer of gates, from given gates or from directions of the samples."""
        device, x = resolve_device(self.device), data.train.head
        if self.network != "auto":
            raise ValueError(
                f"network={self.network!r} cannot be combined with prior={self.prior!r}, whose "
                "gates are inferred by the decoder itself. Leave network='auto'."
            )
        loss = losses.Loss.resolve(self.loss)
        if type(loss) is not losses.ELBO or loss.beta != 1:
            raise ValueError(
                f"loss={self.loss!r} cannot be combined with prior={self.prior!r}, whose gates are "
                "fitted by expectation maximisation. Leave loss='elbo'."
            )
        self._check_lengths(data)
        generator, knows_gates = make_generator(seeds[0], device), gates is not None
        share = self._kept_share
        em = make_em(
            x,
            len(data.train),
            generator=generator,
            n_components=self.n_components,
            positive=self.positive_code,
            length=self.target_l0,
            share=None if share is None else 1 - share,
            noise_variance=None if self.learn_noise_variance else self._first_noise(data),
            gates=gates,
        )
        config = {"prior": clone(self._resolved_prior()), **self._targets}
        trainer = GateTrainer(
            em,
            config,
            self.n_components,
            knows_gates=knows_gates,
            processes=data.processes,
            init=init,
        )
        self._check_length(trainer.model)
        return trainer

    def _network(self):
        """Return the specification of the network, completed by the other parameters."""
        network = "linear" if self.network == "auto" else self.network
        network = networks.Network.resolve(network)
        if isinstance(network, networks.Unrolled):
            raise ValueError(
                f"network={self.network!r} gives codes without a posterior, so it only works in "
                "SparseAutoencoder. Leave network='auto'."
            )
        return with_known(network, {"positive": self.positive_code})

    def _check_targets(self):
        """Raise an error if a target is invalid, or contradicts another parameter."""
        for name, target in self._targets.items():
            if target is not None and not self._has_gates:
                raise ValueError(
                    f"{name}={target!r} sets a price on gates, but prior={self.prior!r} does not "
                    "support prices. Leave prior='auto'."
                )
        if None not in self._targets.values():
            raise ValueError(
                "target_l0 and target_explained_variance cannot both be set. Leave one of them "
                "None."
            )
        if self._has_gates and not self.gated:
            raise ValueError(
                "gated=False cannot be combined with prior='spike_slab', which needs gates. Leave "
                "gated=True."
            )

    def _make_model(self, data, seed, network=None, n_components=None):
        self._check_targets()
        model = VAE(
            network or self._network(),
            data.train.shape[1],
            n_components or self.n_components or default_n_components(data.spectrum),
            gated=self.gated,
            positive=self.positive_code,
            prior=clone(self._resolved_prior()),
            generator=make_generator(seed),
        )
        self._check_length(model)
        model.initialize(data.train.head)
        return model.to(device=resolve_device(self.device), dtype=DTYPES[self.dtype])

    def _check_lengths(self, data):
        """Raise an error if a wanted length is more than the number of latents."""
        if self.target_l0 is None:
            return
        if self.target_l0 > (self.n_components or data.n_features):
            most = f"n_components={self.n_components}"
            if self.n_components is None:
                most = f"the number of features, {data.n_features}, unless n_components is given"
            raise ValueError(f"target_l0={self.target_l0!r} must be at most {most}.")

    def _trainer(self, model, noise, rate, generator, data, *, init=0):
        is_random = not model.config["network"].is_exact
        return Trainer(
            model,
            losses.Loss.resolve(self.loss),
            optimizer=self.optimizer,
            learning_rate=self.learning_rate_init * rate,
            schedule=find_schedule(self.schedule),
            generator=generator,
            hooks=[noise, *network_hooks(model.network)],
            rates=layer_rates(model),
            # As the noise variance falls, gradients grow faster than Adam forgets smaller ones. Its
            # steps become several times as long, and training can collapse. On other data long
            # steps help. So the first init takes them, and held-out rows choose the init.
            bounded=is_random and init > 0 and is_scale_free(self.optimizer),
            processes=data.processes,
            init=init,
        )

    def _first_noise(self, data, init=0):
        if self.noise_variance == "auto":
            if not self.learn_noise_variance:
                raise ValueError(
                    "learn_noise_variance=False keeps the given noise_variance, so noise_variance "
                    "must be a number, in squared units of X; got 'auto'."
                )
            return data.spectrum.first_noise(init)
        scale = data.scaling.scale
        level = self.noise_variance / scale**2
        if not 1 / NOISE_RANGE <= level <= NOISE_RANGE:
            raise ValueError(
                f"noise_variance={self.noise_variance:g} must be within a factor of "
                f"{NOISE_RANGE:g} of {scale**2:.3g}, the square of the scale {scale:.3g} of X. "
                'Give the noise variance in squared units of X, or "auto".'
            )
        return level

    def _validation_loss(self, model, x):
        """Return the negative bound in nats, at the best noise variance if it is learned."""
        if model.has_prices:
            return -float(model.bound(x).mean())
        terms = validation_terms(model, x)
        return validation_loss(terms, self._noise_for(terms, model, x.shape[1]), x.shape[1])

    def _noise_for(self, terms, model, n_features):
        if self.learn_noise_variance and not model.has_prices:
            return best_noise(terms, n_features)
        return float(model.noise_variance)

    @property
    def _minimises_bound(self):
        """Whether training minimises the bound, over the noise variance too."""
        loss = losses.Loss.resolve(self.loss)
        is_learned = self.noise_variance == "auto" and self.learn_noise_variance
        return is_learned and type(loss) is losses.ELBO and loss.beta == 1

    def _finish(self, model, trainer, data):
        rows = torch.cat([data.valid, data.train.head])
        rows = rows[: N_BLOCKS * block_rows(model.n_components)]
        model.calibrate(rows, len(data.valid))
        if not data.is_batch:
            model.close_unused(torch.cat([part.x for part in data.parts]))
        terms = validation_terms(model, data.valid)
        noise_variance = self._noise_for(terms, model, data.valid.shape[1])
        model.noise_variance = as_number(noise_variance)
        model.remember_gates(data.valid)
        self._give_samples(model, data)
        attributes = {
            "noise_variance_": noise_variance * data.scaling.scale**2,
            "_n_rows_": sum(len(part.x) for part in data.parts),
        }
        attributes |= self._explanation(data)
        if data.valid_labels is not None and len(model.gate_std):
            attributes["_gate_labels_"] = np.resize(data.valid_labels[:N_GATES], N_GATES)
        return attributes

    def _explanation(self, data):
        """Return the attributes about the explanation of the samples."""
        explained = data.explained
        if explained is None:
            return {}
        names = "explanation_", "explanation_nats_", "density_name_"
        if self.warm_start and hasattr(self, "explanation_"):
            return {name: getattr(self, name) for name in names}
        shift = data.valid.shape[1] * math.log(data.scaling.scale)
        nats = {name: float(value) - shift for name, value in explained.nats.items()}
        density = "gates" if explained.has_density_of_gates else "mixture"
        return dict(zip(names, (coder_of(self, explained), nats, density), strict=True))

    def _give_samples(self, model, data):
        """Give the prior of a trained model its density, or samples that a density is fitted to."""
        prior = model.prior
        vars(prior).pop("density_", None)
        before = vars(prior).pop("rows_", None)
        if not model.learns_density:
            return
        density = data.explained and data.explained.density
        if density is not None and self._has_free_density(model) and prior.may_be(density):
            prior.density_ = density
            return
        # Batches are parts of the same data, so rows of earlier batches count, too.
        x, labels, weights = data.some()
        prior.rows_ = TrainingRows.of(x, labels, weights, before if data.is_batch else None)

    def _findings(self, model, data, x, labels):
        posterior = model.inferred(x)
        code = model.code(posterior)
        residual = x - model.decode(code)
        active = self._mask(model, posterior, code).cpu().numpy()
        # Residuals are shares of the whole variance, around and between locations.
        size = x.square().sum()
        between = 0.0
        if labels is not None:
            between = np.square(data.scaling.offsets[labels] / data.scaling.scale).sum()
        within = float(size / (size + between))
        unexplained = within * float(residual.square().sum() / size)
        self._held_out_codes_ = {"l0": float(active.sum(axis=1).mean()), "kept": 1 - unexplained}
        return Findings(
            active=active,
            found_l0=None if self.target_l0 is None else float(model.lengths[0]),
            deviation=(1 - posterior.openness if model.has_prices else posterior.std).cpu().numpy(),
            unexplained=unexplained,
            linear_residual=within * linear_residual(x, model.n_components, data.train.head),
            gated=model.gated,
            linear_decoder=model.linear_decoder is not None,
            collapse=find_collapse(x, residual, active, labels, float(model.noise_variance)),
            target_l0=None if self.target_l0 is None else model.length,
            has_prices=model.has_prices,
        )

    # --- coding -------------------------------------------------------------------------------

    def _encode(self, model, x):
        posterior = model.inferred(x)
        if not self._is_hard(model):
            return model.soft_code(posterior)
        code = model.code(posterior)
        # The product keeps codes that are not finite, so that they are noticed. Adding 0 turns a
        # negative 0 into 0.
        return code * self._mask(model, posterior, code) + 0.0

    def _with_length(self, model):
        if model.has_prices and self.threshold != "fixed_variance":
            warnings.warn(
                f"threshold={self.threshold!r} has no effect: gates of this model have a prior, "
                "and a latent is active if its gate is more probably open. Leave "
                "threshold='fixed_variance', or set prior='mixture' and fit again.",
                stacklevel=5,
            )
        share = self.transform_explained_variance
        if share is None:
            return super()._with_length(model)
        self._check_length(model)
        return model.shortened(model.length_that_keeps(share))

    def _check_length(self, model):
        super()._check_length(model)
        share = self.transform_explained_variance
        if share is None:
            return
        if self.transform_l0 is not None:
            raise ValueError(
                "transform_l0 and transform_explained_variance both set the length of codes. Leave "
                "one of them None."
            )
        if not model.has_prices:
            raise ValueError(
                f"transform_explained_variance={share!r} sets a price on gates, but this model "
                "does not support prices. Set prior='spike_slab' and fit again."
            )

    def _is_hard(self, model):
        """Return whether codes of latents that are not active are exactly 0."""
        is_default = model.gated and isinstance(model.prior, priors.Mixture)
        return (is_default if self.hard == "auto" else self.hard) or self.sparse_output

    def _active(self, model, x):
        posterior = model.inferred(x)
        return self._mask(model, posterior, model.code(posterior))

    def _mask(self, model, posterior, code):
        if model.has_prices:
            return model.is_open(posterior)
        latents = thresholds.Latents(
            log_variance=posterior.log_variance.cpu().numpy(),
            code=code.cpu().numpy(),
            code_scale=model.code_scale().cpu().double().numpy() * self.scale_,
            noise_variance=self.noise_variance_,
        )
        active = thresholds.ThresholdRule.resolve(self.threshold).active(latents)
        return torch.as_tensor(active, device=code.device)

    def posterior(self, X: ArrayLike | SparseArray) -> tuple[FloatArray, ...]:
        """Return the posterior of the latents before the gate.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        probability : ndarray of shape (n_samples, n_components)
            Probabilities that gates are open. Only with ``prior="spike_slab"``; mean and std then
            describe a latent whose gate is open.

        mean : ndarray of shape (n_samples, n_components)
            Posterior means.

        std : ndarray of shape (n_samples, n_components)
            Posterior standard deviations, in (0, 1]; near 1 for closed latents, and 1 for latents
            that no training sample uses. The gated code is ``(1 - std) * mean``. Columns of
            locations are certain, with a standard deviation of 0.
        """
        X, model = self._check_for_coding(X)

        def both(model, x):
            posterior = model.inferred(x)
            gates = [posterior.probability] if model.has_prices else []
            return torch.stack([*gates, posterior.mean, posterior.std], dim=1)

        def certain(posteriors, labels):
            *others, std = posteriors.unbind(dim=1)
            known = std.new_zeros((len(std), self._n_locations))
            parts = [self._with_locations(part, labels) for part in others]
            return torch.stack([*parts, torch.hstack([std, known])], dim=1)

        posteriors = self._by_chunks(X, model, both, at_locations=certain)
        return tuple(posteriors[:, i] for i in range(posteriors.shape[1]))

    # --- effective dimensions -----------------------------------------------------------------

    def active_rank(self, X: ArrayLike | SparseArray, *, tol: float = 0.05) -> IntArray:
        """Return the number of directions that the active latents of each sample span.

        The rank is at most the number of active latents, and less if their decoder columns are
        linearly dependent: two latents for one direction, or more latents than features.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples, seen or unseen.

        tol : float, default=0.05
            Singular values up to this share of the largest count as 0. For two columns this is an
            angle of ``2 * tol`` radians.

        Returns
        -------
        ndarray of int of shape (n_samples,)
            Rank of the active columns; 0 if no latent is active.

        Raises
        ------
        ValueError
            If `tol` is not at least 0 and below 1.

        See Also
        --------
        active_dimensions : Mask of the active latents.
        participation_ratio : Number of directions, weighted by how evenly they are used.

        Notes
        -----
        For a sample with the active set A, the result is the rank of the matrix with the columns
        ``J_j / ||J_j||``, j in A. J is the matrix of a linear decoder, or the Jacobian of a
        nonlinear decoder at the code of the sample. Columns of zeros do not count.

        Examples
        --------
        >>> from skvaeense import VAEenseTransformer
        >>> from skvaeense.datasets import make_linear_subspaces
        >>> X, _, dimension = make_linear_subspaces(1000, dims=(1, 3), n_features=8, random_state=0)
        >>> vaeense = VAEenseTransformer(random_state=0).fit(X)
        >>> bool((vaeense.active_rank(X) == dimension).mean() > 0.95)
        True
        """
        if not 0 <= tol < 1:
            raise ValueError(f"tol must be at least 0 and below 1, got {tol!r}.")

        return self._of_active_columns(X, lambda gram, active, _: rank(gram, active, tol))

    def participation_ratio(self, X: ArrayLike | SparseArray) -> FloatArray:
        """Return the effective number of directions that the active latents of each sample use.

        The ratio is the number of active latents if all of them move the reconstruction equally
        far, in orthogonal directions, and near 1 if one latent moves it much farther than the
        others.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples, seen or unseen.

        Returns
        -------
        ndarray of shape (n_samples,)
            Participation ratios, between 1 and `active_rank` with ``tol=0``; 0 if no latent is
            active.

        See Also
        --------
        active_rank : Number of directions, however little they are used.

        Notes
        -----
        With the posterior standard deviations s, the active set A of a sample, and the columns J of
        the decoder, or of its Jacobian at the code of the sample::

            C = sum_{j in A} (1 - s_j)^2 J_j J_j',      PR = tr(C)^2 / tr(C^2)

        To first order, C is the covariance of reconstructions if the active latents are drawn from
        the standard normal distribution and pass the gates of the sample; without a gate the factor
        ``(1 - s_j)^2`` is 1. The ratio of the eigenvalues of C is from [1]_.

        References
        ----------
        .. [1] P. Gao et al. (2017). A theory of multineuronal dimensionality, dynamics and
           measurement. bioRxiv 214262.

        Examples
        --------
        >>> from skvaeense import VAEenseTransformer
        >>> from skvaeense.datasets import make_linear_subspaces
        >>> X, _, dimension = make_linear_subspaces(1000, dims=(1, 3), n_features=8, random_state=0)
        >>> ratio = VAEenseTransformer(random_state=0).fit(X).participation_ratio(X)
        >>> bool(ratio[dimension == 1].mean() < 1.1 < 2 < ratio[dimension == 3].mean())
        True
        """

        def ratios(gram, active, openness):
            return participation_ratio(gram, (active * openness).double().square()).to(openness)

        return self._of_active_columns(X, ratios)

    def _of_active_columns(self, X, function):
        """Apply a function to Gram matrices of decoder columns, active masks and gates."""
        X, model = self._check_for_coding(X)

        def answer(model, x):
            posterior = model.inferred(x)
            code = model.code(posterior)
            active = self._mask(model, posterior, code)
            openness = posterior.openness if model.gated else torch.ones_like(code)
            return function(model.gram(code), active, openness)

        # With a nonlinear decoder each sample has its own Jacobian.
        n_latents = model.n_components
        width = n_latents if model.linear_decoder is not None else max(n_latents, X.shape[1])
        return self._by_chunks(X, model, answer, block_rows(n_latents * width))

    # --- scikit-learn's protocols -------------------------------------------------------------

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # `fit` raises an error if the network is not valid.
        with suppress(ValueError):
            is_mixture = isinstance(self._resolved_prior(), priors.Mixture)
            tags.input_tags.allow_nan = self._network().has_linear_decoder and is_mixture
        return tags
