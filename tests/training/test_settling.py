from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import fit_unwarned
from sklearn.datasets import load_digits

from skvaeense import VAEenseTransformer, _vaeense
from skvaeense.metrics import fvu, l0
from skvaeense.training._settling import is_clear, settle
from skvaeense.utils._processes import SINGLE_PROCESS

X = load_digits().data[:500]
TARGETS = {
    "share": {"target_explained_variance": 0.9},
    "length": {"target_l0": 6},
    "lengths": {"target_l0": (8, 3)},
}


def fit(**params):
    return fit_unwarned(VAEenseTransformer(max_iter=20, random_state=0, **params), X)


@pytest.mark.parametrize("target", TARGETS)
def test_codes_of_a_share_get_shorter_and_those_of_a_length_leave_no_more(target, monkeypatch):
    settled = fit(**TARGETS[target])
    monkeypatch.setattr(_vaeense, "shorten", lambda *_: None)
    trained = fit(**TARGETS[target])
    (length, left), (length_before, left_before) = (
        (l0(codes), fvu(X, model.inverse_transform(codes)))
        for model, codes in ((model, model.transform(X)) for model in (settled, trained))
    )
    if target == "share":
        assert left == pytest.approx(left_before, rel=0.02)
        assert length < 0.97 * length_before
    else:
        # The length of new samples is the same. The recorded length is approximate.
        known, known_before = (float(model.module_.lengths[0]) for model in (settled, trained))
        assert known == pytest.approx(known_before, rel=0.02)
        assert length == pytest.approx(length_before, rel=0.05)
        assert left < 1.01 * left_before


def test_no_gain_is_clear_that_is_no_number():
    data = SimpleNamespace(processes=SINGLE_PROCESS)
    assert is_clear(np.array([2.0, 1.5, 1.0]), data)
    for gain in ([2.0, 1.5, -4.0], [np.inf, 1.0, 1.0], [np.nan, 1.0, 1.0]):
        assert not is_clear(np.array(gain), data)


class Halving(torch.nn.Module):
    """A model whose bound rises by 1/2, 1/4, 1/8 and so on in rounds of settling."""

    def __init__(self):
        super().__init__()
        self.register_buffer("left", torch.ones(()))
        self.register_buffer("noise_variance", torch.ones(()))
        self.register_buffer("is_settled", torch.tensor(False))

    def bound(self, x):
        return (1 - self.left).expand(len(x))

    def settle(self, x, is_open):
        self.left /= 2
        return is_open


@pytest.mark.parametrize(
    ("enough", "n_rounds"),
    [({}, 6), ({"enough": 0.7}, 2), ({"enough": 0.0}, 0), ({"enough": 9.0}, 3)],
    ids=str,
)
def test_settling_ends_when_the_bound_hardly_rises_or_is_enough(enough, n_rounds):
    x = torch.zeros(4, 2)
    data = SimpleNamespace(
        train=SimpleNamespace(head=x), valid=x, valid_labels=None, processes=SINGLE_PROCESS
    )
    model = Halving()
    bounds = settle(model, data, **enough)
    assert bounds == pytest.approx(np.full(4, 1 - 0.5**n_rounds))
    assert float(model.left) == 0.5**n_rounds
    assert model.is_settled


def test_a_length_is_that_of_new_samples():
    rows = np.random.default_rng(0).permutation(load_digits().data)
    model = VAEenseTransformer(target_l0=6, max_iter=20, random_state=0).fit(rows[:1000])
    trained, new = (l0(model.transform(x)) for x in (rows[:1000], rows[1000:]))
    assert trained < new
    assert new == pytest.approx(6, rel=0.12)
