"""Loss of a language model that continues from reconstructions of its hidden states.

    python -m benchmarks paper.next_token_loss [--quick | --full] --data FOLDER
        --model NAME_OR_FOLDER [--gguf FILE] --layer N --text NAME_OR_FILES

FOLDER holds lm_activations.npz, written by `python -m benchmarks lm_activations` with this model
and layer. Dictionaries of 300 latents are fitted to its training rows, one for each mean number of
active latents, with the package's defaults: VAEense, and methods of short_codes.py with an unrolled
encoder or an encoder of one layer. Then the model reads the first window of each document of a text
that is not in this file. The hidden states after block N are replaced by reconstructions, except
for the first tokens of a window, which are not in the rows either. The loss of the next token, in
nats, is a mean over the tokens whose hidden states are replaced.

`text` has the loss of the unchanged model, and the loss with all hidden states replaced by the mean
row. A row of `codes` is a fit:

* `active` and `fvu` are measured on test rows, and `text_active` and `text_fvu` on the text,
* `loss` is the loss with reconstructions, and
* `recovered` is (loss of the mean - loss) / (loss of the mean - loss of the whole model).

The latents that are most often active in the first windows are left out, one at a time. `use` is
the share of tokens for which a latent is active, `loss_changes` is the increase of the loss without
the latent, and `loss_changes_where_active` is the same at the tokens for which it is active. The
loss at later tokens can change, too, since they attend to these tokens.
"""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.data import read_activations
from benchmarks.lm_activations import (
    add_text_arguments,
    block_after,
    hidden_states,
    load,
    read_documents,
    read_windows,
)
from benchmarks.paper.common import at_once, leave_out, run
from benchmarks.short_codes import METHODS
from skvaeense.metrics import fvu, l0

# Mean numbers of active latents, and the methods of short_codes.py that are fitted.
LEVELS = (30, 100)
MODELS = ("VAEense", "unrolled batch_topk", "signed batch_topk", "positive batch_topk")
WINDOWS_AT_ONCE = 8
SIZES = {
    "quick": {
        "n_seeds": 3,
        "context": 128,
        "n_windows": 32,
        "n_windows_ablated": 6,
        "n_latents": 16,
    },
    "full": {
        "n_seeds": 5,
        "context": 256,
        "n_windows": 400,
        "n_windows_ablated": 100,
        "n_latents": 300,
    },
}


class Continuation:
    """A language model that continues from replaced hidden states after one of its blocks.

    Rows are the hidden states that can be replaced: the hidden states of all windows, one window
    after the other, without the first tokens of each window and its last, which has no next token.
    """

    def __init__(self, model, layer, windows, skip):
        self.model = model
        self.blocks = block_after(model, layer)
        self.tokens = torch.tensor(windows)
        self.skip = skip
        forms = []
        handle = self.blocks[-1].register_forward_hook(
            lambda _, __, output: forms.append(isinstance(output, tuple))
        )
        parts = [hidden_states(model, self.blocks[-1], part) for part in self._parts(windows)]
        handle.remove()
        self.in_tuple = forms[0]
        self.hidden = torch.tensor(np.concatenate([np.stack(part) for part in parts]))

    def first(self, n_windows):
        """Return a continuation with the first windows only."""
        other = object.__new__(Continuation)
        vars(other).update(vars(self))
        other.tokens, other.hidden = self.tokens[:n_windows], self.hidden[:n_windows]
        return other

    @property
    def rows(self):
        """The hidden states that can be replaced."""
        return self.hidden[:, self.skip : -1].flatten(0, 1).numpy()

    @torch.no_grad()
    def losses(self, rows):
        """Return the loss of the next token at each row, with the rows replaced by `rows`."""
        hidden = self.hidden.clone()
        inner = hidden[:, self.skip : -1]
        inner.copy_(torch.as_tensor(rows).reshape(inner.shape))
        device, found = self.model.device, []
        for part, tokens in zip(self._parts(hidden), self._parts(self.tokens), strict=True):
            tokens = tokens.to(device)
            with replaced(self.blocks, part.to(device), self.in_tuple):
                logits = self.model(tokens, use_cache=False).logits[:, self.skip : -1]
            after = tokens[:, self.skip + 1 :]
            found.append(F.cross_entropy(logits.flatten(0, 1), after.flatten(), reduction="none"))
        return torch.cat(found).double().cpu().numpy()

    @staticmethod
    def _parts(windows):
        starts = range(0, len(windows), WINDOWS_AT_ONCE)
        return [windows[start : start + WINDOWS_AT_ONCE] for start in starts]


