"""The model card, which describes a fitted estimator to readers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skvaeense import __version__
from skvaeense.metrics import dead_fraction, feature_density, l0

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
from skvaeense.hub import (from_pretrained)

model = from_pretrained({name!r})
codes = model.transform(X)  # X of shape (n_samples, {n_features})
```
"""
SAELENS = "\nSAELens loads it with `SAE.load_from_disk(folder)`.\n"


def model_card(
    estimator: BaseEstimator,
    X: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    name: str = "folder",
    title: str | None = None,
    description: str = "",
    metrics: Mapping[str, float] | None = None,
    for_saelens: bool = False,
) -> str:
    """Write the model card of a fitted autoencoder, from its history and measures.

    Parameters
    ----------
    estimator : SparseAutoencoder or VAEenseTransformer
        A fitted estimator.

    X : array-like of shape (n_samples, n_features) or None, default=None
        Samples that were not used in training, for measures of L0, `score`, and the shares of dead
        and dense latents; None leaves out these measures.

    y : array-like of shape (n_samples, n_targets) or None, default=None
        Target of X, for a transcoder.

    name : str, default="folder"
        Folder or repository to load the estimator from, as the card names it.

    title : str or None, default=None
        Heading; None means the class and the number of latents.

    description : str, default=""
        Description of the samples in Markdown: model, layer, texts.

    metrics : dict of float or None, default=None
        Further measures, such as the results of `skvaeense.activations.loss_recovered`.

    for_saelens : bool, default=False
        Whether SAELens loads the folder, too.

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
    >>> from skvaeense.nets.penalties import TopK
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, penalty=TopK(8), max_iter=10, random_state=0).fit(X[:1500])
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
    n_targets = getattr(getattr(fitted, "module_", None), "n_targets", None)
    sizes = {"features": fitted.n_features_in_, "latents": fitted.n_components_}
    if n_targets is not None:
        sizes["target features"] = n_targets
    parts.append(_table("Size", sizes))
    measures: dict[str, float] = {}
    if X is not None:
        active = np.asarray(fitted.active_dimensions(X))
        measures["L0"] = l0(active)
        measures["score"] = fitted.score(X) if y is None else fitted.score(X, y)
        measures["dead latents"] = dead_fraction(active)
        measures["dense latents"] = float(np.mean(feature_density(active) > 0.1))
    measures |= metrics or {}
    if measures:
        parts.append("## Measures on held-out samples\n\n" + _table("Measure", measures))
    parts.append("No training sample is kept.\n")
    if hasattr(fitted, "history_"):
        epochs = {k: v for k, v in fitted.history_.items() if len(v) and k != "init"}
        last = {name: float(values[-1]) for name, values in epochs.items()}
        last = {"epochs": fitted.n_iter_} | last
        parts.append("## Training\n\n" + _table("At the last epoch", last))
    parts.append(f"```python\n{fitted!r}\n```\n\nskvaeense {__version__}\n")
    parts.append(USE.format(name=name, n_features=fitted.n_features_in_) + for_saelens * SAELENS)
    return "\n".join(parts)


def _table(heading: str, rows: Mapping[str, float]) -> str:
    lines = [f"| {heading} | |", "|---|---|"]
    lines += [f"| {name} | {value:.4g} |" for name, value in rows.items()]
    return "\n".join(lines) + "\n"
