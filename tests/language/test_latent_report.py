"""The tokens for which latents are largest, as a table."""

import numpy as np
import pytest
import torch
from helpers import fit_unwarned, quick_sae
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from skvaeense.language import Activations, latent_report, top_activating
from skvaeense.nets.penalties import TopK

WORDS = ["a", "<b>", " cat", "\n", "&", *(f" w{i}" for i in range(25))]


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(30, 12), nn.Linear(12, 30, bias=False)
        self.n_runs = 0

    def forward(self, input_ids, attention_mask=None):
        self.n_runs += 1
        return self.head(self.embedding(input_ids))


@pytest.fixture(scope="module")
def activations():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, texts = LanguageModel(), torch.randint(30, (80, 9))
    mask = torch.ones_like(texts)
    mask[::2, :3] = 0
    batches = [
        {"input_ids": ids, "attention_mask": own}
        for ids, own in zip(texts.split(20), mask.split(20), strict=True)
    ]
    return Activations(model, "embedding", batches, buffer_size=100)


@pytest.fixture(scope="module")
def rows(activations):
    return np.concatenate([*iter(activations)])


@pytest.fixture(scope="module")
def sae(activations):
    return fit_unwarned(quick_sae(TopK(4), max_iter=30), activations)


def test_methods_take_activations(activations, rows, sae):
    assert_allclose(sae.transform(activations), sae.transform(rows))
    assert_allclose(sae.score_samples(activations), sae.score_samples(rows))
    assert sae.score(activations) == pytest.approx(sae.score(rows))
    n_runs = activations.model.n_runs
    assert_array_equal(sae.transform(activations), sae.transform(rows))
    assert activations.model.n_runs == n_runs + 4


def test_top_rows_of_activations(activations, rows, sae):
    found, expected = (top_activating(sae, some, n_samples=5) for some in (activations, rows))
    for name in ("samples", "codes", "density"):
        assert_array_equal(found[name], expected[name])
    assert_allclose(expected.density, (sae.transform(rows) != 0).mean(axis=0))


def test_contexts_are_those_of_the_rows(activations, rows, sae):
    numbers = {"n_samples": 3, "n_before": 2, "n_after": 1}
    report = latent_report(sae, activations, decode=WORDS.__getitem__, **numbers)
    top, codes = top_activating(sae, rows, n_samples=3), sae.transform(rows)
    assert len(report) == (top.samples >= 0).sum()
    assert {c["row"] for c in report} == set(top.samples.ravel().tolist()) - {-1}
    for c in report:
        text, position, token = activations.places[c["row"]]
        assert (c["text"], c["position"], c["token"]) == (text, position, WORDS[token])
        assert c["code"] == pytest.approx(codes[c["row"], c["latent"]])
        batch = activations.source[text // 20]
        ids = batch["input_ids"][text % 20][batch["attention_mask"][text % 20] == 1].tolist()
        assert c["before"] == "".join(WORDS[i] for i in ids[max(position - 2, 0) : position])
        assert c["after"] == "".join(WORDS[i] for i in ids[position + 1 : position + 2])


def test_a_pipeline_and_estimators_without_directions(activations, sae):
    pipeline = make_pipeline(FunctionTransformer(), sae)
    expected = latent_report(sae, activations, latents=[1])
    assert latent_report(pipeline, activations, latents=[1]) == expected
    plain = latent_report(FunctionTransformer(), activations, latents=[1], n_samples=2)
    assert len(plain) == 2


def test_bad_arguments(activations, rows, sae):
    with pytest.raises(TypeError, match=r"method contexts.*ndarray.*top_activating"):
        latent_report(sae, rows)
    with pytest.raises(ValueError, match="n_before"):
        latent_report(sae, activations, n_before=-1)
