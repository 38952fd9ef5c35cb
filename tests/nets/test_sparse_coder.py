import math

import pytest
import torch
from helpers import PENALTIES, draw, each_once, make_coder

from skvaeense.nets.networks import MLP, Linear, SingleLayer
from skvaeense.nets.penalties import L1, BatchTopK, TopK

N_SAMPLES, N_FEATURES = 7, 5


@pytest.fixture
def x():
    return draw(N_SAMPLES, N_FEATURES)


@pytest.mark.parametrize(
    ("penalty", "network"),
    each_once([*PENALTIES.values()], [SingleLayer(), Linear((4,)), MLP((4,))]),
)
def test_codes_are_activations_of_what_the_encoder_gives(x, penalty, network):
    model = make_coder(penalty, network).eval()
    (preactivation,) = model.network.encode(x)
    torch.testing.assert_close(model.preactivation(x), preactivation)
    code = model.activation(preactivation)
    assert (code == 0).any()
    torch.testing.assert_close(model.code(x), code)
    coding = model.coding(x)
    torch.testing.assert_close((coding.preactivation, coding.code), (preactivation, code))
    assert coding.activation is model.activation
    assert coding.unit == model.unit == math.sqrt(N_FEATURES)
    torch.testing.assert_close(model.decode(code), model.network.decode(code))
    assert (model.linear_decoder is None) == isinstance(network, MLP)


@pytest.mark.parametrize("positive", [True, False])
def test_the_sign_is_that_of_the_activation(positive, x):
    code = make_coder(TopK(3), positive=positive).code(x)
    assert (code < 0).any() != positive


@pytest.mark.parametrize(("penalty", "alpha"), [(L1(0.3), 0.3), (TopK(3), 0.0)], ids=str)
def test_the_coefficient_begins_as_that_of_the_penalty(penalty, alpha):
    assert float(make_coder(penalty).alpha) == alpha


def test_calibration_sets_what_codes_need_after_training(x):
    model = make_coder(BatchTopK(3))
    model.train().code(x)
    model.eval().calibrate(x)
    n_active = (model.code(x) != 0).sum()
    assert n_active == 3 * N_SAMPLES
