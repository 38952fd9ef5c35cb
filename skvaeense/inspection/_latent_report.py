"""The meaning of latents of activations: tokens with the largest codes, in their contexts."""

import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from skvaeense.inspection._activity import top_activating
from skvaeense.inspection._estimators import last_step
from skvaeense.metrics._dictionaries import normalise_rows
from skvaeense.samples._rows import as_array
from skvaeense.utils._files import optional_import, whole_file
from skvaeense.utils._typing import DoubleArray, IntArray, PathName
from skvaeense.utils._validation import check_integer

if TYPE_CHECKING:
    import pandas as pd

STYLE = """.latents{font:14px sans-serif;margin:2em auto;max-width:70em;color:#222}
.latents td{padding:2px 10px;text-align:left;vertical-align:top}.latents mark{background:#E69F00}
.latents section{border-top:1px solid #bbb;margin-top:1.5em}.latents small{color:#666}
.latents .text{white-space:pre-wrap;font-family:monospace}"""


@dataclass(frozen=True, repr=False)
class LatentReport:  # numpydoc ignore=PR02
    """What is known of the meaning of some latents, as a table and as a page.

    Parameters
    ----------
    latents : list of dict
        For each latent its index ("latent"), the share of the rows in which it is active
        ("density"), the latents with the most similar directions and their cosines ("nearest"), and
        the tokens whose logits its direction raises and lowers most ("raised", "lowered").

    contexts : list of dict
        For each latent and each of its largest codes the "latent", the "row", the "text" and the
        "position" of the row's token, the "code", and the texts "before", "token" and "after".

    Examples
    --------
    >>> from skvaeense.inspection import LatentReport
    >>> LatentReport([], []).to_html().startswith("<!doctype html>")
    True
    """

    latents: list[dict[str, Any]]
    contexts: list[dict[str, Any]]

    def to_frame(self) -> "pd.DataFrame":
        """Return the contexts as a pandas.DataFrame; raise ImportError without pandas."""
        return optional_import("pandas", "to_frame", "pandas").DataFrame(self.contexts)

    def to_html(self, path: PathName | None = None) -> str:
        """Return one page of HTML that needs no other file, and write it if a path is given.

        Parameters
        ----------
        path : str or path-like or None, default=None
            File of the page; an existing file is replaced.

        Returns
        -------
        str
            The page.
        """
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Latents</title>'
            f"{self._repr_html_()}</html>\n"
        )
        if path is not None:
            with whole_file(path) as draft:
                draft.write(page.encode())
        return page

    def _section(self, latent: dict[str, Any]) -> str:
        """Return the part of the page on one latent."""
        index = latent["latent"]
        lists = {
            "nearest": [f'<a href="#latent-{i}">{i}</a> ({c:.2f})' for i, c in latent["nearest"]],
            "raised": [f"<code>{html.escape(repr(token))}</code>" for token in latent["raised"]],
            "lowered": [f"<code>{html.escape(repr(token))}</code>" for token in latent["lowered"]],
        }
        facts = [f"active in {latent['density']:.3%} of the rows"]
        facts += [f"{name}: {', '.join(values)}" for name, values in lists.items() if values]
        rows = "".join(
            f'<tr><td>{c["code"]:.3g}</td><td class="text">{html.escape(c["before"])}'
            f"<mark>{html.escape(c['token'])}</mark>{html.escape(c['after'])}</td>"
            f"<td><small>text {c['text']}, position {c['position']}</small></td></tr>"
            for c in self.contexts
            if c["latent"] == index
        )
        return (
            f'<section id="latent-{index}"><h2>Latent {index}</h2><p>{"<br>".join(facts)}</p>'
            f"<table>{rows}</table></section>"
        )

    def _repr_html_(self) -> str:
        body = "".join(map(self._section, self.latents))
        return f'<style>{STYLE}</style><div class="latents">{body}</div>'

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.latents)} latents>"


