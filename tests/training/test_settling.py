import pytest
from helpers import fit_unwarned
from sklearn.datasets import load_digits

from skvaeense import VAEenseTransformer, _vaeense
from skvaeense.metrics import fvu, l0

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
        assert length == pytest.approx(length_before, rel=0.02)
        assert left < 1.01 * left_before
