"""VAEase: the model of the paper, and its training by gradients."""

from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from sklearn.base import clone

from skvaeense._base import BaseAutoencoder
from skvaeense.mixture._density import MixtureDensity
from skvaeense.mixture._fit import span_density
from skvaeense.nets import losses, networks, priors, thresholds
from skvaeense.nets.models import VAE, NetLaw, as_number
from skvaeense.nets.networks import with_known
from skvaeense.training import _hooks, _trainer
from skvaeense.training._data import default_n_components, linear_residual, random_steps
from skvaeense.training._diagnosis import Findings, find_collapse
from skvaeense.utils import _validation
from skvaeense.utils._rows import N_BLOCKS, block_rows
from skvaeense.utils._torch import DTYPES, make_generator, resolve_device
from skvaeense.utils._typing import Auto

# Largest factor between a given noise variance and the squared scale of the data. Beyond it, terms
# of the loss leave the range of single precision.
NOISE_RANGE = float(np.sqrt(np.finfo(np.float32).max))


@dataclass(eq=False, repr=False)
class VAEase(_validation.Specification):  # numpydoc ignore=PR02
    """The model of "Sparse Autoencoders, Again?" [1]_, trained by gradients.

    An encoder gives each latent a posterior mean m and standard deviation s, and the decoder sees
    ``(1 - s) z``: so a latent can close for one sample, with s = 1, while it is open for others.
    The noise variance is learned. See :class:`skvaeense.nets.models.VAE` for the loss.

    It is the `model` of a :class:`~skvaeense.VAEenseTransformer`, whose `n_components`,
    `positive_code`, `dtype`, `device` and `random_state` it uses. Nothing takes its place: what is
    trained is what codes and scores samples. In a grid search its parameters are
    ``model__network`` and so on.

    Parameters
    ----------
    network : {"linear", "mlp", "single_layer"} or Network, default="linear"
        Encoder and decoder. "linear" has a linear decoder and a nonlinear encoder, "mlp" has hidden
        layers in both, and "single_layer" has one linear layer each way.

    gated : bool, default=True
        Whether the decoder sees ``(1 - s) z``. False gives a plain variational autoencoder, whose
        active latents are the same for every sample.

    prior : {"standard_normal"} or Prior, default="standard_normal"
        Prior distribution of the latents.

    threshold : {"contribution", "fixed_variance", "otsu"} or ThresholdRule, \
            default="fixed_variance"
        Rule that decides which latents are active.

    noise_variance : "auto" or float, default="auto"
        First noise variance, in squared units of X. "auto" derives it from the spectrum of X.

    learn_noise_variance : bool, default=True
        Whether the noise variance is learned. False keeps `noise_variance`, which must then be a
        number.

    n_init : "auto" or int, default="auto"
        Number of random inits, which differ in weights. They are compared after 70 % of the
        training, by their held-out bounds, and only the best one is trained to the end. "auto"
        means 4 if the decoder is linear: an init may then have a latent too many for a part of the
        samples, which its bound shows. It means 1 for other decoders, which take longer and start
        from samples.

    loss : {"elbo"} or Loss, default="elbo"
        Loss that training minimises.

    optimizer : str, class or functools.partial, default="adam"
        Optimizer of the weights: a name in torch.optim, such as "adam" or "sgd" (with a momentum of
        0.9), a class that derives from torch.optim.Optimizer, or a functools.partial of a class
        with its settings.

    learning_rate_init : float, default=0.012
        Peak learning rate. It is divided by the square root of the number of the decoder's layers.

    schedule : {"auto", "constant", "cosine"} or callable, default="auto"
        Schedule of the learning rate. "auto" means "cosine": a rise to the peak over the first
        tenth of the training, and a fall to 0. A function takes the share of the training that is
        done, in [0, 1), and returns the factor of the peak.

    batch_size : "auto" or int, default="auto"
        Number of samples in each step. "auto" means 256, or an eighth of the samples if there are
        few.

    max_iter : "auto" or int, default="auto"
        Maximum number of epochs of each init. "auto" means 250, but at least as many as
        amount to 2,000 steps, and at most as many as amount to 6,000.

    tol : float, default=1e-4
        Least gain in the held-out bound that counts as an improvement, in nats per sample.

    n_iter_no_change : int, default=30
        Number of epochs without such an improvement after which training skips to its last 30 %, in
        which the learning rate falls to 0.

    n_samples_planned : int or None, default=None
        Number of samples that all calls of `partial_fit` will give together, over which its
        schedule extends. None means 6,000 steps.

    See Also
    --------
    VAEenseTransformer : The estimator.

    Notes
    -----
    The bound that training maximises is not a density, since the encoder sees the sample when it
    chooses how far latents open. With a linear decoder `fit` therefore ends with a Gaussian mixture
    in the span of the decoder, which gives `score_samples`, `sample` and `impute`; without a gate
    it is the normal distribution of the model. With a nonlinear decoder, and after `partial_fit`,
    scores are the bounds.

    References
    ----------
    .. [1] Lu, Zhu, He and Wipf (2025). Sparse Autoencoders, Again? ICML. arXiv:2506.04859.

    Examples
    --------
    >>> from skvaeense import VAEase, VAEenseTransformer
    >>> from skvaeense.datasets import make_linear_subspaces
    >>> X, *_ = make_linear_subspaces(600, dims=(1, 2), n_features=8, random_state=0)
    >>> vaeense = VAEenseTransformer(6, model=VAEase(n_init=1, max_iter=20), random_state=0).fit(X)
    >>> vaeense.module_.n_components
    6
    """

    alias = "vaease"

    _parameter_constraints = _trainer.TRAINING_CONSTRAINTS | {
        "network": [_validation.AliasOf(networks.Network, refused="unrolled"), networks.Network],
        "gated": ["boolean"],
        "prior": [_validation.AliasOf(priors.Prior), priors.Prior],
        "threshold": [_validation.AliasOf(thresholds.ThresholdRule), thresholds.ThresholdRule],
        "noise_variance": [_validation.POSITIVE, _validation.StrOptions({"auto"})],
        "learn_noise_variance": ["boolean"],
        "n_init": [_validation.AT_LEAST_ONE, _validation.StrOptions({"auto"})],
        "loss": [_validation.StrOptions({"elbo"}), losses.Loss],
    }

    network: str | networks.Network = "linear"
    _: KW_ONLY
    gated: bool = True
    prior: str | priors.Prior = "standard_normal"
    threshold: str | thresholds.ThresholdRule = "fixed_variance"
    noise_variance: Auto | float = "auto"
    learn_noise_variance: bool = True
    n_init: Auto | int = "auto"
    loss: Literal["elbo"] | losses.Loss = "elbo"
    optimizer: _trainer.Optimizer = "adam"
    learning_rate_init: float = 0.012
    schedule: _trainer.Schedule = "auto"
    batch_size: Auto | int = "auto"
    max_iter: Auto | int = "auto"
    tol: float = 1e-4
    n_iter_no_change: int = 30
    n_samples_planned: int | None = None

    @property
    def n_inits(self) -> int:
        """The number of random inits."""
        if self.n_init != "auto":
            return self.n_init
        return 4 if networks.Network.resolve(self.network).has_linear_decoder else 1


