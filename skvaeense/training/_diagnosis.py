"""Signs that training failed, each with its cure."""

import math
from typing import NamedTuple

import numpy as np

from skvaeense.training._noise import LEAST_NOISE
from skvaeense.training._sizes import ROWS_OF_A_LATENT, linear_residual
from skvaeense.utils._rows import MIN_ROWS_TO_SPLIT

# Unexplained share of a group's variance that is tolerated.
TOLERATED = 0.1
# Unexplained share that means failure. The mean alone leaves a share of 1, up to chance.
ASTRAY = 1.5


class Collapse(NamedTuple):
    """Unexplained variance of a group of samples: by active latents, and by principal components.

    Attributes
    ----------
    location : int or None
        Index of the location of the samples; None if all samples have the same one.

    unexplained : float
        Fraction of the variance of the samples that the reconstruction leaves.

    n_directions : int
        Number of active latents on average, rounded up.

    linear_residual : float
        Fraction that `n_directions` principal components leave.
    """

    location: int | None
    unexplained: float
    n_directions: int
    linear_residual: float


def find_collapse(x, residual, active, labels=None, noise_variance=0.0):
    """Return the group of samples that is explained worst, if principal components do far better.

    The unexplained fraction must be too large by more than its standard error. Groups within the
    noise of their location have nothing to explain.

    Parameters
    ----------
    x : tensor of shape (n_samples, n_features)
        Held-out samples, relative to their locations.

    residual : tensor of shape (n_samples, n_features)
        Residuals of their reconstructions.

    active : ndarray of bool of shape (n_samples, n_components)
        Which latents are active.

    labels : ndarray of int of shape (n_samples,) or None, default=None
        The location of each sample.

    noise_variance : float, default=0
        Noise variance of the model.

    Returns
    -------
    Collapse or None
        None if there is no such group.
    """
    found = None
    for location in [None] if labels is None else np.unique(labels).tolist():
        rows = slice(None) if location is None else np.flatnonzero(labels == location)
        own, n_active = x[rows], active[rows].sum(axis=1).mean()
        n_directions = max(1, math.ceil(n_active))
        is_point = float(own.square().mean()) <= noise_variance
        if is_point or len(own) < max(MIN_ROWS_TO_SPLIT, ROWS_OF_A_LATENT * n_directions):
            continue
        left, size = residual[rows].square().sum(dim=1), own.square().sum(dim=1).mean()
        unexplained = float(left.mean() / size)
        at_least = unexplained - float(left.std() / size) / math.sqrt(len(own))
        linear = linear_residual(own, n_directions)
        is_worst = found is None or unexplained > found.unexplained
        if is_worst and at_least > max(TOLERATED, 2 * linear):
            found = Collapse(location, unexplained, n_directions, linear)
    return found


def failure_signs(
    *,
    active,
    found_l0,
    deviation,
    unexplained,
    linear_residual,
    gated,
    linear_decoder,
    collapse,
    target_l0,
    has_prices,
):
    """Return a message for the most telling sign of failure of a fitted model, if there is any.

    Arguments are measured on held-out samples.

    Parameters
    ----------
    active : ndarray of bool, shape (n_samples, n_components)
        Which latents are active.

    found_l0 : float or None
        The mean number of active latents, as close to `target_l0` as prices allow.

    deviation : ndarray of shape (n_samples, n_components)
        Posterior standard deviations, or for gates with prices the probability that they are
        closed. Near 1 if a latent is closed.

    unexplained : float
        Fraction of the variance that the reconstruction leaves.

    linear_residual : float
        Fraction of the variance that `n_components` principal components leave.

    gated : bool
        Whether the gate is on.

    linear_decoder : bool
        Whether the decoder is linear.

    collapse : Collapse or None
        What `find_collapse` returned.

    target_l0 : float or None
        Wanted mean number of active latents.

    has_prices : bool
        Whether gates have prices, so that a target for the explained variance can be set.

    Returns
    -------
    list of str
        At most one message.
    """
    n_active = active.sum(axis=1).mean()
    n_components = active.shape[1]
    if unexplained > ASTRAY:
        return [astray(unexplained)]
    # Only open gates count: closed ones are near 0.5, too, if the target exceeds natural lengths.
    deviation = deviation[active] if has_prices else deviation
    leaves_more = unexplained > max(0.05, 1.5 * linear_residual)
    near_half = deviation.size and np.mean((deviation > 0.3) & (deviation < 0.7)) > 0.5
    # Values are also near 0.5 if noise is as large as the signal, or if codes are equally good.
    if near_half and leaves_more:
        what = "probabilities of open gates" if has_prices else "standard deviations"
        return [
            f"Most posterior {what} are near 0.5: the encoder has not learned to open or close "
            "latents. Raise max_iter, or learning_rate_init."
        ]
    if not active.any():
        return [
            "No latent is active for any sample: training collapsed to the mean, as it also does "
            "on pure noise. Start from a lower noise_variance, raise n_init, or raise max_iter. If "
            "features are nearly collinear, as in spectra, lower learning_rate_init."
        ]
    if active.all() and leaves_more:
        return [
            f"Every latent is active for every sample, and {unexplained:.0%} of the "
            f"variance is unexplained, compared with {linear_residual:.0%} for the same "
            "number of principal components: the noise variance has not fallen enough for latents "
            "to gain more than they cost. Raise max_iter, or start from a lower noise_variance."
        ]
    if collapse is not None:
        location, left, n_directions, residual = collapse
        whose = "the variance" if location is None else f"the variance around location {location}"
        return [
            f"{left:.0%} of {whose} is unexplained, compared with {residual:.0%} for "
            f"{n_directions} principal components, about one for each active latent: latents that "
            "are needed have closed, and the number of active latents says nothing about the "
            "dimension of the samples. Raise n_init or max_iter, or start from a lower "
            "noise_variance."
        ]
    if target_l0 is not None:
        return wrong_number(found_l0, target_l0, "Raise max_iter, or lower target_l0.")
    if unexplained > 0.5 and n_active < 0.1 * n_components:
        found = (
            f"{unexplained:.0%} of the variance is unexplained with {n_active:.1f} latents active: "
        )
        if has_prices:
            return [
                f"{found}training stopped too soon, or there is much noise. Raise max_iter, "
                "or set target_explained_variance."
            ]
        return [
            f"{found}the decoder is too weak for the data, or training stopped too soon. "
            'Raise max_iter, or try network="mlp" with wider or more layers.'
        ]
    fixed = gated and not active.all() and (active == active[0]).all()
    if fixed and not linear_decoder and len(active) > 1:
        return [
            "All samples have the same active latents although the gate is on. This is right for "
            "one manifold; otherwise the decoder is deep enough to fold all manifolds into one "
            'chart. Use fewer decoder layers, or network="linear".'
        ]
    return []


