"""Activations of a running model, as samples that `fit` takes."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from torch import nn

from skvaeense.activations._modules import capture, find_module, kept_positions
from skvaeense.samples._sources import as_array
from skvaeense.utils._torch import draw_seed
from skvaeense.utils._typing import FloatArray, PathName, RandomState
from skvaeense.utils._validation import AT_LEAST_ONE


class Activations:
    """Activations of a module of a running model, as samples that `fit` takes.

    The model is run on batches when samples are needed, and only as far as the last module in
    `module_name`. Rows, one for each position of each text, are shuffled in a buffer. All passes
    give the same rows in the same order, so that held-out rows stay held out.

    Parameters
    ----------
    model : torch.nn.Module
        Any model. It is run in evaluation mode, without gradients, on its own device.

    module_name : str or sequence of str
        Name of a module, as in ``named_modules``. Its output is taken, or its input if ":input"
        follows the name. From a tuple or dict the first tensor is taken, of the shape (n_texts,
        n_positions, n_features) or (n_samples, n_features); from a module that runs several times,
        the first output. With several names, rows have the features of all modules side by side, as
        for a crosscoder, from one pass.

    batches : iterable
        Inputs of the model: tensors, tuples of arguments, or dicts of named arguments. Each pass
        over the iterable must give the same batches in the same order, as a list or a DataLoader
        that does not shuffle.

    skip : sequence of int, default=(0,)
        Positions of each text that are left out; negative ones count from the end. In language
        models, activations at the first position are far longer than others.

    mask : str or None, default="attention_mask"
        Name of an argument that is 0 at positions to leave out, if a batch is a dict with this
        argument.

    buffer_size : int, default=65536
        Number of rows that are shuffled together. A full buffer returns half of its rows.

    random_state : int, RandomState instance or None, default=0
        Seed of the shuffling.

    Attributes
    ----------
    names : tuple of str
        Names of the modules.

    Raises
    ------
    ValueError
        If the model has no such module, or `batches` allows only one pass.

    See Also
    --------
    replaced : Run a model with reconstructions of activations.
    loss_recovered : Measure the share of the loss that reconstructions recover.

    Notes
    -----
    Besides its epochs, a fit passes over its samples three times: to count them, for their mean and
    scale, and for the held-out rows. `save` writes them to files in one pass of the model. ``len``
    is the number of chunks in a pass; before the first pass is over, it runs the model to count
    them.

    Examples
    --------
    >>> import torch
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.activations import Activations
    >>> from skvaeense.penalties import TopK
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Embedding(50, 16), torch.nn.Linear(16, 32), torch.nn.ReLU(),
    ... )
    >>> texts = torch.randint(50, (200, 12))
    >>> activations = Activations(model, "1", texts.split(20))
    >>> sae = SparseAutoencoder(40, penalty=TopK(4), max_iter=60, random_state=0).fit(activations)
    >>> sae.n_features_in_
    32

    A transcoder from the output of one module to the output of another, from one run of the model:

    >>> from tempfile import TemporaryDirectory
    >>> both = Activations(model, ["0", "2"], texts.split(20))
    >>> with TemporaryDirectory() as folder:
    ...     folders = both.save(folder)
    ...     sae.fit(folders["0"], folders["2"]).n_features_in_
    16

    Two dictionaries side by side:

    >>> saes = {name: SparseAutoencoder(40, penalty=TopK(4)) for name in both.names}
    >>> for rows in both.batches():
    ...     for name, sae in saes.items():
    ...         _ = sae.partial_fit(rows[name])
    """

    def __init__(
        self,
        model: nn.Module,
        module_name: str | Sequence[str],
        batches: Iterable[Any],
        *,
        skip: Sequence[int] = (0,),
        mask: str | None = "attention_mask",
        buffer_size: int = 2**16,
        random_state: RandomState = 0,
    ) -> None:
        self.model = model
        self.names = (module_name,) if isinstance(module_name, str) else tuple(module_name)
        self.source = batches
        self.skip = tuple(skip)
        self.mask = mask
        self.buffer_size = buffer_size
        self._n_chunks: int | None = None
        self._modules = {name: find_module(model, name) for name in self.names}
        # Drawn once, so that every pass starts from the same seed.
        self._seed = draw_seed(check_random_state(random_state))
        if isinstance(batches, Iterator):
            raise ValueError(
                "batches is an iterator, which can be consumed only once, but training needs "
                "several passes. Give an iterable that starts again at each pass."
            )
        if not (AT_LEAST_ONE.is_satisfied_by(buffer_size) and self.names):
            raise ValueError(
                "buffer_size must be an int, at least 1, and module_name must have at least one "
                f"name; got {buffer_size!r} and {module_name!r}."
            )

    def __len__(self) -> int:
        """Return the number of chunks of rows in a pass."""
        if self._n_chunks is None:
            self._n_chunks = sum(1 for _ in self.batches())
        return self._n_chunks

    def __iter__(self) -> Iterator[FloatArray]:
        """Yield rows of all features, in the order of the buffer."""
        for rows in self.batches():
            yield np.concatenate([rows[name] for name in self.names], axis=1)

    def batches(self) -> Iterator[dict[str, FloatArray]]:
        """Yield chunks of rows of all modules, from one run of the model.

        Yields
        ------
        dict of ndarray of shape (n_rows, n_features)
            Rows by module name, in the same order for all modules: half a buffer each time, and the
            rest of the buffer at the end.
        """
        random_state = np.random.RandomState(self._seed)
        waiting: list[dict[str, FloatArray]] = []
        n_waiting = n_chunks = 0
        for rows in self._in_order():
            waiting.append(rows)
            n_waiting += len(rows[self.names[0]])
            while n_waiting >= self.buffer_size:
                n_out = max(1, self.buffer_size // 2)
                mixed = _mixed(waiting, random_state)
                n_chunks += 1
                yield {name: own[:n_out] for name, own in mixed.items()}
                waiting = [{name: own[n_out:] for name, own in mixed.items()}]
                n_waiting -= n_out
        if n_waiting:
            n_chunks += 1
            yield _mixed(waiting, random_state)
        self._n_chunks = n_chunks

    def _in_order(self) -> Iterator[dict[str, FloatArray]]:
        """Yield the rows of each batch, before they are shuffled."""
        for batch in self.source:
            found = capture(self.model, self._modules, batch)
            rows = {}
            for name, value in found.items():
                rows[name] = as_array(value[kept_positions(value, batch, self.skip, self.mask)])
            sizes = {name: len(own) for name, own in rows.items()}
            if len(set(sizes.values())) > 1:
                raise ValueError(
                    "Modules must give rows for the same positions, but their numbers of rows "
                    f"differ: {sizes}"
                )
            yield rows

    def save(self, folder: PathName) -> dict[str, Path]:
        """Write the rows to files for `fit`, in one run of the model.

        Parameters
        ----------
        folder : str or path-like
            Parent of one folder for each module, with files of numpy's format. The folders of the
            modules must not exist yet.

        Returns
        -------
        dict of Path
            Folders by module name, which `fit` takes as X or as its target.
        """
        folders = {name: Path(folder) / name.replace(":", ".") for name in self.names}
        for own in folders.values():
            own.mkdir(parents=True)
        for i, rows in enumerate(self.batches()):
            for name, own in folders.items():
                np.save(own / f"{i:06}.npy", rows[name])
        return folders


def _mixed(
    parts: list[dict[str, FloatArray]], random_state: np.random.RandomState
) -> dict[str, FloatArray]:
    names = [*parts[0]]
    order = random_state.permutation(sum(len(part[names[0]]) for part in parts))
    return {name: np.concatenate([part[name] for part in parts])[order] for name in names}
