"""Estimators read by SAELens itself, in a separate environment (`nox -s saelens`)."""

import numpy as np
import pytest
import torch
from helpers import ATOMS, PENALTIES, fit_sae, fit_unwarned, quick_sae, quick_vaeense
from numpy.testing import assert_allclose

from skvaeense.hub import register_saelens, save_pretrained
from skvaeense.networks import MLP
from skvaeense.penalties import TopK
from skvaeense.priors import SpikeSlab

sae_lens = pytest.importorskip("sae_lens")
pytestmark = pytest.mark.filterwarnings("ignore")
X, X_NEW = ATOMS.few, ATOMS.new.astype(np.float32)
Y = X @ np.arange(16.0).reshape(8, 2)


def transcoder(penalty, **params):
    return fit_unwarned(quick_sae(penalty, **params), X, y=Y)


ESTIMATORS = {
    **{name: lambda name=name: fit_sae(PENALTIES[name]) for name in PENALTIES},
    "unrolled": lambda: fit_sae(TopK(3), network="unrolled"),
    "mlp": lambda: fit_sae("l1", network=MLP((8,), encoder_layer_sizes=(8,))),
    "signed": lambda: fit_sae(TopK(3), positive_code=False),
    "vaeense": lambda: fit_unwarned(quick_vaeense(), X),
    "hard": lambda: fit_unwarned(quick_vaeense(hard=True), X),
    "gates": lambda: fit_unwarned(
        quick_vaeense(prior="spike_slab", network="auto", target_l0=2), X
    ),
    "gates of the encoder": lambda: fit_unwarned(
        quick_vaeense(prior=SpikeSlab(search=False), network="auto", target_l0=2), X
    ),
    "transcoder": lambda: transcoder("l1"),
    "skip transcoder": lambda: transcoder("l1", skip_connection=True),
    "threshold transcoder": lambda: transcoder("batch_topk", skip_connection=True),
    "transcoder of another penalty": lambda: transcoder(TopK(3), skip_connection=True),
}


@pytest.fixture(scope="module", params=ESTIMATORS.values(), ids=ESTIMATORS)
def fitted(request):
    return request.param()


def test_saelens_gives_the_same(fitted, tmp_path):
    register_saelens()
    register_saelens()  # A second registration is no error.
    save_pretrained(fitted, tmp_path / "model")
    sae = sae_lens.SAE.load_from_disk(tmp_path / "model")
    x = torch.from_numpy(X_NEW)
    own = fitted.transform(X_NEW)
    # Architectures of SAELens have directions of norm 1, and codes that go with them.
    norms = np.linalg.norm(getattr(fitted, "components_", np.ones((own.shape[1], 1))), axis=1)
    has_units = sae.cfg.architecture() != "skvaeense" and np.allclose(
        sae.W_dec.norm(dim=1).detach(), 1
    )
    codes = (own * norms if has_units else own).astype(own.dtype)
    size = np.abs(codes).max()
    assert_allclose(sae.encode(x).detach() / size, codes / size, atol=1e-6)
    decoded = fitted.inverse_transform(own)
    size = np.abs(decoded).max()
    # SAELens's skip connection subtracts no mean. The mean is part of its bias.
    if "skip" not in sae.cfg.architecture():
        assert_allclose(
            sae.decode(torch.from_numpy(codes)).detach() / size, decoded / size, atol=1e-6
        )
    explained = fitted.predict(X_NEW) if hasattr(fitted, "target_mean_") else decoded
    assert_allclose(sae(x).detach() / size, explained / size, atol=3e-6)
    # The input has a dimension for texts and one for positions.
    assert sae.encode(x[:6].reshape(2, 3, 8)).shape == (2, 3, fitted.n_components_)


def test_codes_have_gradients_and_files_of_saelens_too(tmp_path):
    register_saelens()
    fitted = fit_sae(TopK(3), network="unrolled")
    save_pretrained(fitted, tmp_path / "model")
    sae = sae_lens.SAE.load_from_disk(tmp_path / "model")
    x = torch.from_numpy(X_NEW[:5]).requires_grad_()
    sae(x).sum().backward()
    assert x.grad.abs().sum() > 0
    sae.save_model(tmp_path / "again")
    again = sae_lens.SAE.load_from_disk(tmp_path / "again")
    assert torch.equal(again.encode(x), sae.encode(x))
