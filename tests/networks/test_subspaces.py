"""The encoder that infers the subspace of a sample in a union."""

import numpy as np
import pytest
import torch
from helpers import draw, fit_unwarned, generator
from scipy.special import softmax
from scipy.stats import multivariate_normal
from sklearn.base import clone

from skvaeense import SparseAutoencoder, VAEenseTransformer, load, save
from skvaeense.models import VAE
from skvaeense.networks import Subspaces

PIECES = Subspaces((1, 2), subspaces=(0, 1, 1), n_directions=(1, 2, 0))


def build(network=PIECES, n_features=5, n_components=4, seed=0):
    module = network.build(n_features, n_components, n_heads=2, generator=generator(seed))
    return module.double().eval()


def with_random_weights(module):
    for i, parameter in enumerate(module.parameters()):
        parameter.data = draw(*parameter.shape, seed=i)
    return module


def test_responsibilities_are_those_of_normal_distributions():
    """The precision matrices are exp(l) - F'F, for any weights."""
    module, x = with_random_weights(build()), draw(7, 5)
    with torch.no_grad():
        module.factors.weight.mul_(0.2)
        found = module.log_responsibilities(x).exp().numpy()
    W, b = module.factors.weight.detach().numpy(), module.factors.bias.detach().numpy()
    A, a = module.linear.weight.detach().numpy(), module.linear.bias.detach().numpy()
    precisions = module.log_precision.detach().exp().numpy()
    joint = []
    for c, own in enumerate([slice(0, 1), slice(1, 3), slice(3, 3)]):
        P = precisions[c] * np.eye(5) - W[own].T @ W[own]
        mean = np.linalg.solve(P, A[c] + W[own].T @ b[own])
        log_weight = a[c] + 0.5 * b[own] @ b[own] + 0.5 * mean @ P @ mean
        log_weight -= 0.5 * np.linalg.slogdet(P)[1]
        normal = multivariate_normal(mean, np.linalg.inv(P))
        joint.append(normal.logpdf(x.numpy()) + log_weight)
    np.testing.assert_allclose(found, softmax(np.stack(joint, axis=1), axis=1), rtol=1e-8)


def test_latents_of_a_subspace_close_together():
    """The latents of a subspace open with its total responsibility; spare latents are closed."""
    module, x = with_random_weights(build()), 0.3 * draw(7, 5)
    mean, gate_logit = module.encode(x)
    r = module.log_responsibilities(x).exp()
    opens = torch.stack([r[:, 0], r[:, 1] + r[:, 2], r[:, 1] + r[:, 2], 0 * r[:, 0]], dim=1)
    variance = 1 - opens * (1 - torch.sigmoid(module.open_logit))
    torch.testing.assert_close(torch.sigmoid(gate_logit), variance)
    torch.testing.assert_close(mean, opens * module.means(x))
    assert (mean[:, 3] == 0).all()
    assert (gate_logit[:, 3] > 100).all()


def test_random_weights_leave_latents_open():
    """The latents of the subspaces of a sample are open, so all latents have gradients."""
    module, x = build(), draw(200, 5)
    torch.testing.assert_close(module.open_logit, torch.zeros(4).double())
    mean, gate_logit = module.encode(x)
    (mean.square().sum() + gate_logit[:, :3].sum() + module.decode(mean).sum()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_pieces_and_directions_have_defaults():
    """The defaults are a component for each subspace, with as many directions as latents."""
    plain = build(Subspaces((2, 0, 1)))
    named = build(Subspaces((2, 0, 1), subspaces=(0, 1, 2), n_directions=(2, 0, 1)))
    x = draw(3, 5)
    for one, other in zip(plain.encode(x), named.encode(x), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(build(PIECES, seed=1).means.weight, build(PIECES).means.weight)
    assert clone(PIECES).get_params() == PIECES.get_params()


def test_points_alone():
    """The subspaces have no directions and no latents."""
    module = build(Subspaces((0, 0)), n_components=1)
    mean, _ = module.encode(draw(3, 5))
    assert (mean == 0).all()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Subspaces((2, 3)), "n_components=4 must be at least 5"),
        (Subspaces(()), "must be below 0"),
        (Subspaces((1, 1), subspaces=()), "must be below 2"),
        (Subspaces((1, 1), subspaces=(0, 2)), "must be below 2"),
        (Subspaces((1, 1), subspaces=(0, -1)), "subspaces must hold ints, at least 0"),
        (Subspaces((1, -1)), "ranks must hold ints, at least 0"),
        (Subspaces((1, 1), n_directions=(1,)), "a number for each component"),
        (Subspaces((1, 1), n_directions=(1, True)), "n_directions must hold ints, at least 0"),
    ],
)
def test_what_does_not_fit_is_refused(network, message):
    with pytest.raises(ValueError, match=message):
        build(network)


def test_sparse_autoencoders_have_no_gate():
    with pytest.raises(ValueError, match="Subspaces needs gates"):
        SparseAutoencoder(4, network=Subspaces((1, 2)), max_iter=1).fit(draw(40, 5).numpy())


# --- models and files ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("network", [PIECES, Subspaces((1, 2)), Subspaces((0, 3, 0))])
def test_model_is_made_again_from_its_state(network, dtype):
    model = VAE(network, 5, 4, generator=generator()).to(dtype).eval()
    x, state = draw(7, 5, dtype=dtype), model.state_dict()
    assert not any(name.endswith(("sums", "opens")) for name in state)
    other = VAE.from_state(model.config, state)
    torch.testing.assert_close(other.posterior(x), model.posterior(x), rtol=0, atol=0)
    assert torch.equal(model.elbo(x).error, other.elbo(x).error)


def test_state_of_other_subspaces_does_not_fit():
    """The error comes before anything is allocated for missing subspaces."""
    model = VAE(PIECES, 5, 4, generator=generator())
    for network in (
        Subspaces((1, 2)),
        Subspaces((1, 2), subspaces=(0, 1, 1), n_directions=(1, 2, 1)),
        Subspaces((1, 2), subspaces=(0, 1, 1), n_directions=(1, 2, 10**12)),
    ):
        with pytest.raises(RuntimeError, match="size mismatch"):
            VAE.from_state(model.config | {"network": network}, model.state_dict())


def test_users_may_train_it_from_random_weights(tmp_path):
    rng = np.random.default_rng(0)
    X = np.kron(np.eye(2), rng.normal(size=(100, 2))) @ np.linalg.qr(rng.normal(size=(6, 4)))[0].T
    fitted = VAEenseTransformer(
        5, network=Subspaces((2, 2)), n_init=1, max_iter=20, dtype="float64", random_state=0
    )
    fit_unwarned(fitted, X)
    assert not fitted.active_dimensions(X)[:, 4].any()
    save(fitted, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(
        load(tmp_path / "model.safetensors").transform(X), fitted.transform(X)
    )