def latent_report(
    estimator: Any,
    X: Any,
    *,
    latents: ArrayLike | None = None,
    n_samples: int = 10,
    n_before: int = 10,
    n_after: int = 5,
    decode: Callable[[int], str] = str,
    unembedding: Any = None,
    n_nearest: int = 5,
    n_tokens: int = 8,
) -> LatentReport:
    """Find the tokens for which latents have their largest codes, with their contexts.

    Parameters
    ----------
    estimator : estimator
        Fitted, with `transform`. It can be the last step of a Pipeline.

    X : Activations
        Samples with a method `contexts`, such as :class:`skvaeense.activations.Activations`. Its
        model is run once.

    latents : array-like of int of shape (n_latents,) or None, default=None
        Latents to look at, in this order; None means all.

    n_samples : int, default=10
        Maximum number of contexts of each latent.

    n_before, n_after : int, default=10 and 5
        Maximum number of tokens before and after the token of a row.

    decode : callable, default=str
        Maps the id of a token to its text, such as ``lambda i: tokenizer.decode([i])``.

    unembedding : array-like of shape (n_vocab, n_features) or None, default=None
        Map from activations to the logits of tokens, such as ``model.lm_head.weight``. The products
        with the rows of `components_` say which tokens a latent raises and lowers: the "logit
        lens", which ignores all later layers.

    n_nearest, n_tokens : int, default=5 and 8
        Number of latents with similar directions, and of raised and lowered tokens.

    Returns
    -------
    LatentReport
        A table of the contexts, and a page.

    Raises
    ------
    TypeError
        If the estimator has no `transform`, or X no contexts.

    ValueError
        If `latents` is invalid, or the unembedding does not fit the directions of latents.

    See Also
    --------
    top_activating : The rows alone, of samples of any kind.

    References
    ----------
    T. Bricken et al., "Towards monosemanticity: decomposing language models with dictionary
    learning", Transformer Circuits Thread, 2023.

    Examples
    --------
    >>> import torch
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.activations import Activations
    >>> from skvaeense.inspection import latent_report
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Embedding(50, 16), torch.nn.Linear(16, 32))
    >>> X = Activations(model, "1", torch.randint(50, (200, 12)).split(20))
    >>> sae = SparseAutoencoder(40, target_l0=4, max_iter=20, random_state=0).fit(X)
    >>> report = latent_report(sae, X, latents=[3, 5], n_samples=4)
    >>> len(report.contexts), sorted(report.contexts[0])
    (8, ['after', 'before', 'code', 'latent', 'position', 'row', 'text', 'token'])
    """
    check_integer(n_before, "n_before", minimum=0)
    check_integer(n_after, "n_after", minimum=0)
    if not hasattr(X, "contexts"):
        raise TypeError(
            f"X must have a method contexts, as Activations has, got {type(X).__name__}. For other "
            "samples use top_activating."
        )
    top = top_activating(estimator, X, latents=latents, n_samples=n_samples)
    directions = getattr(last_step(estimator)[0], "components_", None)
    facts = [
        {"latent": latent, "density": density, "nearest": [], "raised": [], "lowered": []}
        for latent, density in zip(top.latents.tolist(), top.density.tolist(), strict=True)
    ]
    if directions is not None:
        unit = normalise_rows(directions)
        cosines = unit[top.latents] @ unit.T
        cosines[np.arange(len(facts)), top.latents] = -np.inf
        order = np.argsort(-cosines, axis=1, kind="stable")[:, : min(n_nearest, len(unit) - 1)]
        for fact, own, row in zip(facts, order, cosines, strict=True):
            fact["nearest"] = [(int(other), float(row[other])) for other in own]
    if unembedding is not None:
        order = _by_logit(directions, top.latents, unembedding)
        for fact, tokens in zip(facts, order, strict=True):
            fact["raised"] = [decode(int(token)) for token in tokens[::-1][:n_tokens]]
            fact["lowered"] = [decode(int(token)) for token in tokens[:n_tokens]]
    place, rank = np.nonzero(top.samples >= 0)
    rows, found = top.samples[place, rank], []
    contexts = X.contexts(rows, n_before=n_before, n_after=n_after)
    for i, (tokens, at) in enumerate(contexts):
        words, (text, position, _) = [*map(decode, tokens)], X.places[rows[i]].tolist()
        latent, code = int(top.latents[place[i]]), float(top.codes[place[i], rank[i]])
        where = {"latent": latent, "row": int(rows[i]), "text": text, "position": position}
        before, after = "".join(words[:at]), "".join(words[at + 1 :])
        found.append(where | {"code": code, "before": before, "token": words[at], "after": after})
    return LatentReport(facts, found)


def _by_logit(directions: DoubleArray | None, latents: IntArray, unembedding: Any) -> IntArray:
    """Return all tokens, from those whose logits the directions lower most."""
    values = unembedding.detach() if hasattr(unembedding, "detach") else unembedding
    matrix = np.asarray(as_array(values))
    width = None if directions is None else directions.shape[1]
    if directions is None or matrix.ndim != 2 or matrix.shape[1] != width:
        raise ValueError(
            f"unembedding must have the shape (n_vocab, {width}), as latents have directions of "
            f"{width} features; got {matrix.shape}."
        )
    return np.argsort(directions[latents] @ matrix.T, axis=1)
