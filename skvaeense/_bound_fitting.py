"""Fitting by the evidence lower bound: several starts, the best of which is trained on."""

import torch

from skvaeense._fitting import AutoencoderFit
from skvaeense._training._defaults import START_STEPS, STARTS, split_epochs
from skvaeense._training._loop import LearningRate
from skvaeense._training._run import Run
from skvaeense.networks import resolve_network
from skvaeense.objectives import ELBO, NoiseVariance
from skvaeense.objectives._phases import (
    COMMON_NOISE,
    START_NOISE,
    bound_terms,
    error_at_noise,
    final_noise,
    held_out_means,
    loss_at_common_noise,
    start_noise,
)
from skvaeense.thresholds import resolve_threshold

# Least noise variance that is reported, as a fraction of the data's variance: that of data without
# any noise, in single precision.
LEAST_NOISE = 1e-10
# Factor by which a given noise variance may differ from the squared scale of the data: further off,
# terms of the loss leave the range of single precision.
NOISE_RANGE = 1e20
# Rows whose gates `sample` draws from.
MAX_GATES = 1000


class BoundFit(AutoencoderFit):
    """Fit a variational autoencoder.

    The starts differ in random weights, first noise variance and learning rate. They come down to
    one common noise variance, are compared there on held-out rows, and the best is trained on at
    the noise variance that its error asks for.
    """

    _schedule_steps = START_STEPS

    def _n_starts(self):
        return self.n_init

    def _split_epochs(self, n_samples, batch_size):
        return split_epochs(self.max_iter, n_samples, batch_size)

    def _start_runs(self, shape, n_components, spectrum, scaling, random_state):
        resolve_threshold(self.threshold).validate()
        network = resolve_network(self.network)
        for i in range(self.n_init):
            start = STARTS[i % len(STARTS)]
            generator, weights = self._make_generators(random_state)
            module = network.build(shape[1], n_components, n_heads=2, generator=weights)
            yield Run(
                self._place(module),
                self._bound(self._first_noise(spectrum, scaling, start)),
                LearningRate(self.learning_rate_init * start.learning_rate),
                generator,
                start=i,
            )

    def _bound(self, noise=None):
        """Return the objective; what does not depend on the noise variance needs none."""
        noise = NoiseVariance(1.0, floor=1.0, learned=False) if noise is None else noise
        return ELBO(noise, gated=self.gated, positive=self.positive_code)

    def _first_noise(self, spectrum, scaling, start):
        if self.noise_variance == "auto":
            if not self.learn_noise_variance:
                raise ValueError(
                    "learn_noise_variance=False keeps the given noise_variance, so noise_variance "
                    "must be a number, in squared units of X; got 'auto'."
                )
            level = START_NOISE * start.noise * spectrum.eigenvalue(start.eigenvalue)
        else:
            level = self._given_noise(scaling)
        return start_noise(level, spectrum.mean_eigenvalue, learned=self.learn_noise_variance)

    def _given_noise(self, scaling):
        """Return the noise variance that was asked for, in squared units of the scaled data."""
        level = self.noise_variance / scaling.scale**2
        if not 1 / NOISE_RANGE <= level <= NOISE_RANGE:
            raise ValueError(
                f"noise_variance={self.noise_variance:g} is in squared units of X, and X has a "
                f"scale of {scaling.scale:.3g}: it must be within a factor of {NOISE_RANGE:g} of "
                f'{scaling.scale**2:.3g}. Give the variance of the noise in X, or "auto".'
            )
        return level

    def _resumed_run(self, module, generator, n_samples):
        resolve_threshold(self.threshold).validate()
        run = Run(module, None, None, generator)
        self._begin_final_phase(run, self.noise_variance_ / self.scale_**2, COMMON_NOISE)
        return run

    def _set_final_phase(self, run):
        self._begin_final_phase(run, run.objective.noise_variance, run.objective.noise.floor)

    def _begin_final_phase(self, run, level, common):
        noise = final_noise(level, common, learned=self.learn_noise_variance)
        run.objective = self._bound(noise)
        run.learning_rate = LearningRate(0.5 * self.learning_rate_init)

    def _judge(self, run, held_out):
        means = held_out_means(run.objective, run.module, held_out)
        noise = run.objective.noise_variance, run.objective.noise.floor
        return loss_at_common_noise(means, *noise, held_out.shape[1])

    def _held_out_loss(self, run, held_out):
        """Return -ELBO in nats at the best noise variance for the held-out samples."""
        means, d = held_out_means(run.objective, run.module, held_out), held_out.shape[1]
        noise_variance = self._calibrated(means.error / d, run)
        return 0.5 * error_at_noise(means.error, noise_variance, d) + means.kl

    def _calibrated(self, error_per_feature, run):
        """Return the noise variance that suits an error best, if it is to be learned."""
        learned = self.learn_noise_variance
        return max(error_per_feature, LEAST_NOISE) if learned else run.objective.noise_variance

    def _loss_terms(self, losses, n_features, scale):
        return bound_terms(losses, n_features, scale)

    def _outcome(self, run, held_out, scaling):
        error = held_out_means(run.objective, run.module, held_out).error / held_out.shape[1]
        with torch.no_grad():
            _, log_variance = run.objective.posterior(run.module, held_out[:MAX_GATES])
        return {
            "noise_variance_": self._calibrated(error, run) * scaling.scale**2,
            "_deviations_": torch.exp(0.5 * log_variance).cpu().numpy(),
        }
