"""Last updates of a trained model from its gates, and the checks on held-out samples."""

import copy
import math
from typing import Any

import numpy as np
import torch

from skvaeense.priors._samples import MAX_ENTRIES
from skvaeense.training._data import FitData
from skvaeense.training._noise import LEAST_NOISE
from skvaeense.utils._modules import evaluating
from skvaeense.utils._typing import DoubleArray

# A round of expectation maximisation that gains less than this share is the last. The share is of
# the gain of all rounds or of the wanted gain; with a target, of the length or the error of
# held-out codes.
LEAST_GAIN = 0.02


@torch.no_grad()
def explains_most(model: Any, data: FitData) -> bool:
    """Return whether codes explain more of held-out samples than they leave."""
    x = data.valid
    left = x - model.decode(model.code(model.inferred(x)))
    surplus = float(x.square().sum() - 2 * left.square().sum())
    return data.processes.broadcast_scalar(surplus) >= 0


def held_out_bounds(model: Any, data: FitData) -> DoubleArray:
    """Return the bound of each held-out sample, in nats."""
    with evaluating(model):
        bounds: DoubleArray = model.bound(data.valid).cpu().double().numpy()
    if data.valid_labels is not None and data.scaling.locations is not None:
        bounds = bounds + data.scaling.locations.log_shares[data.valid_labels]
    return bounds


def is_clear(gain: DoubleArray, data: FitData) -> bool:
    """Return whether held-out samples gain by more than chance."""
    with np.errstate(invalid="ignore"):
        # The bound of a diverged model is NaN, which is not greater than 0.
        least = float(gain.mean() - gain.std() / math.sqrt(len(gain)))
    return data.processes.broadcast_scalar(least) > 0


def settle(model: Any, data: FitData, enough: float = math.inf) -> DoubleArray:
    """Update decoder, noise and prior by the gates of a search, while held-out samples gain.

    Stop early once the mean bound of held-out samples is enough, or once a round adds too small a
    share of the wanted or whole gain. Return the bound of each held-out sample.
    """
    broadcast = data.processes.broadcast_scalar
    bounds, is_open = held_out_bounds(model, data), None
    first = mean = broadcast(float(bounds.mean()))
    while mean < enough:
        before = copy.deepcopy(model.state_dict())
        is_open = model.eval().settle(data.train.head, is_open)
        model.noise_variance.clamp_(min=LEAST_NOISE)
        new = held_out_bounds(model, data)
        if not is_clear(new - bounds, data):
            model.load_state_dict(before)
            break
        gain = broadcast(float((new - bounds).mean()))
        bounds, mean = new, mean + gain
        goal = enough if math.isfinite(enough) else mean
        if gain < LEAST_GAIN * (goal - first):
            break
    model.is_settled.fill_(True)
    return bounds


def shorten(model: Any, data: FitData) -> None:
    """Update decoder and prior by the gates of a search, while codes that meet the target improve.

    Codes of held-out samples improve if they get shorter, or, with a target for their length, leave
    less variance. Training weighs gates by their probability, but codes have them open or closed.
    """
    rows = data.train.first(max(MAX_ENTRIES // model.n_components, len(data.train.head)))
    model.eval()
    broadcast = data.processes.broadcast_scalar
    cost, prices, valid = model.meet_targets(data.valid)
    cost, is_open = broadcast(cost), None
    while True:
        before = copy.deepcopy(model.state_dict())
        is_open = model.settle(rows, is_open, prices)
        now, prices, valid = model.meet_targets(data.valid, valid)
        now = broadcast(now)
        if not now <= cost:
            model.load_state_dict(before)
        if not now < (1 - LEAST_GAIN) * cost:
            return
        cost = now
