"""Signs that training failed, each with its cure."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from skvaeense.training._data import ROWS_OF_A_LATENT, linear_residual
from skvaeense.training._hooks import LEAST_NOISE
from skvaeense.utils._linalg import ROUNDING, principal_directions
from skvaeense.utils._rows import MIN_ROWS_TO_SPLIT
from skvaeense.utils._typing import BoolArray, FloatArray

# A small share: of variance that is left, of a target that is missed, of latents that are active.
SMALL = 0.1
# More than this share of the variance, or of latents or gates, is most of it.
MOST = 0.5
# An error is larger if it is this many times another one.
LARGER = 1.5
# Share of the steps by gradients that training takes at least.
LEAST_STEPS = 0.02
# Batches are unlike if they differ by this many standard errors.
UNLIKE = 3.5


def find_collapse(x, residual, active, noise_variance=0.0):
    """Return a message if principal components explain samples far better than a model.

    The unexplained fraction must be too large by more than its standard error. Samples within the
    noise have nothing to explain.

    Parameters
    ----------
    x : tensor of shape (n_samples, n_features)
        Held-out samples, centred.

    residual : tensor of shape (n_samples, n_features)
        Residuals of their reconstructions.

    active : ndarray of bool of shape (n_samples, n_components)
        Which latents are active.

    noise_variance : float, default=0
        Noise variance of the model.

    Returns
    -------
    str
        Empty if they are explained well enough.
    """
    n_directions = max(1, math.ceil(active.sum(axis=1).mean()))
    is_point = float(x.square().mean()) <= noise_variance
    if is_point or len(x) < max(MIN_ROWS_TO_SPLIT, ROWS_OF_A_LATENT * n_directions):
        return ""
    left, size = residual.square().sum(dim=1), x.square().sum(dim=1).mean()
    unexplained = float(left.mean() / size)
    at_least = unexplained - float(left.std() / size) / math.sqrt(len(x))
    linear = linear_residual(x, n_directions)
    if at_least <= max(SMALL, 2 * linear):
        return ""
    return (
        f"{unexplained:.0%} of the variance is unexplained, compared with {linear:.0%} for "
        f"{n_directions} principal components, about one for each active latent: latents that are "
        "needed have closed, and the number of active latents says nothing about the dimension of "
        "the samples. Raise n_init or max_iter, or start from a lower noise_variance."
    )


@dataclass
class Findings:
    """What training came to, measured on held-out samples or on a batch.

    By default nothing is amiss.

    Attributes
    ----------
    unexplained : float
        Fraction of the variance that the reconstruction leaves.

    linear_residual : float
        Fraction that principal components leave: as many as there are latents, or for a sparse
        autoencoder as many as are active on average.

    active : ndarray of bool of shape (n_samples, n_components) or None
        Which latents are active.

    deviation : ndarray of shape (n_samples, n_components) or None
        Posterior standard deviations, near 1 if a latent is closed. None for a sparse autoencoder.

    gated, linear_decoder : bool
        Whether the gate is on, and the decoder is linear.

    collapse : str
        What `find_collapse` returned.

    target_l0, found_l0 : float or None
        Wanted mean number of active latents, and the number that was found.

    dead_fraction : float
        Fraction of latents of a sparse autoencoder that were silent at the end of the training.

    has_alpha : bool
        Whether the penalty has a parameter alpha.

    peak, last, fallen : float
        The largest unexplained fraction of an epoch, that of the last epoch, and the share by which
        it fell in training.

    done : float
        Share of the training that `max_iter` allows.
    """

    unexplained: float = 0.0
    linear_residual: float = 1.0
    active: BoolArray | None = None
    deviation: FloatArray | None = None
    gated: bool = False
    linear_decoder: bool = True
    collapse: str = ""
    target_l0: float | None = None
    found_l0: float = 0.0
    dead_fraction: float = 0.0
    has_alpha: bool = False
    peak: float = 0.0
    last: float = 0.0
    fallen: float = 1.0
    done: float = 1.0

    def __post_init__(self) -> None:
        active = np.ones((1, 1), dtype=bool) if self.active is None else self.active
        self.l0, self.n_components = float(active.sum(axis=1).mean()), active.shape[1]
        self.is_fixed = len(active) > 1 and (active == active[0]).all() and not active.all()
        self.leaves_more = self.unexplained > max(SMALL / 2, LARGER * self.linear_residual)
        self.is_short = self.done < LEAST_STEPS and self.unexplained > SMALL / 2
        self.left = f"{self.unexplained:.0%} of the variance is unexplained"
        self.short = (
            f"max_iter allows {self.done:.1%} of the default training, and {self.left}. Raise "
            "max_iter."
        )


class Sign(NamedTuple):
    """A sign of failure: whether it is there, and a message with a cure."""

    is_there: Any
    message: str
    # Whether no further sign is told, since it would follow from this one.
    is_last: bool = True


def first_signs(f: Findings) -> list[Sign]:
    """Return the signs of all trainings that are told before the others."""
    # Random weights can leave twice the variance at first.
    peak = f.peak if f.peak > 2 * LARGER else 0.0
    worst, when = max(f.unexplained, peak), " in an epoch" * (peak > f.unexplained)
    is_bad = f.unexplained > MOST and f.leaves_more and not f.is_short
    if f.deviation is not None:
        empty = Sign(
            f.l0 == 0,
            "No latent is active for any sample: training collapsed to the mean, as it also does "
            "on pure noise. Start from a lower noise_variance, raise n_init, or raise max_iter.",
        )
    else:
        cure = "Lower the penalty's alpha" if f.has_alpha else "Lower learning_rate_init"
        empty = Sign(
            f.l0 < SMALL,
            "Nearly all samples have no active latent: the reconstruction is the mean, as it also "
            f"is for pure noise. {cure}.",
        )
    return [
        Sign(
            # The mean alone leaves a share of 1, up to chance.
            worst > LARGER,
            f"{worst:.0%} of the variance is unexplained{when}, more than the mean alone would "
            "leave: training has gone astray. Lower learning_rate_init.",
        ),
        empty,
        Sign(
            f.last > MOST and f.unexplained < MOST * f.last,
            f"{f.left} by the best model, and {f.last:.0%} by that of the last epoch: training has "
            "left it again. Lower learning_rate_init.",
        ),
        Sign(
            is_bad and f.fallen < 2 * SMALL,
            f"{f.left}, and the error has fallen by less than {2 * SMALL:.0%} in training, which "
            "has not learned. Raise learning_rate_init.",
        ),
    ]


def vae_signs(f: Findings) -> list[Sign]:
    """Return further signs of a variational autoencoder."""
    gates = np.ones(1) if f.deviation is None else f.deviation
    linear = f"compared with {f.linear_residual:.0%} for the same number of principal components"
    return [
        Sign(
            # Values are also near 0.5 if noise is as large as the signal, or codes equally good.
            np.mean(np.abs(gates - MOST) < 2 * SMALL) > MOST and f.leaves_more,
            "Most posterior standard deviations are near 0.5: the encoder has not learned to open "
            "or close latents. Raise max_iter.",
        ),
        Sign(
            f.l0 == f.n_components and f.leaves_more,
            f"Every latent is active for every sample, and {f.left}, {linear}: the noise variance "
            "has not fallen enough for latents to gain more than they cost. Raise max_iter, or "
            "start from a lower noise_variance.",
        ),
        Sign(f.is_short, f.short),
        Sign(f.collapse, f.collapse),
        Sign(
            f.unexplained > MOST and f.l0 < SMALL * f.n_components,
            f"{f.left} with {f.l0:.1f} latents active: the decoder is too weak for the data, or "
            'training stopped too soon. Raise max_iter, or try network="mlp" with wider or more '
            "layers.",
        ),
        Sign(
            f.gated and not f.linear_decoder and f.is_fixed,
            "All samples have the same active latents although the gate is on. This is right for "
            "one manifold; otherwise the decoder is deep enough to fold all manifolds into one "
            'chart. Use fewer decoder layers, or network="linear".',
        ),
    ]


def sparse_signs(f: Findings) -> list[Sign]:
    """Return further signs of a sparse autoencoder."""
    has_price = f.has_alpha and f.target_l0 is None
    target, other = f.target_l0 or 1.0, ", or lower the penalty's alpha" * has_price
    nearer = f"start from a {'higher' if f.found_l0 > target else 'lower'} alpha"
    return [
        Sign(
            1 - f.unexplained < MOST * (1 - f.linear_residual),
            f"{f.left} with {f.l0:.1f} latents active, compared with {f.linear_residual:.0%} for "
            "the same number of principal components: the autoencoder has not learned. Raise "
            f"max_iter{other}.",
            is_last=False,
        ),
        Sign(
            f.target_l0 is not None and abs(f.found_l0 / target - 1) > SMALL,
            f"{f.found_l0:.1f} latents are active on average instead of target_l0={target:g}. "
            f"Raise max_iter, or {nearer if f.has_alpha else 'lower target_l0'}.",
            is_last=False,
        ),
        Sign(f.is_short, f.short),
        Sign(
            has_price and f.l0 > MOST * f.n_components,
            f"{f.l0:.1f} of {f.n_components} latents are active on average: codes are not sparse. "
            "Raise the penalty's alpha, or set target_l0.",
            is_last=False,
        ),
        Sign(
            f.dead_fraction > MOST,
            f"{f.dead_fraction:.0%} of the latents are dead: no sample used them at the end of the "
            "training. Lower n_components, the penalty's alpha, or learning_rate_init.",
        ),
    ]


def failure_messages(findings: Findings) -> list[str]:
    """Return a message with a cure for each sign of failure in findings, most telling first."""
    signs, messages = first_signs(findings), []
    if findings.active is not None:
        signs += (sparse_signs if findings.deviation is None else vae_signs)(findings)
    for sign in signs:
        if sign.is_there:
            messages.append(sign.message)
            if sign.is_last:
                break
    return messages


def batch_messages(
    x: torch.Tensor, before: dict[str, torch.Tensor] | None, n_decoded: int, *, is_first: bool
) -> tuple[list[str], dict[str, torch.Tensor]]:
    """Return a message if a batch is unlike those before it, and a summary of all batches.

    Parameters
    ----------
    x : tensor of shape (n_samples, n_features)
        The batch, in units of the first batch.

    before : dict of tensor or None
        The summary of earlier batches.

    n_decoded : int
        Number of last columns that are decoded.

    is_first : bool
        Whether the units are those of this batch.

    Returns
    -------
    messages : list of str
        At most one message.

    summary : dict of tensor
        What `compare_batches` returned.
    """
    distance, batches = compare_batches(x, before, n_decoded)
    change = 1.0 if is_first else batch_change(x)
    if is_first and not bool((x != x[0]).any()):
        message = (
            "All samples of the first batch are equal, so the scale of later batches is not known. "
            "Begin with a batch of samples that differ."
        )
    # Noise is learned down to `LEAST_NOISE` of the variance. Data that is smaller or larger by the
    # root of this share cannot be told from noise, or noise from data.
    elif not LEAST_NOISE <= change**2 <= 1 / LEAST_NOISE:
        message = (
            f"The centred samples are {change:.3g} times as large as those of the first batch, "
            "which is too different for training. Give batches in the same units, or fit a new "
            "estimator."
        )
    elif distance > UNLIKE:
        message = (
            f"This batch differs from the batches before it by {distance:.3g} standard errors, "
            "where chance makes about 1. Give batches in the same units, with columns in the same "
            "order, and samples in random order."
        )
    else:
        return [], batches
    return [message], batches


def batch_change(x: torch.Tensor) -> float:
    """Return how many times as large as the first batch a batch is: the most extreme of two sizes.

    They are taken around its mean and around that of the first batch. The result is 1 for a batch
    without any variance.
    """
    if not bool((x != x[0]).any()):
        return 1.0
    x = x.cpu().double()
    sizes = [float(part.square().mean().sqrt()) for part in (x - x.mean(dim=0), x)]
    return max(sizes, key=lambda size: max(size, 1 / max(size, 1e-300)))


def compare_batches(
    x: torch.Tensor,
    before: dict[str, torch.Tensor] | None,
    n_decoded: int,
    *,
    n_directions: int = 16,
    least_batches: int = 3,
) -> tuple[float, dict[str, torch.Tensor]]:
    """Return how far a batch lies from earlier ones, and a summary of all of them.

    Along principal directions of the first batch, coordinates p are taken in standard deviations.
    Means of ``u = p / (1 + |p|)``, and of products of two such numbers, are nearly normal whatever
    the distribution of p. Time and memory do not depend on the number of batches.

    Parameters
    ----------
    x : tensor of shape (n_samples, n_features)
        The batch, in units of the first batch.

    before : dict of tensor or None
        The summary of earlier batches.

    n_decoded : int
        Number of last columns that are decoded, whose mean square is "size" in the summary.

    n_directions : int, default=16
        Number of directions at most.

    least_batches : int, default=3
        Number of earlier batches from which on there is a distance.

    Returns
    -------
    distance : float
        Difference of all means in standard errors, averaged as fourth powers. The errors are those
        of means of as many samples, or of batches if batches differ by more than chance. 0 if there
        are few batches, or few samples in this one.

    summary : dict of tensor
        The directions, and sums of all batches.
    """
    x = x.cpu().double()
    if before is None:
        variances, directions = principal_directions((x - x.mean(dim=0)).numpy())
        rows = np.unique(np.linspace(0, len(directions) - 1, n_directions).astype(int))
        stds = np.sqrt(np.maximum(variances[rows], ROUNDING))
        zeros = torch.zeros(len(rows) * (len(rows) + 3) // 2, dtype=torch.float64)
        before = dict.fromkeys(("mean", "within", "between"), zeros)
        before |= dict.fromkeys(("n", "n_batches", "size"), zeros[0])
        before["directions"] = torch.from_numpy(directions[rows] / stds[:, None])
    n, n_batches, mean = before["n"], before["n_batches"], before["mean"]
    p = x @ before["directions"].T
    u = p / (1 + p.abs())
    i, j = torch.tril_indices(u.shape[1], u.shape[1])
    values = torch.hstack([u, u[:, i] * u[:, j]])
    shift, distance = values.mean(dim=0) - mean, 0.0
    if n_batches >= least_batches and len(x) >= MIN_ROWS_TO_SPLIT:
        # A value that no sample had so far may be as frequent as one in n.
        variance = (before["within"] + 1) / n
        of_batch = torch.maximum(before["between"] / (n_batches - 1), variance / len(x))
        distance = float((shift.square() / (of_batch + variance / n)).square().mean() ** 0.25)
    share = len(x) / (n + len(x))
    after = {
        "directions": before["directions"],
        "mean": mean + share * shift,
        "within": before["within"]
        + (values - values.mean(dim=0)).square().sum(dim=0)
        + n * share * shift.square(),
        "between": before["between"] + shift.square() * n_batches / (n_batches + 1),
        "n": n + len(x),
        "n_batches": n_batches + 1,
        "size": before["size"] + share * (x[:, -n_decoded:].square().mean() - before["size"]),
    }
    return distance, after
