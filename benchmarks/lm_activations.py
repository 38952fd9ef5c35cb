"""Residual-stream activations of a causal language model from transformers, as rows of an array.

    python -m benchmarks lm_activations --text NeelNanda/pile-10k --layer 3 --out FOLDER
    python -m benchmarks lm_activations --model FOLDER --gguf FILE --text one.txt two.txt ...

The command writes FOLDER/lm_activations.npz, with one row per token, in the order of the text:

* `X_train`, `X_test`: hidden states after block N, in half precision,
* `token_train`, `token_test`: the token, as a number in the model's vocabulary,
* `doc_train`, `doc_test`: the number of its document. No document is in both parts.

Documents are cut into windows, which the model reads one by one. The hidden states of the first
tokens of a window are often far longer than all others, so the first `--skip` tokens are left out.
Rows are written to disk as they are computed, so memory does not grow with their number. The file
gets its name when it is complete. The command needs transformers; a data set of the Hub also needs
datasets, and a GGUF file needs gguf and accelerate.
"""

import importlib
import os
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.common import make_parser

BLANK_LINES = r"\n\s*\n"
PARTS = "train", "test"


class Window(NamedTuple):
    """Tokens that the model reads together, and the part and document of their rows."""

    tokens: list[int]
    part: str
    doc: int


class ReachedError(Exception):
    """Raised by a hook to end a forward pass after a block."""


# --- the model --------------------------------------------------------------------------------


def require(*packages):
    """Import packages and return the first; exit with the packages to install if one is missing."""
    try:
        first, *_ = map(importlib.import_module, packages)
        return first
    except ImportError as error:
        raise SystemExit(f"{error}. This needs: pip install {' '.join(packages)}") from error


def load(name, gguf=None, device="auto"):
    """Return the tokenizer and the model, in single precision."""
    transformers = require("transformers", *(("gguf", "accelerate") if gguf else ()))
    transformers.utils.logging.set_verbosity_error()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    source = {"gguf_file": gguf} if gguf else {}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **source)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            name, dtype=torch.float32, **source
        )
    except OSError as error:
        raise SystemExit(f"Could not load the model: {error}") from error
    return tokenizer, model.eval().to(device)


def block_after(model, layer):
    """Return the first `layer` blocks of the model."""
    n_blocks = model.config.get_text_config().num_hidden_layers
    if not 1 <= layer <= n_blocks:
        raise SystemExit(f"--layer must be from 1 to {n_blocks} for this model, got {layer}.")
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == n_blocks:
            return list(module[:layer])
    raise SystemExit(f"Found no list of {n_blocks} blocks in {type(model).__name__}.")


def hidden_of(output):
    """Return the hidden states in the output of a block."""
    return output[0] if isinstance(output, tuple) else output


@torch.no_grad()
def hidden_states(model, block, batch):
    """Return the output of a block for lists of tokens: an array for each list, a row per token.

    Later blocks are not run.
    """
    longest = max(map(len, batch))
    # Padding comes last: in a causal model no token attends to later tokens.
    tokens = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in batch])
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in batch])
    found = []

    def keep(_, __, output):
        found.append(hidden_of(output))
        raise ReachedError

    handle = block.register_forward_hook(keep)
    try:
        model(tokens.to(model.device), attention_mask=mask.to(model.device), use_cache=False)
    except ReachedError:
        pass
    finally:
        handle.remove()
    states = found[0].float().cpu().numpy()
    return [rows[: len(ids)] for rows, ids in zip(states, batch, strict=True)]


# --- the text ---------------------------------------------------------------------------------


def read_documents(text, separator=None, split="train", column="text"):
    """Return an iterator over the documents of files, or of a data set of the Hub."""
    missing = [name for name in text if not Path(name).is_file()]
    if not missing:
        return (piece for name in text for piece in split_file(name, separator))
    if len(text) > 1:
        raise SystemExit(f"--text has several names, but there is no file {missing[0]}.")
    try:
        rows = require("datasets").load_dataset(text[0], split=split, streaming=True)
    except Exception as error:
        raise SystemExit(
            f"There is no file {text[0]}, and no such data set was found: {error}"
        ) from error
    return (row[column] for row in rows)


def split_file(name, separator):
    """Yield the documents of a file, read in pieces; the whole file if separator is ''."""
    pattern = BLANK_LINES if separator is None else re.escape(separator)
    with open(name, encoding="utf-8") as file:
        if not pattern:
            yield file.read()
            return
        rest = ""
        while more := file.read(2**20):
            *whole, rest = re.split(pattern, rest + more)
            yield from filter(str.strip, whole)
        if rest.strip():
            yield rest


def read_windows(documents, tokenizer, context, skip, wanted):
    """Yield windows until each part has the wanted number of rows.

    Each document goes to the part with the smallest share of its wanted rows.
    """
    # The tokens that the tokenizer puts before every text, such as a beginning-of-text token.
    prefix = list(tokenizer("").input_ids)
    rows = dict.fromkeys(wanted, 0)
    for doc, text in enumerate(documents):
        behind = [part for part in wanted if rows[part] < wanted[part]]
        if not behind:
            return
        part = min(behind, key=lambda p: rows[p] / wanted[p])
        ids = tokenizer(text, add_special_tokens=False).input_ids
        for start in range(0, len(ids), context - len(prefix)):
            tokens = prefix + ids[start : start + context - len(prefix)]
            tokens = tokens[: skip + wanted[part] - rows[part]]
            if len(tokens) > skip:
                rows[part] += len(tokens) - skip
                yield Window(tokens, part, doc)


