"""Activations of a running model, here of a small transformer."""

import numpy as np
import pytest
import torch
from helpers import fit_unwarned, quick_sae
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.torch import load_file
from sklearn.decomposition import PCA
from torch import nn

from skvaeense.language import Activations, loss_recovered, replaced
from skvaeense.nets.penalties import TopK

N_TOKENS, WIDTH, LENGTH = 30, 12, 9


class Block(nn.Module):
    """Attention to earlier tokens, and an MLP; like other blocks, it returns a tuple."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 20), nn.ReLU(), nn.Linear(20, WIDTH))
        self.dropout = nn.Dropout(0.5)

    def forward(self, hidden):
        mask = nn.Transformer.generate_square_subsequent_mask(hidden.shape[1])
        seen, _ = self.attention(hidden, hidden, hidden, attn_mask=mask, need_weights=False)
        hidden = hidden + self.dropout(seen)
        return hidden + self.mlp(hidden), "what else there is"


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(N_TOKENS, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.head = nn.Linear(WIDTH, N_TOKENS)
        self.n_runs = self.n_ends = 0

    def forward(self, input_ids, attention_mask=None):
        self.n_runs += 1
        hidden = self.embedding(input_ids)
        for block in self.blocks:
            hidden, _ = block(hidden)
        self.n_ends += 1
        return self.head(hidden)


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LanguageModel()


@pytest.fixture(scope="module")
def texts():
    return torch.randint(N_TOKENS, (80, LENGTH), generator=torch.Generator().manual_seed(1))


def hidden_states(model, texts, n_blocks=1):
    """Return the output of a block, computed without any hook."""
    model.eval()
    with torch.no_grad():
        hidden = model.embedding(texts)
        for block in model.blocks[:n_blocks]:
            hidden, _ = block(hidden)
    model.train()
    return hidden


def in_order(rows):
    return rows[np.lexsort(rows.T)]


def gathered(activations):
    return np.concatenate([*iter(activations)])


def test_rows_are_those_of_the_model(model, texts):
    rows = gathered(Activations(model, "blocks.0", texts.split(32)))
    expected = hidden_states(model, texts)[:, 1:].reshape(-1, WIDTH).numpy()
    assert rows.shape == (80 * (LENGTH - 1), WIDTH)
    assert_allclose(in_order(rows), in_order(expected), rtol=1e-5, atol=1e-6)
    assert not np.allclose(rows, expected)  # They are shuffled.


def test_every_pass_is_the_same(model, texts):
    activations = Activations(model, "blocks.0", texts.split(8), buffer_size=100)
    first, second = (list(activations) for _ in range(2))
    assert len(first) == len(second) > 5
    for a, b in zip(first, second, strict=True):
        assert_array_equal(a, b)
    other = Activations(model, "blocks.0", texts.split(8), buffer_size=100, random_state=1)
    assert not np.array_equal(gathered(other), np.concatenate(first))


def test_the_buffer_mixes_texts_and_stays_small(model, texts):
    sizes, spans = [], []
    ids = torch.arange(80)[:, None].expand(80, LENGTH)
    position = nn.Sequential(nn.Embedding(80, 1))
    position[0].weight.data = torch.arange(80.0)[:, None]
    for rows in Activations(position, "0", ids.split(2), buffer_size=200):
        sizes.append(len(rows))
        spans.append(np.ptp(rows))
    assert sum(sizes) == 80 * (LENGTH - 1)
    assert max(sizes[:-1]) == 100
    assert sizes[-1] < 200
    assert min(spans) > 10  # Of 25 texts in a buffer, rows come from many.


def test_the_rest_of_the_model_need_not_run(model, texts):
    for _ in Activations(model, "blocks.0.mlp", texts.split(40)):
        pass
    assert (model.n_runs, model.n_ends) == (2, 0)


def test_the_length_is_counted_in_one_pass(model, texts):
    activations = Activations(model, "blocks.0", texts.split(8), buffer_size=100)
    n_chunks = sum(1 for _ in activations.batches())
    n_runs = model.n_runs
    assert len(activations) == n_chunks > 5
    assert model.n_runs == n_runs
    assert len(Activations(model, "blocks.0", texts.split(8), buffer_size=100)) == n_chunks


def test_several_modules_of_one_run(model, texts):
    names = ["blocks.0.mlp:input", "blocks.0.mlp", "blocks.1"]
    both = Activations(model, names, texts.split(40))
    rows = gathered(both)
    assert model.n_runs == 2
    assert rows.shape[1] == 3 * WIDTH
    with torch.no_grad():
        mlp = model.blocks[0].mlp(torch.tensor(rows[:, :WIDTH])).numpy()
    assert_allclose(rows[:, WIDTH : 2 * WIDTH], mlp, rtol=1e-4, atol=1e-5)
    for i, name in enumerate(names):
        alone = gathered(Activations(model, name, texts.split(40)))
        assert_array_equal(alone, rows[:, i * WIDTH : (i + 1) * WIDTH])
    parts = list(both.batches())
    assert [*parts[0]] == names
    assert_array_equal(np.concatenate([part["blocks.1"] for part in parts]), rows[:, -WIDTH:])


def test_positions_and_padding_are_left_out(model, texts):
    mask = torch.ones_like(texts)
    mask[::2, 5:] = 0
    batches = [{"input_ids": texts, "attention_mask": mask}]
    rows = gathered(Activations(model, "embedding", batches, skip=(0, -1)))
    assert len(rows) == 40 * 3 + 40 * (LENGTH - 2)
    assert len(gathered(Activations(model, "embedding", batches, mask=None))) == 80 * (LENGTH - 1)
    # Positions that short texts do not have are ignored.
    assert len(gathered(Activations(model, "embedding", [texts], skip=(LENGTH,)))) == 80 * LENGTH


def test_forms_of_batches(model, texts, subtests):
    for batch in ("tensor", "tuple", "dict"):
        with subtests.test(batch=batch):
            given = {"tensor": texts, "tuple": (texts,), "dict": {"input_ids": texts}}[batch]
            assert len(gathered(Activations(model, "blocks.1", [given]))) == 80 * (LENGTH - 1)


def test_samples_without_positions():
    layer = nn.Linear(3, 5)
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    batches = x.split(6)
    rows = gathered(Activations(nn.Sequential(layer), "0", batches))
    # Products of other shapes are rounded otherwise, which shows in entries near 0.
    expected = torch.cat([layer(batch) for batch in batches]).detach().numpy()
    assert_allclose(in_order(rows), in_order(expected), rtol=1e-6)


def test_half_precision_becomes_single():
    layer = nn.Linear(3, 5).bfloat16()
    rows = gathered(Activations(nn.Sequential(layer), "0", [torch.ones(4, 3).bfloat16()]))
    assert rows.dtype == np.float32


def test_a_model_is_left_as_it_was(model, texts):
    model.blocks[1].eval()
    modes = [module.training for module in model.modules()]
    activations = Activations(model, ["blocks.0", "head"], [texts, {"no_such": texts}])
    with pytest.raises(TypeError, match="no_such"):
        list(activations)
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())


def test_a_dictionary_is_fitted(model, texts):
    activations = Activations(model, "blocks.0", texts.split(16))
    in_memory = gathered(activations)
    fitted, expected = (
        fit_unwarned(quick_sae(TopK(4), max_iter=40), X) for X in (activations, in_memory)
    )
    assert_allclose(fitted.mean_, in_memory.mean(axis=0), atol=1e-5)
    assert fitted.score(in_memory) > 0.8 * expected.score(in_memory) > 0.4


@pytest.mark.parametrize("kind", ["files", "one run"])
def test_a_transcoder(kind, model, texts, tmp_path):
    batches = texts.split(40)
    both = Activations(model, ["blocks.0.mlp:input", "blocks.0.mlp"], batches)
    x, y = (Activations(model, name, batches) for name in both.names)
    if kind == "files":
        x, y = both.save(tmp_path / "rows").values()
    model.n_runs = 0
    sae = fit_unwarned(quick_sae(TopK(4), max_iter=40), x, y=y)
    # Per pass, two batches: passes of the samples, of pairs to count, scale and draw, and epochs.
    assert model.n_runs <= {"files": 0, "one run": 2 * 45}[kind]
    rows = gathered(both)
    assert_allclose(sae.mean_, rows[:, :WIDTH].mean(axis=0), atol=1e-5)
    assert_allclose(sae.target_mean_, rows[:, WIDTH:].mean(axis=0), atol=1e-5)
    score = sae.score(rows[:, :WIDTH], rows[:, WIDTH:])
    assert score > 0.5
    assert sae.score(x, y) == pytest.approx(score, abs=1e-5)


def test_a_target_of_another_run(model, texts, subtests):
    batches = texts.split(40)
    x = Activations(model, "blocks.0", batches)
    for y, error, match in (
        (Activations(model, "blocks.1", batches, skip=()), ValueError, "same batches"),
        (Activations(model, "blocks.1", texts.split(40)), ValueError, "same batches"),
        (Activations(model, "blocks.0", batches), ValueError, "different modules"),
        (Activations(nn.Embedding(N_TOKENS, 3), "", batches), ValueError, "the same model"),
        (gathered(x), TypeError, "X is a loader"),
    ):
        with subtests.test(match=match), pytest.raises(error, match=match):
            quick_sae(TopK(4)).fit(x, y)
    with pytest.raises(TypeError, match=r"needs samples X of Activations, got ndarray"):
        quick_sae(TopK(4)).fit(gathered(x), x)


def test_files(model, texts, tmp_path):
    both = Activations(model, ["blocks.0.mlp:input", "blocks.1"], texts.split(16), buffer_size=100)
    folders = both.save(tmp_path / "rows")
    assert [*folders] == list(both.names)
    assert model.n_runs == 5
    sae = fit_unwarned(quick_sae(TopK(4), max_iter=3), folders["blocks.1"])
    rows = gathered(Activations(model, "blocks.1", texts.split(16), buffer_size=100))
    assert_allclose(sae.mean_, rows.mean(axis=0), atol=1e-6)
    fit_unwarned(sae, folders["blocks.0.mlp:input"], y=folders["blocks.1"])
    assert_allclose(sae.target_mean_, rows.mean(axis=0), atol=1e-6)
    with pytest.raises(FileExistsError):
        both.save(tmp_path / "rows")


def test_bad_arguments(model, subtests):
    for arguments, match in (
        (("no.such", [0]), "no module 'no.such'"),
        (("head", iter([0])), "iterator"),
        (([], [0]), "at least one name"),
    ):
        with subtests.test(match=match), pytest.raises(ValueError, match=match):
            Activations(model, *arguments)


def test_errors_of_a_pass(model, texts):
    with pytest.raises(ValueError, match="buffer_size"):
        Activations(model, "head", [texts], buffer_size=0)
    with pytest.raises(TypeError, match="no tensor"):
        list(Activations(nn.Sequential(nn.Identity()), "0", ["a text"]))
    images = nn.Sequential(nn.Conv2d(1, 2, 3))
    with pytest.raises(ValueError, match="features on its last axis"):
        list(Activations(images, "0", [torch.ones(1, 1, 5, 5)]))
    model.unused = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="did not run"):
        list(Activations(model, "unused", [texts]))
    pair = nn.Sequential(nn.Identity(), nn.Flatten(0, 1))
    with pytest.raises(ValueError, match="same positions"):
        list(Activations(pair, ["0", "1"], [torch.ones(2, 3, 4)]))


# --- reconstructions in the place of activations ----------------------------------------------


def logits(model, texts):
    model.eval()
    with torch.no_grad():
        return model(texts)


@pytest.fixture(scope="module")
def net():
    """Return a small net, and samples, in double precision."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        return nn.Sequential(*layers).double(), torch.randn(7, 4).double()


