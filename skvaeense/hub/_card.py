"""The model card: what a reader is to know of a fitted estimator."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skvaeense import __version__
from skvaeense.metrics import dead_fraction, dense_fraction, l0

HEADER = """---
library_name: skvaeense
tags:
- sparse-autoencoder
- interpretability
- skvaeense
---
"""
USE = """## How to use it

```python
from skvaeense.hub import from_pretrained

model = from_pretrained({name!r})
codes = model.transform(X)  # X of shape (n_samples, {n_features})
```

SAELens reads it by `SAE.load_from_disk(folder)`{registered}.
"""


def model_card(
    estimator: BaseEstimator,
    X: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    name: str = "folder",
    title: str | None = None,
    description: str = "",
    metrics: Mapping[str, float] | None = None,
    needs_registration: bool = False,
) -> str:
    """Write the model card of a fitted autoencoder, from its history and measures.

    Parameters
    ----------
    estimator : SparseAutoencoder or VAEenseTransformer
        A fitted estimator.

    X : array-like of shape (n_samples, n_features) or None, default=None
        Samples that did not train, on which L0, `score`, and the shares of dead and dense latents
        are measured; None leaves them out.

    y : array-like of shape (n_samples, n_targets) or None, default=None
        Their target, of a transcoder.

    name : str, default="folder"
        Folder or repository that the card tells to read from.

    title : str or None, default=None
        Heading; None means the class and the number of latents.

    description : str, default=""
        What the samples are, in Markdown: model, layer, texts.

    metrics : dict of float or None, default=None
        Further measures, as those of `skvaeense.activations.loss_recovered`.

    needs_registration : bool, default=False
        Whether SAELens has to be told of the class by `register_saelens`.

    Returns
    -------
    str
        Markdown, with the header that the Hub reads.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.hub import model_card
    >>> from skvaeense.penalties import TopK
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, penalty=TopK(8), max_iter=5, random_state=0).fit(X[:1500])
    >>> card = model_card(sae, X[1500:], description="Images of digits.")
    >>> "| L0 | 8 |" in card
    True
    """
    check_is_fitted(estimator)
    fitted: Any = estimator
    heading = title or f"{type(fitted).__name__} with {fitted.n_components_} latents"
    parts = [HEADER, f"# {heading}\n"]
    if description:
        parts.append(f"{description}\n")
    n_targets = getattr(fitted.module_, "n_targets", None)
    sizes = {"features": fitted.n_features_in_, "latents": fitted.n_components_}
    if n_targets is not None:
        sizes["features of the target"] = n_targets
    parts.append(_table("Size", sizes))
    measures = _measures(fitted, X, y) | dict(metrics or {})
    if measures:
        parts.append("## Measures on samples that did not train\n\n" + _table("Measure", measures))
    parts.append("## Training\n\n" + _table("At the last epoch", _last_epoch(fitted)))
    parts.append(f"```python\n{fitted!r}\n```\n\nskvaeense {__version__}\n")
    registered = "" if not needs_registration else " after `skvaeense.hub.register_saelens()`"
    parts.append(USE.format(name=name, n_features=fitted.n_features_in_, registered=registered))
    return "\n".join(parts)


def _measures(estimator: Any, X: Any, y: Any) -> dict[str, float]:
    """Return what is measured on samples, if there are any."""
    if X is None:
        return {}
    active = np.asarray(estimator.active_dimensions(X))
    return {
        "L0": l0(active),
        "score": estimator.score(X) if y is None else estimator.score(X, y),
        "dead latents": dead_fraction(active),
        "dense latents": dense_fraction(active),
    }


def _last_epoch(estimator: Any) -> dict[str, float]:
    """Return what the history says of the last epoch that was kept."""
    history = estimator.history_
    rows = {"epochs": estimator.n_iter_}
    for column, values in history.items():
        if len(values) and column != "init":
            rows[column] = float(values[-1])
    return rows


def _table(heading: str, rows: Mapping[str, float]) -> str:
    lines = [f"| {heading} | |", "|---|---|"]
    lines += [f"| {name} | {value:.4g} |" for name, value in rows.items()]
    return "\n".join(lines) + "\n"
