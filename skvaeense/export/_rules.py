"""The threshold rules in torch, since those of the package are numpy's.

A new rule is one function here, and one line in `RULES`. Each makes, from the rule and what
`thresholds.Latents` has besides a sample's code, the function from codes and log variances to the
mask of active latents.
"""

import math

import torch

from skvaeense import thresholds


def mask_of(estimator, model):
    """Return the rule of a VAEenseTransformer as a function of tensors.

    Parameters
    ----------
    estimator : VAEenseTransformer
        The fitted estimator.

    model : VAE
        Its model.

    Returns
    -------
    callable
        From codes and log variances to the mask, all of shape (n_samples, n_components).
    """
    rule = thresholds.ThresholdRule.resolve(estimator.threshold)
    if type(rule) not in RULES:
        known = ", ".join(sorted(cls.__name__ for cls in RULES))
        raise ValueError(
            f"The threshold rule {rule!r} cannot be exported; {known} can. Set one of these, or "
            "hard=False and sparse_output=False: soft codes need no rule."
        )
    scale = model.code_scale().double() * estimator.scale_
    return RULES[type(rule)](rule, scale, estimator.noise_variance_)


def _exact(number):
    """Return a number as a tensor: one of Python's would be rounded to float32."""
    return torch.tensor(number, dtype=torch.float64)


def _contribution(rule, code_scale, noise_variance):
    least = _exact(rule.level * math.sqrt(noise_variance))
    return lambda code, log_variance: code.abs() * code_scale > least


def _fixed_variance(rule, code_scale, noise_variance):
    cut = _exact(math.log(rule.level))
    return lambda code, log_variance: log_variance.double() < cut


def _otsu(rule, code_scale, noise_variance):
    def mask(code, log_variance):
        ordered = log_variance.sort(dim=1).values
        n = ordered.shape[1]
        if n == 1:
            return torch.zeros_like(log_variance, dtype=torch.bool)
        centred = ordered - ordered.mean(dim=1, keepdim=True)
        sizes = torch.arange(1, n, dtype=ordered.dtype)
        sums = centred.cumsum(dim=1)[:, :-1]
        best = (sums**2 / (sizes * (n - sizes))).argmax(dim=1, keepdim=True)
        return log_variance < (ordered.gather(1, best) + ordered.gather(1, best + 1)) / 2

    return mask


RULES = {
    thresholds.Contribution: _contribution,
    thresholds.FixedVariance: _fixed_variance,
    thresholds.Otsu: _otsu,
}