def gradients(net, output):
    return torch.autograd.grad(output.square().sum(), [*net.parameters()])


def test_several_sites_and_their_gradients(net, subtests):
    """Outputs and gradients are those of the same net written by hand."""
    net, x = net
    first, second, last = net
    sites = {"0": torch.tanh, "1:input": torch.square, "1": torch.sin, "2": lambda rows: 3 * rows}
    for arguments, expected in (
        (("0", lambda rows: rows * 1.0), net(x)),
        (("0", torch.tanh), last(second(first(x).tanh()))),
        (("1:input", torch.tanh), last(second(first(x).tanh()))),
        (({"0": torch.tanh, "2": torch.sin},), last(second(first(x).tanh())).sin()),
        ((sites,), 3 * last(second(first(x).tanh().square()).sin())),
    ):
        with subtests.test(site=str(arguments[0])):
            with replaced(net, *arguments):
                found = net(x)
            assert_allclose(found.detach(), expected.detach())
            for own, by_hand in zip(gradients(net, found), gradients(net, expected), strict=True):
                assert_allclose(own, by_hand, atol=1e-12)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in net)


@pytest.mark.parametrize("penalty", ["l1", "jump_relu", TopK(3)])
def test_gradients_flow_through_a_sparse_autoencoder(penalty, net):
    net, x = net
    rows = torch.randn(80, 6, generator=torch.Generator().manual_seed(0)).double()
    sae = fit_unwarned(quick_sae(penalty, dtype="float64"), rows.numpy())
    h = net[0](x).detach()
    with replaced(net, "0", sae):
        found = net(x)
        gradient = gradients(net[0], found)[1]
    # Changes of the bias of the first layer change the reconstructions.
    with torch.no_grad():
        steps = 1e-6 * torch.eye(6).double()
        ahead, behind = (
            [net[1:](sae.inverse_transform(sae.transform(h + own))) for own in some]
            for some in (steps, -steps)
        )
    slopes = [
        (a.square().sum() - b.square().sum()) / 2e-6 for a, b in zip(ahead, behind, strict=True)
    ]
    assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-6)
    assert all(parameter.grad is None for parameter in sae.module_.parameters())


