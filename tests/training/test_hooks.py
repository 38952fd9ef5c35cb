"""Hooks that a network requests around each step."""

import pytest
import torch
from helpers import draw, make_coder, make_vae, quick_sae, quick_vaeense
from torch import nn

from skvaeense.models._base import as_number
from skvaeense.networks import Network, Unrolled
from skvaeense.training._hooks import GradientClipping, network_hooks


class AskingModule(nn.Module):
    """Linear encoder and decoder, with all hooks that a network can request."""

    def __init__(self, n_features, n_components, n_heads):
        super().__init__()
        self.encoder = nn.Linear(n_features, n_heads * n_components)
        self.decoder = nn.Linear(n_components, n_features)
        self.n_heads = n_heads
        self.calls = []
        self.max_gradient_norm = 0.1

    def encode(self, x):
        return self.encoder(x).chunk(self.n_heads, dim=1)

    def decode(self, code):
        return self.decoder(code)

    def initialize(self, x):
        self.calls.append(("initialize", tuple(x.shape)))

    def normalize(self):
        self.calls.append(("normalize",))

    def calibrate(self, x):
        assert not self.training
        self.calls.append(("calibrate",))


class Asking(Network):
    def build(self, n_features, n_components, *, n_heads, generator):
        return AskingModule(n_features, n_components, n_heads)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", [quick_vaeense, quick_sae], ids=["vaeense", "sae"])
def test_what_a_network_of_ones_own_asks_for(estimator):
    X = draw(60, 5).numpy()
    fitted = estimator(network=Asking(), max_iter=2, batch_size=20).fit(X)
    first, *others, last = fitted.module_.network.calls
    assert first[0] == "initialize"
    assert first[1][1] == 5
    assert set(others) == {("normalize",)}
    assert last == ("calibrate",)


def test_networks_that_ask_for_nothing_have_no_hooks():
    assert network_hooks(make_vae().network) == []
    kinds = [type(hook) for hook in network_hooks(make_coder("l1", Unrolled()).network)]
    assert kinds == [GradientClipping]


@pytest.mark.parametrize("size", [0.01, 100.0])
def test_gradients_are_those_of_a_share_of_the_variance_and_clipped(make_trainer, size):
    """The loss of a VAE is the sum of squares divided by the noise variance."""
    model, limit = make_vae(), 0.12
    model.noise_variance = as_number(0.5)
    trainer = make_trainer(model)
    grads = draw(len(trainer.parameters.grads))
    trainer.parameters.grads.copy_(size * grads)
    GradientClipping(limit).before_step(trainer)
    expected = size * grads * 0.5 / 5
    if expected.norm() > limit:
        expected *= limit / expected.norm()
    assert (size == 100.0) == bool(expected.norm() > 0.999 * limit)
    torch.testing.assert_close(trainer.parameters.grads, expected)