# --- rows on disk -----------------------------------------------------------------------------


class Rows:
    """An array on disk that grows at its end."""

    def __init__(self, path, dtype, shape=()):
        self.path = path
        self.dtype = np.dtype(dtype)
        self.shape = shape
        self.length = 0

    def append(self, rows):
        with open(self.path, "ab") as file:
            np.ascontiguousarray(rows, dtype=self.dtype).tofile(file)
        self.length += len(rows)

    def array(self):
        return np.memmap(self.path, self.dtype, "r", shape=(self.length, *self.shape))


def write(windows, model, block, skip, batch_size, folder, bar):
    """Write the rows of windows into a folder, and return them by name."""
    width = model.config.get_text_config().hidden_size
    arrays = {
        f"{name}_{part}": Rows(folder / f"{name}_{part}", dtype, shape)
        for name, dtype, shape in (
            ("X", np.float16, (width,)),
            ("token", np.int32, ()),
            ("doc", np.int32, ()),
        )
        for part in PARTS
    }
    for batch in batches(windows, batch_size):
        states = hidden_states(model, block, [window.tokens for window in batch])
        for window, rows in zip(batch, states, strict=True):
            with np.errstate(over="ignore"):
                rows = rows[skip:].astype(np.float16)
            if not np.isfinite(rows).all():
                raise SystemExit(
                    "A hidden state is too long for half precision. The first tokens of a window "
                    "often are: try a larger --skip."
                )
            arrays[f"X_{window.part}"].append(rows)
            arrays[f"token_{window.part}"].append(window.tokens[skip:])
            arrays[f"doc_{window.part}"].append(np.full(len(rows), window.doc))
            bar.update(len(rows))
    return arrays


def batches(items, size):
    """Yield lists of `size` items, and a last list of the remaining items."""
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def extract(arguments):
    """Write the file of activations, and return its path."""
    tokenizer, model = load(arguments.model, arguments.gguf, arguments.device)
    block = block_after(model, arguments.layer)[-1]
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if longest and arguments.context > longest:
        raise SystemExit(f"--context must be at most {longest} for this model.")
    n_test = max(1, round(arguments.tokens * arguments.test_share))
    wanted = {"train": arguments.tokens - n_test, "test": n_test}
    documents = read_documents(
        arguments.text, arguments.separator, arguments.split, arguments.column
    )
    windows = read_windows(documents, tokenizer, arguments.context, arguments.skip, wanted)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "lm_activations.npz"
    with tempfile.TemporaryDirectory(prefix=".lm_activations-", dir=arguments.out) as folder:
        folder = Path(folder)
        with require("tqdm").tqdm(total=arguments.tokens, unit=" tokens") as bar:
            arrays = write(windows, model, block, arguments.skip, arguments.batch, folder, bar)
        lengths = {part: arrays[f"X_{part}"].length for part in PARTS}
        for part, length in lengths.items():
            if not length:
                raise SystemExit(
                    f"The text is too short: nothing is left for the {part} rows. It takes two or "
                    f"more documents with more than {arguments.skip} tokens; see --separator."
                )
        if lengths != wanted:
            print(f"The text ended after {sum(lengths.values())} of {arguments.tokens} tokens.")
        complete = folder / path.name
        np.savez(complete, **{name: rows.array() for name, rows in arrays.items()})
        os.replace(complete, path)
    print(f"{path}: {lengths['train']} training and {lengths['test']} test rows")
    return path


def add_text_arguments(parser):
    """Add the options that choose the block of the model and the text."""
    add = parser.add_argument
    add("--gguf", help="file in the model's folder, for a model in this format")
    add("--layer", type=int, required=True, help="number of the block, from 1")
    add("--text", nargs="+", required=True, help="text files, or one data set of the Hub")
    add("--separator", help="what stands between documents in files (blank lines); '' for nothing")
    add("--split", default="train", help="split of the data set")
    add("--column", default="text", help="column of the data set")
    add("--skip", type=int, default=1, help="tokens to leave out at the start of each window")


def main():
    """Run the benchmark with the options of the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model", default="EleutherAI/pythia-70m", help="name on the Hub, or folder")
    add_text_arguments(parser)
    add("--context", type=int, default=256, help="tokens of a window")
    add("--tokens", type=int, default=200_000, help="rows to write")
    add("--test-share", type=float, default=0.1, help="share of them that are test rows")
    add("--batch", type=int, default=8, help="windows at once")
    add("--device", default="auto")
    add("--out", type=Path, required=True, help="folder for lm_activations.npz")
    arguments = parser.parse_args()
    if not 0 < arguments.test_share < 1:
        parser.error("--test-share must be between 0 and 1")
    if not 0 <= arguments.skip < arguments.context:
        parser.error("--skip must be less than --context, and not negative")
    if min(arguments.tokens, arguments.batch) < 1:
        parser.error("--tokens and --batch must be 1 or more")
    extract(arguments)