def test_an_estimator_without_gradients_says_so(net):
    net, x = net
    pca = PCA(2).fit(np.random.default_rng(0).standard_normal((20, 6)))
    with replaced(net, "0", pca):
        found = net(x)
    expected = net[1:](torch.tensor(pca.inverse_transform(pca.transform(net[0](x).detach()))))
    assert_allclose(found.detach(), expected.detach())
    torch.autograd.grad(found.sum(), net[2].weight, retain_graph=True)
    with pytest.raises(RuntimeError, match="have no gradients"):
        gradients(net, found)


def test_replaced_inputs_given_by_name():
    """A module can be called with named arguments."""
    layer = nn.Linear(3, 3)
    outer = nn.Module()
    outer.layer, outer.forward = layer, lambda x: layer(input=x)
    x = torch.ones(2, 3)
    with replaced(outer, "layer:input", lambda rows: 2 * rows):
        found = outer(x)
    assert torch.equal(found, layer(2 * x))


def test_skipped_positions_stay(model, texts):
    whole = logits(model, texts)
    with replaced(model, "blocks.1", torch.zeros_like, skip=(0, -1)):
        other = logits(model, texts)
    assert torch.equal(other[:, [0, -1]], whole[:, [0, -1]])
    assert_allclose(other[:, 1:-1], model.head.bias.detach().expand(80, LENGTH - 2, -1))
    assert torch.equal(logits(model, texts), whole)


