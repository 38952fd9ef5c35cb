"""SparseAutoencoder: sparse codes by a penalty or a constraint."""

from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils.metaestimators import available_if

from skvaeense._base import BaseAutoencoder
from skvaeense.nets import losses, networks, penalties
from skvaeense.nets.models import SparseCoder, as_number
from skvaeense.nets.networks import with_known
from skvaeense.nets.penalties import KeepsLargest
from skvaeense.samples._rows import as_array
from skvaeense.samples._sources import beside, open_target, refuse_loader
from skvaeense.samples._weights import checked_weights
from skvaeense.training import _data, _hooks
from skvaeense.training._diagnosis import Findings
from skvaeense.training._trainer import SETTLING, Optimizer, Schedule, Trainer, find_schedule
from skvaeense.utils import _torch
from skvaeense.utils._rows import MIN_ROWS_TO_SPLIT, N_BLOCKS, block_rows
from skvaeense.utils._typing import Auto, FloatArray, Precision, RandomState, SparseArray
from skvaeense.utils._validation import AT_LEAST_ONE, POSITIVE, AliasOf, StrOptions
from skvaeense.utils._warnings import warn_user

# Default factor of the squared weights of a decoder with hidden layers.
DECODER_DECAY = 1e-4


@dataclass(eq=False, repr=False)
class SparseAutoencoder(BaseAutoencoder):  # numpydoc ignore=PR02
    """Autoencoder with a penalty or a constraint that makes codes sparse.

    For a sample x the encoder gives pre-activations h, an activation turns h into the code z, and
    f(z) is the reconstruction. Training minimises the squared error plus a penalty on the code.
    With L1 the loss is the mean of ::

        ||x - f(z)||^2 / v + alpha * sum_j |z_j| / sqrt(v)

    where v is the mean squared norm of the centred training samples. So alpha is a fraction of the
    norm of samples, whatever their units and their number of features. Entries of z that are not
    active are exactly 0.

    ``fit(X, Y)`` with a target Y trains a transcoder: codes of the samples are decoded to Y, such
    as another layer of a language model. The error and the norm above then refer to Y.

    ``fit`` on `Activations` of several modules trains a crosscoder. Each module is scaled by
    itself, so that a module with large activations does not drown the others: v is then the mean
    squared norm of the scaled samples, and `score` counts modules in proportion to their features.

    Parameters
    ----------
    n_components : int or None, default=None
        Number of latents. None means twice the number of principal components that hold 99 % of
        the variance, at most 256.

    penalty : {"batch_topk", "gated", "jump_relu", "l1", "log", "matryoshka", "topk"} or Penalty, \
            default="batch_topk"
        Penalty or constraint that makes codes sparse. An alias means the defaults of its class in
        `skvaeense.nets.penalties`.

    target_l0 : float or None, default=None
        Target for the mean number of active latents. TopK, BatchTopK and Matryoshka take it as
        their k, if that is None. For other penalties, training adapts alpha from the given value to
        `alpha_`, and at the end a cut on the sizes of codes makes up for what is missing on
        held-out samples. None leaves alpha and k as they are.

    transform_l0 : float or None, default=None
        Number of active latents in the codes of a fitted model, at most the k of the penalty and at
        least 1/256 of it. TopK gives each code this number, rounded and at least one; BatchTopK and
        Matryoshka give codes this number on average. It can be changed after fitting. None means k,
        the largest if there are several.

    network : {"linear", "mlp", "single_layer", "unrolled"} or Network, default="single_layer"
        Encoder and decoder. "single_layer" has one linear layer each way, "linear" has hidden
        layers in the encoder, and "mlp" in both. "unrolled" also has one layer, and corrects the
        code by the residual: short codes then explain more, but a step takes longer.

    positive_code : bool, default=True
        Whether codes are non-negative. False allows both signs.

    skip_connection : bool, default=False
        Whether a learned linear map of the sample is added to the decoded code. Only with a target.
        Codes then have to explain only the nonlinear part of the target.

    loss : {"penalized_reconstruction"} or Loss, default="penalized_reconstruction"
        Loss that training minimises. The columns of a linear decoder keep norm 1 in units of the
        scaled samples, unless the loss has a `decay` above 0, a factor of the decoder's squared
        weights. Otherwise codes could shrink while the decoder grows, and a penalty on codes would
        mean nothing. For a decoder with hidden layers the alias has a decay of 1e-4.

    optimizer : str, class or functools.partial, default="adam"
        Optimizer of the weights: a name in torch.optim, such as "adam" or "sgd" (with a momentum of
        0.9), a class that derives from torch.optim.Optimizer, or a functools.partial of a class
        with its settings.

    learning_rate_init : "auto" or float, default="auto"
        Peak learning rate. "auto" means 0.008 times the root of ``batch_size / 256``, and for more
        than 512 latents also times the root of ``512 / n_components``. For more than 3,000 planned
        steps it is also times the root of 3,000 divided by the number of steps.

    schedule : {"auto", "constant", "cosine"} or callable, default="auto"
        Schedule of the learning rate. "auto" means a rise to the peak over the first tenth of the
        training, and a fall to 0 over the last 30 %; with "cosine" the fall begins at the peak. A
        function takes the share of the training that is done, in [0, 1), and returns the factor of
        the peak.

    batch_size : "auto" or int, default="auto"
        Number of samples in each step. "auto" means 256, or an eighth of the samples if there are
        few.

    max_iter : "auto" or int, default="auto"
        Maximum number of epochs. "auto" means the epochs that amount to 3,000 steps.

    tol : float, default=1e-5
        Least gain in the held-out loss that counts as an improvement, as a fraction of the
        variance.

    n_iter_no_change : int, default=30
        Number of epochs without such an improvement after which training skips to its last 30 %, in
        which the learning rate falls to 0.

    n_samples_planned : int or None, default=None
        Number of samples that all calls of `partial_fit` will give together, over which its
        schedule extends. None means 3,000 steps.

    dead_after : int, default=10_000
        Number of training samples in a row after which a silent latent is dead. Dead latents are
        revived, so a larger number leaves rare latents more time.

    sparse_output : bool, default=False
        Whether `transform` returns a scipy.sparse CSR array.

    warm_start : bool, default=False
        Whether `fit` continues from the fitted model. `n_components`, `network`, `positive_code`
        and `skip_connection` must not have changed since the model was made.

    verbose : int, default=0
        Progress on the screen: 1 shows a bar on a terminal, and otherwise a line every second or
        two; 2 shows a line for each step.

    dtype : {"float32", "float64"}, default="float32"
        Precision of training. Codes are computed in the precision of X.

    device : str, default="auto"
        Device: "cpu", "cuda", another torch device, or "auto" for CUDA if there is any.

    random_state : int, RandomState instance or None, default=None
        Seed of weights, sample order and held-out split. Global generators are not touched.

    Attributes
    ----------
    module_ : torch.nn.Module
        The model, `skvaeense.nets.models.SparseCoder`, for centred and scaled samples.

    components_ : ndarray of shape (n_components_, n_features)
        The dictionary: decoder columns in units of X, one row for each latent. Only with a linear
        decoder. With a target, rows are in units of the target and have an entry for each of its
        features.

    alpha_ : float
        Coefficient of the penalty at the end of training. Only with a penalty that has one.

    dead_fraction_ : float
        Fraction of latents that were active for none of the last `dead_after` samples seen in
        training, counted over all epochs, or of all samples if training saw fewer.

    mean_ : ndarray of shape (n_features,)
        Mean of the training samples.

    scale_ : float or ndarray of shape (n_features,)
        Root mean square of the centred training samples. If X was `Activations` of several modules,
        an array with the value of each feature's module.

    n_components_ : int
        Number of latents.

    n_iter_ : int
        Number of epochs that the model was trained for.

    loss_curve_ : list of float
        Mean loss on the training samples in each epoch, as a fraction of the variance. A long epoch
        has an entry for every 100 steps.

    history_ : dict of ndarray
        Values for each entry of `loss_curve_`: "loss"; "error", as a fraction of the variance;
        "penalty", before it is multiplied by "alpha"; "l0", the mean number of active latents;
        "dead_fraction", as in `dead_fraction_`; "epoch" and "step", the numbers of epochs and of
        steps so far; and "init", which is 0. ``history_.to_frame()`` gives a pandas.DataFrame.

    n_features_in_ : int
        Number of features seen during fit.

    target_mean_ : ndarray of shape (n_targets,)
        Mean of the training target. Only if there was one.

    target_scale_ : float or ndarray of shape (n_targets,)
        Root mean square of the centred training target, as in `scale_`. Only if there was one.

    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features seen during fit. Only if all are strings.

    See Also
    --------
    VAEenseTransformer : Learn the number of active latents for each sample, without alpha.
    sklearn.decomposition.MiniBatchDictionaryLearning : Optimise the code of each sample.

    References
    ----------
    T. Bricken et al., "Towards monosemanticity: decomposing language models with dictionary
    learning", Transformer Circuits Thread, 2023.

    J. Dunefsky, P. Chlenski and N. Nanda, "Transcoders find interpretable LLM feature circuits",
    2024, arXiv:2406.11944.

    L. Gao et al., "Scaling and evaluating sparse autoencoders", 2024, arXiv:2406.04093.

    G. Paulo, S. Shabalin and N. Belrose, "Transcoders beat sparse autoencoders for
    interpretability", 2025, arXiv:2501.18823, for the skip connection.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.metrics import l0
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(100, target_l0=10, max_iter=50, random_state=0)
    >>> codes = sae.fit(X[:1500]).transform(X[1500:])
    >>> codes.shape, 9 < l0(codes) < 11
    ((297, 100), True)

    A transcoder from the upper half of each image to the lower half:

    >>> sae.fit(X[:, :32], X[:, 32:]).predict(X[:, :32]).shape
    (1797, 32)
    """

    module_: Annotated[SparseCoder, "d k"] = field(init=False)
    alpha_: float = field(init=False)
    dead_fraction_: float = field(init=False)

    _parameter_constraints = BaseAutoencoder._parameter_constraints | {
        "penalty": [AliasOf(penalties.Penalty), penalties.Penalty],
        "target_l0": [POSITIVE, None],
        "skip_connection": ["boolean"],
        "loss": [StrOptions({"penalized_reconstruction"}), losses.Loss],
        "learning_rate_init": [POSITIVE, StrOptions({"auto"})],
        "dead_after": [AT_LEAST_ONE],
    }

    _structural = (*BaseAutoencoder._structural, "skip_connection")
    _held_out = _data.SPARSE_HELD_OUT
    _n_steps = _data.LONG_STEPS
    _sums_features = False
    _scales_modules = True
    _length_cure = "Fit with the penalty TopK, BatchTopK or Matryoshka"

    n_components: int | None = None
    _: KW_ONLY
    penalty: str | penalties.Penalty = "batch_topk"
    target_l0: float | None = None
    transform_l0: float | None = None
    network: str | networks.Network = "single_layer"
    positive_code: bool = True
    skip_connection: bool = False
    loss: Literal["penalized_reconstruction"] | losses.Loss = "penalized_reconstruction"
    optimizer: Optimizer = "adam"
    learning_rate_init: Auto | float = "auto"
    schedule: Schedule = "auto"
    batch_size: Auto | int = "auto"
    max_iter: Auto | int = "auto"
    tol: float = 1e-5
    n_iter_no_change: int = 30
    n_samples_planned: int | None = None
    dead_after: int = 10_000
    sparse_output: bool = False
    warm_start: bool = False
    verbose: int = 0
    dtype: Precision = "float32"
    device: str = "auto"
    random_state: RandomState = None

    # --- fitting ------------------------------------------------------------------------------

    def _make_trainer(self, data, seeds, init=0, model=None):
        device = _torch.resolve_device(self.device)
        continues = model is not None
        generator = _torch.make_generator(seeds[1])
        if continues:
            penalty = self._penalty_of(model.n_components)
            model = self._with_penalty(model, penalty, generator)
        else:
            n_components = self.n_components or _data.default_n_components(data.spectrum)
            penalty = self._penalty_of(n_components)
            model = self._new_model(data, n_components, penalty, generator)
        model = model.to(device=device, dtype=_torch.DTYPES[self.dtype])
        hooks = [
            self._coefficient(penalty, model, continues),
            _hooks.DeadLatents(model, self.dead_after),
        ]
        loss, is_linear = losses.Loss.resolve(self.loss), model.linear_decoder is not None
        if self.loss == losses.PenalizedReconstruction.alias and not is_linear:
            loss = losses.PenalizedReconstruction(DECODER_DECAY)
        if is_linear and not getattr(loss, "decay", 0.0):
            model.normalize()
            model.has_unit_columns = True
        rate = self.learning_rate_init
        if rate == "auto":
            n_steps = self._planned_steps(data)
            rate = _data.sparse_learning_rate(data.batch_size, model.n_components, n_steps)
        return Trainer(
            model,
            loss,
            optimizer=self.optimizer,
            learning_rate=rate,
            schedule=find_schedule(self.schedule, hold=SETTLING),
            generator=_torch.make_generator(seeds[0], device),
            hooks=hooks,
        )

    def _with_target(self, X, y, *, continues):
        target = None if y is None else open_target(y)
        samples = X if target is None else beside(X, target)
        n_given = samples.shape[1] - X.shape[1] or None
        if continues and n_given != self.module_.n_targets:
            raise ValueError(
                f"y is {described_target(n_given)}, but this SparseAutoencoder was fitted with "
                f"{described_target(self.module_.n_targets)}. Give a matching y; fit with "
                "warm_start=False trains a new model."
            )
        return samples

    def _penalty_of(self, n_components):
        """Return the penalty for a number of latents, with its k if that was left open."""
        penalty = penalties.Penalty.resolve(self.penalty)
        if not isinstance(penalty, KeepsLargest) or penalty.k is not None:
            return penalty
        k = self.target_l0 or penalty.lengths(n_components)
        return clone(penalty).set_params(k=k)

    def _new_model(self, data, n_components, penalty, generator):
        model = SparseCoder(
            self._network(penalty),
            data.n_features,
            n_components,
            penalty=penalty,
            positive=self.positive_code,
            generator=generator,
            n_targets=data.scaling.n_targets or None,
            skip_connection=self.skip_connection,
        )
        k = np.max(getattr(penalty, "k", 0))
        # An alias leaves k to its default, which is clipped as documented.
        if k > model.n_components and not isinstance(self.penalty, str):
            warn_user(
                f"{penalty!r} keeps k={k} latents, but there are only {model.n_components}, so "
                "codes are not sparse. Set a smaller k, or a larger n_components."
            )
        model.initialize(data.train.head)
        return model

    def _network(self, penalty):
        """Return the specification of the network, completed by the other parameters."""
        known = {
            "init_norm": penalty.init_norm,
            "n_active": self.target_l0 or getattr(penalty, "k", None),
            "positive": self.positive_code,
        }
        return with_known(networks.Network.resolve(self.network), known)

    def _with_penalty(self, model, penalty, generator):
        """Return a copy of an earlier model, with the present penalty."""
        config = model.config | {"penalty": penalty, "network": self._network(penalty)}
        new = SparseCoder(**config, generator=generator).to(next(model.parameters()))
        new.network.load_state_dict(model.network.state_dict())
        new.skip = model.skip
        learned = model.activation.state_dict()
        if new.activation.state_dict().keys() == learned.keys():
            new.activation.load_state_dict(learned)
        return new

    def _coefficient(self, penalty, model, continues):
        target_l0, alpha = self.target_l0, penalty.alpha
        if target_l0 is not None:
            given = f"target_l0={target_l0!r}"
            if alpha is None and getattr(penalty, "k", None) != target_l0:
                raise ValueError(
                    f"{given} adapts the coefficient alpha, but {penalty!r} has no alpha. Set its "
                    "k instead, and leave target_l0=None."
                )
            if alpha == 0:
                raise ValueError(
                    f"{given} adapts alpha by factors, so the initial alpha must be above 0; got "
                    f"{penalty!r}."
                )
            if target_l0 > model.n_components:
                raise ValueError(f"{given} must be at most n_components={model.n_components}.")
            if continues and alpha is not None:
                # A given coefficient may have been changed; an adapted one keeps its last value.
                alpha = getattr(self, "alpha_", alpha)
        hook = _hooks.Coefficient(alpha or 0.0, target_l0=None if alpha is None else target_l0)
        hook.warmup = 0.0 if continues else hook.warmup
        return hook

    def _validation_loss(self, model, x):
        with _torch.evaluating(model):
            x, target = model.split(x)
            # The coefficient changes between epochs, so costs cannot be compared. Errors of codes
            # with the same number of active latents can.
            model.meet(x, self.target_l0)
            coding = model.coding(x)
            error = float((target - model.decode(coding.code)).square().mean())
            if self.target_l0 is not None:
                return error
            return error + float(model.alpha) * float(model.penalty.cost(coding).mean())

    def _finish(self, model, trainer, data):
        coefficient, dead_latents = trainer.hooks
        rows = data.shown(MIN_ROWS_TO_SPLIT)[: N_BLOCKS * block_rows(model.n_components)]
        x, _ = model.split(rows)
        model.calibrate(x)
        model.meet(x, self.target_l0)
        model.alpha = as_number(float(coefficient.alpha))
        outcome = {"dead_fraction_": dead_latents.fraction}
        if model.penalty.alpha is not None:
            outcome["alpha_"] = float(coefficient.alpha)
        return outcome

    def _findings(self, model, data, x):
        rows, (x, target) = x, model.split(x)
        trained, _ = model.split(data.train.head)
        code = model.code(x)
        active = (code != 0).cpu().numpy()
        residual = target - model.decode(code)
        explained = rows[:, data.n_features :] if model.n_targets else rows
        # How much of a target the samples can explain is not known.
        n_active = round(active.sum(axis=1).mean())
        left = 1.0 if model.n_targets else _data.linear_residual(x, n_active, trained)
        return Findings(
            active=active,
            found_l0=float(active.sum(axis=1).mean()),
            unexplained=float(residual.square().sum() / explained.square().sum()),
            linear_residual=left,
            dead_fraction=self.dead_fraction_,
            target_l0=self.target_l0,
            has_alpha=hasattr(self, "alpha_"),
        )

    # --- coding -------------------------------------------------------------------------------

    def _has_target(self) -> bool:
        if not hasattr(self, "target_mean_"):
            raise AttributeError(
                "predict is only available after fit(X, Y) with a target Y. To reconstruct "
                "samples, use inverse_transform(transform(X))."
            )
        return True

    @available_if(_has_target)
    def predict(self, X: ArrayLike | SparseArray) -> FloatArray:
        """Predict the target, if the estimator was fitted with a target.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples, as for `transform`.

        Returns
        -------
        ndarray of shape (n_samples, n_targets)
            Predicted target in its units: ``inverse_transform`` of the codes, plus the output of
            the skip connection, if there is one.
        """
        undo = self._scaling.decoded.undo
        given = self._check_for_coding(X)
        return self._by_model(*given, lambda model, x: undo(model.predict(x)))

    def score_samples(self, X: ArrayLike | SparseArray, y: object = None) -> FloatArray:
        """Return the explained share of each sample, or of its target.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples.

        y : array-like of shape (n_samples, n_targets) or None, default=None
            Target of X if the estimator was fitted with a target; otherwise ignored.

        Returns
        -------
        ndarray of shape (n_samples,)
            ``1 - ||x - f(z)||^2 / v`` with v the mean squared norm of the centred training
            samples. It is 1 for a perfect reconstruction; the mean over the training samples is the
            explained variance. With a target, both norms refer to the target.

        Raises
        ------
        ValueError
            If the estimator was fitted with a target, and y does not have the features of that
            target.
        """
        given = self._check_for_scoring(X, y)
        return self._by_model(*given, lambda model, rows: 1 - errors(model, rows))

    def score(
        self,
        X: ArrayLike | SparseArray,
        y: object = None,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Return the explained variance, the usual measure of sparse autoencoders.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Samples, not all equal.

        y : array-like of shape (n_samples, n_targets) or None, default=None
            Target of X, not constant, if the estimator was fitted with a target; otherwise ignored.

        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weight of each sample: how often it counts.

        Returns
        -------
        float
            Fraction of the variance of X that reconstructions explain, or of the variance of the
            target that `predict` explains: R2, weighted by the variances of features.

        Raises
        ------
        ValueError
            If X is constant, or y if there is a target, or if the estimator was fitted with a
            target and y does not have the features of that target.
        """
        rows, model = self._check_for_scoring(X, y)
        if sample_weight is not None:
            refuse_loader(rows, "sample_weight")
        weights = checked_weights(sample_weight, rows)
        decoded = self._scaling.decoded
        columns = slice(rows.shape[1] - len(decoded.mean), None)
        spread = decoded.spread(rows, weights, columns)
        if spread == 0:
            name = "X" if model.n_targets is None else "y"
            raise ValueError(
                f"{name} is constant over its {len(rows)} sample(s), so it has no variance to "
                "explain."
            )
        left = self._by_model(rows, model, partial(errors, unit=spread))
        left = as_array(left).astype(np.float64)
        return 1 - float(np.average(left, weights=weights))

    def _check_for_scoring(self, X: Any, y: object) -> tuple[Any, Any]:
        """Return valid samples, joined with the target if there is one, and the model."""
        X, model = self._check_for_coding(X)
        has_target = model.n_targets is not None
        return (self._with_target(X, y, continues=True) if has_target else X), model


def errors(model: SparseCoder, rows: torch.Tensor, unit: float = 1.0) -> torch.Tensor:
    """Return the mean squared error of each sample, or of its target, in squares of a unit."""
    x, target = model.split(rows)
    # Squares of undivided residuals could overflow.
    return ((target - model.decode(model.code(x))) / unit).square().mean(dim=1)


def described_target(n_targets: int | None) -> str:
    """Describe a target in an error message by its number of features."""
    return "no target" if n_targets is None else f"a target of {n_targets} features"