@contextmanager
def replaced(blocks, hidden, in_tuple):
    """Replace the computation of the blocks: within this context, each returns `hidden`."""

    def give(*_, **__):
        return (hidden,) if in_tuple else hidden

    for block in blocks:
        block.forward = give
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def fit(name, k, seed, X, X_test, rows):
    """Return a fitted model, its reconstructions of the rows of the text, and its measures."""
    model = METHODS[name](k, random_state=seed).fit(X)
    row = {"model": name, "k": k, "seed": seed}
    for part, samples in (("", X_test), ("text_", rows)):
        codes = model.transform(samples)
        reconstruction = model.inverse_transform(codes)
        row |= {f"{part}active": float(l0(codes)), f"{part}fvu": fvu(samples, reconstruction)}
    return model, reconstruction, row


def ablate(model, text, n_latents):
    """Return the changes of the loss without each of the latents that are active most often."""
    active = model.transform(text.rows) != 0
    latents = np.argsort(-active.mean(axis=0), kind="stable")[:n_latents]
    _, changes = leave_out(model, text.rows, text.losses, latents)
    where_active = np.array(
        [
            row[used].mean() if used.any() else np.nan
            for row, used in zip(changes, active.T[latents], strict=True)
        ]
    )
    return {
        "loss_change": float(changes.mean()),
        "loss_change_where_active": float(np.nanmean(where_active)),
        "use": rounded(active.mean(axis=0)[latents]),
        "loss_changes": rounded(changes.mean(axis=1)),
        "loss_changes_where_active": rounded(where_active),
    }


def rounded(values):
    """Return values rounded to four digits, with None for NaN."""
    return [None if np.isnan(value) else float(f"{value:.4g}") for value in values]


def read_text(arguments):
    """Return the continuation of the model for the windows of the text."""
    tokenizer, model = load(arguments.model, arguments.gguf)
    documents = read_documents(
        arguments.text, arguments.separator, arguments.split, arguments.column
    )
    every = {"text": 10**12}
    first = {}
    for window in read_windows(documents, tokenizer, arguments.context, arguments.skip, every):
        if len(first) == arguments.n_windows:
            break
        if len(window.tokens) == arguments.context:
            first.setdefault(window.doc, window.tokens)
    if len(first) < arguments.n_windows:
        raise SystemExit(
            f"The text is too short: {len(first)} of its documents have {arguments.context} "
            f"tokens, {arguments.n_windows} are needed; see --separator."
        )
    return Continuation(model, arguments.layer, list(first.values()), arguments.skip)


def measure(arguments):
    """Yield the losses of the text, and a row for each fit."""
    X, X_test = read_activations(arguments.data)
    text = read_text(arguments)
    rows = text.rows
    if rows.shape[1] != X.shape[1]:
        raise SystemExit("The rows of lm_activations.npz are not of this model.")
    whole = float(text.losses(rows).mean())
    of_mean = float(text.losses(np.broadcast_to(X.mean(axis=0), rows.shape).copy()).mean())
    yield (
        "text",
        {
            "model": arguments.gguf or Path(arguments.model).name,
            "layer": arguments.layer,
            "skip": arguments.skip,
            "n_tokens": len(rows),
            "loss": whole,
            "loss_of_mean": of_mean,
        },
    )
    few = text.first(arguments.n_windows_ablated)
    jobs = [
        (name, k, seed, X, X_test, rows)
        for k in LEVELS
        for name in MODELS
        for seed in range(arguments.n_seeds)
    ]
    for model, reconstruction, row in at_once(fit, jobs, arguments.jobs):
        loss = float(text.losses(reconstruction).mean())
        recovered = {"loss": loss, "recovered": (of_mean - loss) / (of_mean - whole)}
        yield "codes", row | recovered | ablate(model, few, arguments.n_latents)


def add_arguments(parser):
    """Add the options that choose the model and the text."""
    parser.add_argument("--model", required=True, help="name on the Hub, or folder")
    add_text_arguments(parser)


def main():
    """Run the benchmark with the options of the command line."""
    run("next_token_loss", __doc__, SIZES, measure, add_arguments)
