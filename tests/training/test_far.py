"""Rows far from all others, such as the first tokens of texts, are left out of training."""

import numpy as np
import pytest
import torch
from helpers import fit_unwarned
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from skvaeense import SparseAutoencoder
from skvaeense.datasets import make_sparse_dictionary
from skvaeense.language import Activations
from skvaeense.nets.penalties import TopK
from skvaeense.samples import _sources
from skvaeense.training._data import Balls

FAR = [3, 40, 700, 1501, 1502]
X = make_sparse_dictionary(
    2000, n_atoms=20, n_active=3, n_features=12, signed=False, random_state=0
)[0].astype(np.float32)


def with_far(kind, unit=1.0):
    rows = X.copy()
    rng = np.random.RandomState(0)
    alike = 300 * rng.uniform(0.8, 1, size=(5, 1)) * np.eye(12)[:1]
    rows[FAR] = {"alike": alike, "apart": rng.normal(0, 100, (5, 12))}[kind]
    return rows * np.float32(unit)


def quick():
    return SparseAutoencoder(20, penalty=TopK(3), max_iter=15, random_state=0)


def memmap(rows, folder):
    np.save(folder / "rows.npy", rows)
    return np.load(folder / "rows.npy", mmap_mode="r")


FORMS = {
    "array": lambda rows, folder: rows,
    "memmap": memmap,
    "loader": lambda rows, folder: DataLoader(TensorDataset(torch.tensor(rows)), batch_size=99),
}


@pytest.mark.parametrize("kind", ["alike", "apart"])
@pytest.mark.parametrize("form", FORMS)
def test_far_rows_are_named_and_left_out(kind, form, tmp_path, monkeypatch):
    monkeypatch.setattr(_sources, "IN_MEMORY", X[:500].nbytes)
    rows, sae = with_far(kind), quick()
    # A mixture may count the longest of the other rows as far, too.
    message = r"[56] of 2000 samples are far .*: rows 3, 40, 700, (1410, )?1501, 1502"
    with pytest.warns(UserWarning, match=message):
        sae.fit(FORMS[form](rows, tmp_path))
    near = np.delete(rows, FAR, axis=0)
    assert_allclose(sae.mean_, near.mean(axis=0), rtol=1e-2, atol=1e-3)
    assert sae.score(near) > fit_unwarned(quick(), near).score(near) - 0.05 > 0.5


def test_a_far_target_is_left_out():
    Y = with_far("alike")[:, ::-1]
    with pytest.warns(UserWarning, match="rows 3, 40, 700, 1501, 1502"):
        sae = quick().fit(X, Y)
    assert_allclose(sae.target_mean_, np.delete(Y, FAR, axis=0).mean(axis=0), rtol=1e-4, atol=1e-5)


def test_far_rows_of_a_batch_are_left_out():
    with pytest.warns(UserWarning, match="5 of 2000"):
        sae = quick().partial_fit(with_far("alike"))
    assert_allclose(sae.mean_, np.delete(X, FAR, axis=0).mean(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_far_rows_beyond_a_sample_are_found(unit, monkeypatch):
    """One of many rows that weighs as much as a whole sample is far, drawn or not."""
    rows = np.tile(X, (20, 1)) * np.float32(unit)
    rows[12_345] *= 1e4
    is_near = Balls(rows, [slice(None)]).near_of(rows)
    assert_array_equal(np.flatnonzero(~is_near), [12_345])


def test_rare_rows_are_not_far_if_they_are_what_varies():
    """Nothing tells that rows are no features if they are more than one in twenty."""
    rows = 1e-3 * np.random.RandomState(1).normal(size=X.shape)
    rows[::15] = X[::15]
    assert Balls(rows, [slice(None)]).near_of(rows).all()
    assert Balls(X, [slice(None)]).near_of(X).all()


class Sinks(nn.Module):
    """The activations of first tokens are alike, and far longer than others."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 12)
        self.out = nn.Identity()

    def forward(self, ids, attention_mask):
        hidden = self.embedding(ids)
        first = attention_mask.cumsum(dim=1) == 1
        hidden[first & (attention_mask == 1)] = 500 * self.embedding.weight[0]
        return self.out(hidden)


@pytest.mark.parametrize("side", ["left", "right"])
def test_first_tokens_are_named_if_they_were_not_skipped(side):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, ids = Sinks(), torch.randint(50, (60, 30))
    mask = torch.ones_like(ids)
    mask[::2, slice(4) if side == "left" else slice(-4, None)] = 0
    batch = {"ids": ids, "attention_mask": mask}
    with pytest.warns(UserWarning, match=r"60 of 1680 .* at position\(s\) 0 of their texts"):
        every = quick().fit(Activations(model, "out", [batch], skip=()))
    skipped = fit_unwarned(quick(), Activations(model, "out", [batch]))
    assert_allclose(every.mean_, skipped.mean_, rtol=1e-4, atol=1e-5)


def test_copies_of_a_far_row_count_as_often_as_they_occur():
    rows = X.copy()
    rows[::10] = 300.0
    sae = fit_unwarned(quick(), rows)
    assert_allclose(sae.mean_, rows.mean(axis=0), rtol=1e-4)