def test_an_estimator_gives_its_reconstructions(model, texts):
    rows = gathered(Activations(model, "blocks.1", [texts]))
    sae = fit_unwarned(quick_sae(TopK(6), max_iter=40), rows)
    with replaced(model, "blocks.1", sae, skip=()):
        found = logits(model, texts)
    hidden = hidden_states(model, texts, 2)
    decoded = sae.inverse_transform(sae.transform(hidden.reshape(-1, WIDTH).numpy()))
    expected = model.head(torch.tensor(decoded).reshape(hidden.shape)).detach()
    assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_a_transcoder_takes_the_place_of_a_module(model, texts):
    both = Activations(model, ["blocks.0.mlp:input", "blocks.0.mlp"], [texts], skip=())
    rows = gathered(both)
    x, y = rows[:, :WIDTH], rows[:, WIDTH:]
    sae = fit_unwarned(quick_sae(TopK(6), max_iter=60, skip_connection=True), x, y=y)
    with replaced(model, "blocks.0.mlp", sae, skip=()):
        found = gathered(Activations(model, "blocks.0.mlp", [texts], skip=()))
        with torch.enable_grad():
            differentiable = model.blocks[0].mlp(torch.tensor(x).requires_grad_())
    assert_allclose(in_order(found), in_order(sae.predict(x)), rtol=1e-4, atol=1e-4)
    assert_allclose(differentiable.detach(), sae.predict(x), rtol=1e-4, atol=1e-5)