def wrong_number(n_active, target_l0, cure):
    """Return a message if the mean number of active latents misses its target."""
    if 0.9 <= n_active / target_l0 <= 1.1:
        return []
    return [
        f"{n_active:.1f} latents are active on average instead of target_l0={target_l0:g}. {cure}"
    ]


def astray(unexplained):
    """Return the message for reconstructions that are farther off than the mean."""
    return (
        f"{unexplained:.0%} of the variance is unexplained, more than the mean alone would leave: "
        "training has gone astray. Lower learning_rate_init."
    )


def signs_of_batch(x, is_first):
    """Return a message for each sign that a batch of `partial_fit` cannot be learned from.

    Parameters
    ----------
    x : tensor of shape (n_samples, n_features)
        The batch, in units of the first batch.

    is_first : bool
        Whether it is the first batch.

    Returns
    -------
    list of str
        The messages.
    """
    if len(x) == 1 or not bool((x != x[0]).any()):
        if not is_first:
            return []
        return [
            "All samples of the first batch are equal, so the scale of later batches is not known. "
            "Begin with a batch of samples that differ."
        ]
    # Noise is learned down to `LEAST_NOISE` of the variance. Data that is smaller or larger by the
    # root of this share cannot be told from noise, or noise from data.
    x, least = x.double(), math.sqrt(LEAST_NOISE)
    for change in (float(part.square().mean().sqrt()) for part in (x - x.mean(dim=0), x)):
        if not least <= change <= 1 / least:
            return [
                f"The centred samples are {change:.3g} times as large as those of the first batch, "
                "which is too different for training. Give batches in the same units, or fit a new "
                "estimator."
            ]
    return []


def sparse_failure_signs(
    *,
    active,
    n_trained,
    unexplained,
    linear_residual,
    dead_fraction,
    target_l0,
    has_alpha,
):
    """Return a message for each sign of failure of a fitted sparse autoencoder, most telling first.

    Arguments are measured on held-out samples.

    Parameters
    ----------
    active : ndarray of bool, shape (n_samples, n_components)
        Which latents are active.

    n_trained : float
        Mean number of active latents of training samples. Held-out samples can have more.

    unexplained : float
        Fraction of the variance that the reconstruction leaves.

    linear_residual : float
        Fraction that n principal components leave, where n is the mean number of active latents.

    dead_fraction : float
        Fraction of latents that were silent at the end of the training.

    target_l0 : float or None
        Wanted mean number of active latents.

    has_alpha : bool
        Whether the penalty has a parameter alpha.

    Returns
    -------
    list of str
        The messages.
    """
    l0 = active.sum(axis=1).mean()
    if unexplained > ASTRAY:
        return [astray(unexplained)]
    if l0 < 0.1:
        cure = "Lower the penalty's alpha" if has_alpha else "Lower learning_rate_init"
        return [
            "Nearly all samples have no active latent: the reconstruction is the mean, as it also "
            f"is for pure noise. {cure}."
        ]
    signs = []
    if 1 - unexplained < 0.5 * (1 - linear_residual):
        cure = ", or lower the penalty's alpha" if has_alpha and target_l0 is None else ""
        signs.append(
            f"{unexplained:.0%} of the variance is unexplained with {l0:.1f} latents "
            f"active, compared with {linear_residual:.0%} for the same number of "
            "principal components: the autoencoder has not learned. Raise max_iter or "
            f"learning_rate_init{cure}."
        )
    if target_l0 is not None:
        alpha = "higher" if n_trained > target_l0 else "lower"
        cure = f"Raise max_iter, or start from a {alpha} alpha."
        signs += wrong_number(n_trained, target_l0, cure)
    if has_alpha and target_l0 is None and l0 > 0.5 * active.shape[1]:
        signs.append(
            f"{l0:.1f} of {active.shape[1]} latents are active on average: codes are not "
            "sparse. Raise the penalty's alpha, or set target_l0."
        )
    if dead_fraction > 0.5:
        signs.append(
            f"{dead_fraction:.0%} of the latents are dead: no sample used them at the end "
            "of the training. Lower n_components, the penalty's alpha, or learning_rate_init."
        )
    return signs
