"""Folders read by SAELens itself, in a separate environment (`nox -s saelens`)."""

import numpy as np
import pytest
import torch
from helpers import ATOMS, PENALTIES, fit_sae, fit_unwarned, quick_sae
from numpy.testing import assert_allclose

from skvaeense.language import to_saelens

sae_lens = pytest.importorskip("sae_lens")
pytestmark = pytest.mark.filterwarnings("ignore")
X, X_NEW = ATOMS.few, ATOMS.new.astype(np.float32)
Y = X @ np.arange(16.0).reshape(8, 2)


def transcoder(penalty, **params):
    return fit_unwarned(quick_sae(penalty, **params), X, y=Y)


ESTIMATORS = {
    **{name: lambda name=name: fit_sae(PENALTIES[name]) for name in PENALTIES},
    "transcoder": lambda: transcoder("l1"),
    "skip transcoder": lambda: transcoder("l1", skip_connection=True),
    "threshold transcoder": lambda: transcoder("batch_topk", skip_connection=True),
}


@pytest.fixture(scope="module", params=ESTIMATORS.values(), ids=ESTIMATORS)
def fitted(request):
    return request.param()


def test_saelens_gives_the_same(fitted, tmp_path):
    to_saelens(fitted, tmp_path / "model")
    sae = sae_lens.SAE.load_from_disk(tmp_path / "model")
    x = torch.from_numpy(X_NEW)
    own = fitted.transform(X_NEW)
    # SAELens has directions of norm 1, and codes that go with them.
    norms = np.linalg.norm(fitted.components_, axis=1)
    has_units = np.allclose(sae.W_dec.norm(dim=1).detach(), 1)
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