def test_a_module_is_given_back_after_an_error(model, texts):
    with (
        pytest.raises(ValueError, match=r"shape \(640, 3\)"),
        replaced(model, {"head:input": abs, "blocks.0": lambda rows: rows[:, :3]}),
    ):
        logits(model, texts)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize(
    ("name", "by", "error"),
    [("no.such", abs, ValueError), ("head", 3, TypeError), ({"head": abs}, abs, ValueError)],
)
def test_bad_replacements(name, by, error, model):
    with pytest.raises(error), replaced(model, name, by):
        pass


def test_what_is_recovered(model, texts, subtests):
    """The measure is computed by hand from the losses of three runs."""

    def loss(given):
        return nn.functional.cross_entropy(
            given[:, :-1].flatten(0, 1), texts[:, 1:].flatten()
        ).item()

    def half(rows):
        return rows / 2

    clean = logits(model, texts)
    for names in (["blocks.0"], ["blocks.0", "blocks.1.mlp:input"]):
        with subtests.test(names=names):
            with replaced(model, dict.fromkeys(names, half)):
                halved = logits(model, texts)
            with replaced(model, dict.fromkeys(names, torch.zeros_like)):
                nothing = logits(model, texts)
            found = loss_recovered(model, dict.fromkeys(names, half), batches=texts.split(30))
            assert found.loss == pytest.approx(loss(clean), rel=1e-5)
            assert found.replaced_loss == pytest.approx(loss(halved), rel=1e-5)
            assert found.ablated_loss == pytest.approx(loss(nothing), rel=1e-5)
            share = (loss(nothing) - loss(halved)) / (loss(nothing) - loss(clean))
            assert found.recovered == pytest.approx(share, rel=1e-3)
            p, q = (given.double().softmax(-1) for given in (clean, halved))
            kl = (p * (p / q).log()).sum(-1).mean().item()
            assert found.kl == pytest.approx(kl, rel=1e-4)


def test_perfect_reconstructions_lose_nothing(model, texts):
    for ablation in ("zero", "mean"):
        found = loss_recovered(model, "blocks.0", lambda rows: rows, [texts], ablation=ablation)
        assert (found.recovered, found.kl) == (1, 0)
    assert loss_recovered(model, "blocks.0", torch.zeros_like, [texts]).recovered == 0


def test_padding_has_no_loss(model, texts):
    short = {"input_ids": texts[:, :5], "attention_mask": torch.ones_like(texts[:, :5])}
    long = {"input_ids": texts, "attention_mask": torch.ones_like(texts)}
    long["attention_mask"][:, 5:] = 0
    found = [
        loss_recovered(model, "blocks.0", torch.zeros_like, [batch]) for batch in (short, long)
    ]
    assert_allclose(found[0], found[1], rtol=1e-4)


def test_a_loss_of_ones_own(model, texts):
    def confidence(given, batch):
        return -given.log_softmax(-1).amax(-1)

    found = loss_recovered(model, "blocks.0", torch.zeros_like, [texts], loss=confidence)
    expected = -logits(model, texts).log_softmax(-1).amax(-1).mean().item()
    assert found.loss == pytest.approx(expected, rel=1e-5)


