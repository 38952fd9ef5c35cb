"""Gates that are the same for all samples, in networks with hidden layers."""

import numpy as np
import pytest
import torch
from helpers import draw, generator

from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.models import VAE
from skvaeense.networks import MLP
from skvaeense.networks._shared_gates import SharedGates
from skvaeense.penalties import TopK

N_FEATURES, N_COMPONENTS = 8, 5


def build(n_active=2, n_heads=2, hidden_layer_sizes=(6,)):
    network = MLP(hidden_layer_sizes, n_active=n_active)
    return network.build(N_FEATURES, N_COMPONENTS, n_heads=n_heads, generator=generator()).double()


def test_code_of_a_vae_is_the_encoders_output_in_a_larger_unit():
    """A unit of sqrt(d / k), so that the decoder sees what the encoder gives."""
    module, x = build(), draw(7, N_FEATURES)
    mean, logit = module.encode(x)
    code = (1 - torch.sigmoid(logit).sqrt()) * mean
    (expected,) = module.network.encode(x)
    torch.testing.assert_close(2 * code, expected)  # sqrt(8 / 2)
    torch.testing.assert_close(module.decode(code), module.network.decode(expected))


def test_gates_are_the_same_for_all_samples_and_learned():
    module, x = build(), draw(7, N_FEATURES)
    mean, logit = module.encode(x)
    assert (logit == logit[0]).all()
    (mean.sum() + logit.sum()).backward()
    assert module.gate_logit.grad.abs().min() > 0


@pytest.mark.parametrize(
    "case",
    [{"n_active": "auto"}, {"n_heads": 1}, {"hidden_layer_sizes": ()}],
    ids=["no number", "no gates", "linear decoder"],
)
def test_gates_are_the_encoders_where_sharing_has_no_use(case):
    assert not isinstance(build(**case), SharedGates)


@pytest.mark.parametrize("n_active", [0, -1.0, np.inf, "many", None])
def test_wrong_number_is_refused(n_active):
    with pytest.raises(ValueError, match="n_active must be a positive number"):
        build(n_active)


def test_number_without_target_is_refused():
    with pytest.raises(ValueError, match="has the same gates for all samples; set target_l0"):
        VAEenseTransformer(network=MLP(n_active=2)).fit(draw(20, 3).numpy())


def test_model_of_an_earlier_target_keeps_its_unit():
    model = VAE(
        MLP((6,), n_active=2), N_FEATURES, N_COMPONENTS, target_l0=2, generator=generator()
    ).eval()
    model.calibrate(draw(20, N_FEATURES).float())
    config = model.config | {"network": MLP((6,), n_active=4), "target_l0": 4}
    other, code = VAE.from_state(config, model.state_dict()), draw(3, N_COMPONENTS).float()
    torch.testing.assert_close(other.decode(code), model.decode(code))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_say_how_many_latents_are_active():
    """One network for both: a sparse autoencoder has no gates."""
    X = draw(64, 6).numpy()
    vae = VAEenseTransformer(4, network="mlp", target_l0=1.5, max_iter=1, random_state=0).fit(X)
    std = vae.posterior(X)[1]
    assert np.isin(std, [1, *std.min(axis=0)]).all()
    assert vae.module_.config["network"].n_active == 1.5
    sae = SparseAutoencoder(4, network="mlp", penalty=TopK(2), max_iter=1, random_state=0).fit(X)
    assert not isinstance(sae.module_.network, SharedGates)