class VAEaseTraining(BaseAutoencoder):
    """What training by gradients asks of an estimator with a `VAEase` as its model."""

    module_: Annotated[VAE, "d k"]
    noise_variance_: Annotated[float, ">0"]
    density_: Any

    _unwatched = _hooks.NoiseSchedule.settle

    def _steps(self, data):
        return random_steps(data.n_steps)

    @property
    def _training(self) -> VAEase:
        """The model that is trained by gradients."""
        return VAEase.resolve(self.model)

    def _copy_of_model(self):
        model = super()._copy_of_model()
        # Further samples may use latents that no sample has used so far.
        model.is_used.fill_(True)
        return model

    def _make_trainer(self, data, seeds, init=0, model=None):
        spec = self._training
        thresholds.ThresholdRule.resolve(spec.threshold)
        generator = make_generator(seeds[0], resolve_device(self.device))
        learned = spec.learn_noise_variance
        if model is not None:
            first, most = float(model.noise_variance), data.spectrum.first_noise(model.depth)
            noise = _hooks.followed_noise(first, _hooks.FINAL_NOISE, learned=learned, most=most)
        else:
            model = self._make_model(data, seeds[1])
            first, scale = self._first_noise(data, model.depth), data.spectrum.mean_eigenvalue
            noise = _hooks.annealed_noise(first, scale, learned=learned, depth=model.depth)
        return _trainer.Trainer(
            model,
            losses.Loss.resolve(spec.loss),
            optimizer=spec.optimizer,
            # The steps of all layers that a code passes add up.
            learning_rate=spec.learning_rate_init / model.depth**0.5,
            schedule=_trainer.find_schedule(spec.schedule),
            generator=generator,
            hooks=[noise],
            rates=_trainer.layer_rates(model),
            # As the noise variance falls, gradients grow faster than Adam forgets smaller ones. Its
            # steps become several times as long, and training can collapse.
            bounded=_trainer.is_scale_free(spec.optimizer),
            init=init,
        )

    def _make_model(self, data, seed):
        spec = self._training
        network = networks.Network.resolve(spec.network)
        model = VAE(
            with_known(network, {"positive": self.positive_code}),
            data.train.shape[1],
            self.n_components or default_n_components(data.spectrum),
            gated=spec.gated,
            positive=self.positive_code,
            prior=clone(priors.Prior.resolve(spec.prior)),
            generator=make_generator(seed),
        )
        model.initialize(data.train.head)
        return model.to(device=resolve_device(self.device), dtype=DTYPES[self.dtype])

    def _first_noise(self, data, depth):
        spec = self._training
        if spec.noise_variance == "auto":
            if not spec.learn_noise_variance:
                raise ValueError(
                    "learn_noise_variance=False keeps the given noise_variance, so noise_variance "
                    "must be a number, in squared units of X; got 'auto'."
                )
            return data.spectrum.first_noise(depth)
        scale = data.scaling.scale
        level = spec.noise_variance / scale**2
        if not 1 / NOISE_RANGE <= level <= NOISE_RANGE:
            raise ValueError(
                f"noise_variance={spec.noise_variance:g} must be within a factor of "
                f"{NOISE_RANGE:.2g} of {scale**2:.3g}, the square of the scale {scale:.3g} of X. "
                'Give the noise variance in squared units of X, or "auto".'
            )
        return level

    def _validation_loss(self, model, x, least=None):
        """Return the negative bound in nats, at the best noise variance if it is learned.

        It is at least that of training, because below it only errors would count, not how many
        latents are open.
        """
        terms = _hooks.validation_terms(model, x)
        least = float(model.noise_variance) if least is None else least
        noise_variance = max(self._noise_for(terms, model, x.shape[1]), least)
        return terms.loss(noise_variance, x.shape[1])

    def _init_loss(self, trainer, x):
        """Return the negative bound, at no less than the middle of the noise variances of training.

        Near the least one, an error that still falls would outweigh latents that are open in vain.
        """
        (noise,) = trainer.hooks
        return self._validation_loss(trainer.model, x, (noise.first * noise.floor) ** 0.5)

    def _noise_for(self, terms, model, n_features):
        if self._training.learn_noise_variance:
            return max(terms.error / n_features, _hooks.LEAST_NOISE)
        return float(model.noise_variance)

    def _finish(self, model, trainer, data):
        rows = torch.cat([data.valid, data.train.head])
        rows = rows[: N_BLOCKS * block_rows(model.n_components)]
        model.calibrate(rows)
        if not data.is_batch:
            model.close_unused(torch.cat([part.X for part in data.parts]))
        terms = _hooks.validation_terms(model, data.valid)
        noise_variance = self._noise_for(terms, model, data.valid.shape[1])
        model.noise_variance = as_number(noise_variance)
        model.remember_gates(data.valid)
        return {
            "noise_variance_": noise_variance * data.scaling.scale**2,
            # At the end of `fit`, not at each checkpoint.
            "density_": None,
            "_n_rows_": sum(len(part.X) for part in data.parts),
        }

    def _complete(self, data: Any) -> None:
        self.density_ = self._density_of(self.module_, data)

    @torch.no_grad()
    def _density_of(self, model: VAE, data: Any, *, least_open: int = 3) -> MixtureDensity | None:
        """Return the density of samples, if the decoder is linear."""
        decoder = model.linear_decoder
        if decoder is None or data.is_batch:
            return None
        weight = decoder.weight.cpu().double().numpy()
        bias = 0 * weight[:, 0] if decoder.bias is None else decoder.bias.cpu().double().numpy()
        if not model.gated:
            density = model.prior.density(weight, bias, float(model.noise_variance))
        else:
            x, counts = data.some()
            given = torch.from_numpy(x).to(decoder.weight)
            n_open = model.is_open(model.posterior(given)).sum(dim=0).cpu().numpy()
            used = n_open >= min(least_open, len(x))
            density = span_density(x, counts, weight[:, used], bias)
        return density and density.in_units(data.scaling.mean, data.scaling.scale)

    def _law_of(self, model: VAE, scaling: Any) -> NetLaw:
        return NetLaw(model, scaling, thresholds.ThresholdRule.resolve(self._training.threshold))

    def _findings(self, model, data, x):
        posterior = model.posterior(x)
        law = self._law_of(model, data.scaling)
        code = model.code(posterior)
        residual = x - model.decode(code)
        active = law._active(posterior, code).cpu().numpy()
        unexplained = float(residual.square().sum() / x.square().sum())
        return Findings(
            active=active,
            deviation=posterior.std.cpu().numpy(),
            unexplained=unexplained,
            linear_residual=linear_residual(x, model.n_components, data.train.head),
            gated=model.gated,
            linear_decoder=model.linear_decoder is not None,
            collapse=find_collapse(x, residual, active, float(model.noise_variance)),
        )