def test_bad_requests(model, texts, subtests):
    for batches, ablation, match in (
        ([], "zero", "empty"),
        ([texts], "noise", "ablation"),
        ([{"inputs_embeds": torch.ones(2, 3)}], "zero", "no token ids"),
    ):
        net = nn.Identity() if match == "no token ids" else model
        net.forward = net.forward if net is model else lambda inputs_embeds: inputs_embeds
        name = "head" if net is model else ""
        with subtests.test(match=match), pytest.raises(ValueError, match=match):
            loss_recovered(net, name, abs, batches, ablation=ablation)


# --- padding, and the places of rows ------------------------------------------------------------


def padded(texts, side, n_padding=3):
    """Return a batch in which every other text has padding on one side."""
    width = texts.shape[1] + n_padding
    ids, mask = torch.zeros(len(texts), width, dtype=torch.int64), torch.zeros(len(texts), width)
    for i, text in enumerate(texts):
        start = n_padding if side == "left" and i % 2 else 0
        ids[i, start : start + len(text)] = text
        mask[i, start : start + len(text)] = 1
    return {"input_ids": ids, "attention_mask": mask.long()}


class Sinks(nn.Module):
    """A model without attention, so that padding cannot change the activations of tokens."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(N_TOKENS, WIDTH)
        self.head = nn.Linear(WIDTH, N_TOKENS)

    def forward(self, input_ids, attention_mask=None):
        return self.head(self.embedding(input_ids))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(side, texts):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Sinks()
    batch = padded(texts, side)
    plain, other = (
        Activations(model, "embedding", batches, skip=(0, 1, -1))
        for batches in (texts.split(80), [batch])
    )
    assert_array_equal(in_order(gathered(other)), in_order(gathered(plain)))
    assert_array_equal(in_order(other.places), in_order(plain.places))
    expected = loss_recovered(model, "embedding", lambda rows: rows / 2, [texts])
    found = loss_recovered(model, "embedding", lambda rows: rows / 2, [batch])
    assert_allclose(found, expected, rtol=1e-5)
    args = batch["input_ids"], batch["attention_mask"]
    assert_allclose(
        loss_recovered(model, "embedding", lambda rows: rows / 2, [args]), expected, rtol=1e-5
    )
    with replaced(model, "embedding", torch.zeros_like, skip=(0,)):
        logits = model(**batch)
    kept = batch["attention_mask"] == 0
    kept[torch.arange(len(texts)), batch["attention_mask"].argmax(dim=1)] = True
    is_bias = torch.isclose(logits, model.head.bias).all(dim=-1)
    assert torch.equal(is_bias, ~kept)


def test_new_tokens_of_a_model_that_caches_earlier_ones(model, texts):
    """While a model writes, the mask is longer than its input."""
    mask = torch.ones(80, LENGTH + 4)
    with replaced(model, "blocks.1", torch.zeros_like, skip=(0,)):
        found = model(texts, attention_mask=mask)
    assert torch.allclose(found, model.head.bias)


def test_rows_know_their_places_and_contexts(model, texts):
    batch = padded(texts, "left")
    activations = Activations(model, "embedding", [batch, batch], buffer_size=100)
    rows, places = gathered(activations), activations.places
    n_runs = model.n_runs
    text, position, token = places.T
    assert_array_equal(np.tile(texts, (2, 1))[text, position], token)
    assert_array_equal(rows, model.embedding.weight.detach()[token])
    for i, (tokens, place) in enumerate(activations.contexts(range(20), n_before=3, n_after=2)):
        own = texts[text[i] % 80].tolist()
        start = max(position[i] - 3, 0)
        assert tokens == own[start : position[i] + 3]
        assert tokens[place] == token[i]
    assert model.n_runs == n_runs
    with pytest.raises(ValueError, match="no token ids"):
        Activations(nn.Linear(3, 3), "", [torch.ones(4, 3)]).contexts([0])


def test_files_keep_the_precision(texts, tmp_path):
    model = Sinks().bfloat16()
    activations = Activations(model, "embedding", texts.split(40))
    folder = activations.save(tmp_path / "rows")["embedding"]
    (file,) = folder.glob("*.safetensors")
    assert load_file(file)["rows"].dtype is torch.bfloat16
    assert_array_equal(np.load(tmp_path / "rows" / "places.npy"), activations.places)
