"""End-to-end training of fitted dictionaries, on a small transformer that was trained on text."""

import copy
from pydoc_data.topics import topics

import numpy as np
import pytest
import torch
from helpers import fit_unwarned, quick_sae
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from skvaeense import VAEenseTransformer
from skvaeense.language import Activations, fine_tuned, from_saelens, loss_recovered, to_saelens
from skvaeense.nets.penalties import BatchTopK, TopK

LENGTH, WIDTH = 24, 24


class Block(nn.Module):
    """Attention to earlier characters, and an MLP."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 96), nn.GELU(), nn.Linear(96, WIDTH))

    def forward(self, hidden):
        mask = nn.Transformer.generate_square_subsequent_mask(hidden.shape[1])
        x = self.norms[0](hidden)
        hidden = hidden + self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]
        return hidden + self.mlp(self.norms[1](hidden))


class Transformer(nn.Module):
    def __init__(self, n_tokens):
        super().__init__()
        self.embedding = nn.Embedding(n_tokens, WIDTH)
        self.position = nn.Parameter(0.1 * torch.randn(LENGTH, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, n_tokens))

    def forward(self, tokens):
        hidden = self.embedding(tokens) + self.position
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(hidden)


@pytest.fixture(scope="module")
def trained():
    """Return a transformer that was trained for seconds on Python's help, and texts."""
    text = "".join(topics[name] for name in sorted(topics))[:80_000]
    letters = sorted(set(text))
    tokens = torch.tensor([letters.index(letter) for letter in text])
    texts = tokens[: len(tokens) // LENGTH * LENGTH].view(-1, LENGTH)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        texts = texts[torch.randperm(len(texts))]
        model = Transformer(len(letters))
        optimizer = torch.optim.Adam(model.parameters(), 4e-3)
        for _ in range(400):
            batch = texts[300:][torch.randint(len(texts) - 300, (32,))]
            logits = model(batch)[:, :-1].flatten(0, 1)
            loss = nn.functional.cross_entropy(logits, batch[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model, texts[300:].split(32), texts[:300].split(100)


def gap(model, site, sae, batches):
    found = loss_recovered(model, site, sae, batches)
    return found.replaced_loss - found.loss


def fit(trained, penalty, **params):
    model, train, _ = trained
    settings = {"n_components": 48, "max_iter": 6, "learning_rate_init": "auto"} | params
    samples = Activations(model, "blocks.0", train)
    return fit_unwarned(quick_sae(penalty, **settings), samples)


@pytest.mark.parametrize(
    ("penalty", "params", "share"),
    [
        (BatchTopK(4), {}, 0.8),
        # The gap is smaller at first.
        (TopK(4), {"network": "unrolled"}, 0.9),
        ("l1", {"target_l0": 4}, 0.8),
    ],
    ids=["batch_topk", "unrolled", "l1"],
)
def test_a_fifth_of_the_loss_gap_is_cut(penalty, params, share, trained):
    model, train, valid = trained
    weights = copy.deepcopy(model.state_dict())
    sae = fit(trained, penalty, **params)
    before = copy.deepcopy(sae)
    tuned = fine_tuned(model, "blocks.0", sae, train, n_epochs=2)
    gaps = [gap(model, "blocks.0", own, valid) for own in (sae, tuned)]
    assert gaps[1] < share * gaps[0]
    rows = np.concatenate([*Activations(model, "blocks.0", valid)])
    lengths = [(own.transform(rows) != 0).sum(axis=1).mean() for own in (sae, tuned)]
    assert lengths[1] == pytest.approx(lengths[0], rel=0.05)
    assert tuned.score(rows) > sae.score(rows) - 0.08
    # Neither the model nor the estimator changes.
    assert_array_equal(sae.transform(rows), before.transform(rows))
    assert all(weight.requires_grad and weight.grad is not None for weight in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])


def test_components_and_folders_are_those_of_the_new_weights(trained, tmp_path):
    model, train, valid = trained
    tuned = fine_tuned(model, "blocks.0", fit(trained, TopK(4), max_iter=1), train[:5])
    rows = np.concatenate([*Activations(model, "blocks.0", valid)])
    codes = tuned.transform(rows)
    bias = tuned.inverse_transform(np.zeros((1, 48), np.float32))
    assert_allclose(codes @ tuned.components_ + bias, tuned.inverse_transform(codes), atol=1e-4)
    to_saelens(tuned, tmp_path / "tuned")
    again = from_saelens(tmp_path / "tuned")
    found = gap(model, "blocks.0", again, valid)
    assert found == pytest.approx(gap(model, "blocks.0", tuned, valid), abs=1e-3)
    assert gap(model, "blocks.0", fine_tuned(model, "blocks.0", again, train), valid) < found


def test_transcoders(trained):
    model, train, valid = trained
    names = "blocks.1.mlp:input", "blocks.1.mlp"
    x, y = (Activations(model, name, train) for name in names)
    settings = {"n_components": 48, "max_iter": 4, "learning_rate_init": "auto"}
    sae = fit_unwarned(quick_sae(TopK(4), skip_connection=True, **settings), x, y=y)
    tuned = fine_tuned(model, names[1], sae, train, n_epochs=2)
    before, after = (gap(model, names[1], own, valid) for own in (sae, tuned))
    assert after < before


def test_bad_arguments(trained):
    model, train, _ = trained
    sae = fit(trained, TopK(4), max_iter=1)
    with pytest.raises(ValueError, match="batches is empty"):
        fine_tuned(model, "blocks.0", sae, [])
    with pytest.raises(ValueError, match="no module"):
        fine_tuned(model, "no.such", sae, train)
    with pytest.raises(TypeError, match=r"Only a SparseAutoencoder.*VAEenseTransformer\(\)"):
        fine_tuned(model, "blocks.0", VAEenseTransformer(), train)
    with pytest.raises(FloatingPointError, match="The loss"):
        fine_tuned(model, "blocks.0", sae, train, learning_rate=1e30)
