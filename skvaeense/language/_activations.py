"""Activations of a running model, as samples that `fit` takes."""

import copy
import reprlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from safetensors.torch import save_file
from sklearn.utils import check_random_state
from torch import nn

from skvaeense.language import _hooks
from skvaeense.samples._rows import as_array
from skvaeense.samples._sources import LoaderSource
from skvaeense.utils._torch import draw_seed
from skvaeense.utils._typing import FloatArray, IntArray, PathName, RandomState
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
        for a crosscoder, from one pass; a `SparseAutoencoder` then scales each module by itself.

    batches : iterable
        Inputs of the model: tensors, tuples of arguments, or dicts of named arguments. Each pass
        over the iterable must give the same batches in the same order, as a list or a DataLoader
        that does not shuffle.

    skip : sequence of int, default=(0,)
        Positions of each text that are left out; negative ones count from the end. Padding is no
        part of a text. In language models, activations at the first position are far longer than
        others.

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

    source : iterable
        The inputs of the model.

    places : ndarray of int of shape (n_rows, 3)
        Text, position in the text and token id of each row, in the order of a pass. Texts are
        numbered over all batches, padding is no part of a text, and an unknown token is -1.

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
    Besides its epochs, a fit passes over its samples twice: to count them and draw some of them,
    and for their mean and scale. `save` writes them to files in one pass of the model. ``len`` is
    the number of chunks in a pass; before the first pass is over, it runs the model to count them.
    `transform` and `score_samples` return results in the order of a pass.

    Examples
    --------
    >>> import torch
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.language import Activations
    >>> from skvaeense.nets.penalties import TopK
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Embedding(50, 16), torch.nn.Linear(16, 32), torch.nn.ReLU(),
    ... )
    >>> texts = torch.randint(50, (200, 12))
    >>> activations = Activations(model, "1", texts.split(20))
    >>> sae = SparseAutoencoder(40, penalty=TopK(4), max_iter=60, random_state=0).fit(activations)
    >>> sae.n_features_in_
    32

    A transcoder from the output of one module to the output of another:

    >>> target = Activations(model, "2", activations.source)
    >>> sae.fit(Activations(model, "0", activations.source), target).n_features_in_
    16

    The same from files, which one run of the model writes:

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
        for name in self.names:
            _hooks.find_module(model, name)
        # Drawn once, so that every pass starts from the same seed.
        self._seed = draw_seed(check_random_state(random_state))
        self._pass: tuple[int, IntArray, tuple[int, ...]] | None = None
        self._source: LoaderSource | None = None
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
        return self._counted()[0]

    def __iter__(self) -> Iterator[FloatArray]:
        """Yield rows of all features, in the order of the buffer."""
        for rows in self.batches():
            yield np.concatenate([*rows.values()], axis=1)

    @property
    def places(self) -> IntArray:
        """The text, the position in it and the token id of each row, shape (n_rows, 3)."""
        return self._counted()[1]

    @property
    def widths(self) -> tuple[int, ...]:
        """The number of features of each module."""
        return self._counted()[2]

    def as_source(self) -> LoaderSource:
        """Return the rows in the form that estimators read; a first pass counts them."""
        if self._source is None:
            self._source = LoaderSource(self)
        return self._source

    def beside(self, samples: Any) -> LoaderSource:
        """Return rows of samples with these activations as their target, as estimators read them.

        The model runs once for both.

        Parameters
        ----------
        samples : Activations
            The samples, of other modules of the same model, with the same batches and settings.

        Returns
        -------
        LoaderSource
            The rows, with the columns of the samples first.

        Raises
        ------
        TypeError
            If the samples are no Activations.

        ValueError
            If one run of the model cannot give both.
        """
        if not isinstance(samples, Activations):
            raise TypeError(
                "A target y of Activations needs samples X of Activations, got "
                f"{type(samples).__name__}. Write both to files by `save`, or give both as "
                "Activations."
            )
        settings = [
            (id(own.model), id(own.source), own.skip, own.mask, own.buffer_size, own._seed)
            for own in (self, samples)
        ]
        if settings[0] != settings[1] or {*self.names} & {*samples.names}:
            raise ValueError(
                "One run of the model must give both X and y: Activations of different modules of "
                "the same model, with the same batches object, skip, mask, buffer_size and "
                "random_state. Otherwise, write both to files by `save`."
            )
        both = copy.copy(samples)
        both.names = samples.names + self.names
        both._pass = both._source = None
        return both.as_source()

    def _counted(self) -> tuple[int, IntArray, tuple[int, ...]]:
        """Return the number of chunks, the places of rows, and the numbers of features."""
        if self._pass is None:
            for _ in self._chunks():
                pass
        found: Any = self._pass
        return found

    def batches(self) -> Iterator[dict[str, FloatArray]]:
        """Yield chunks of rows of all modules, from one run of the model.

        Yields
        ------
        dict of ndarray of shape (n_rows, n_features)
            Rows by module name, in the same order for all modules: half a buffer each time, and the
            rest of the buffer at the end.
        """
        for rows in self._chunks():
            yield dict(zip(self.names, map(as_array, rows), strict=True))

    def _chunks(self) -> Iterator[list[torch.Tensor]]:
        """Yield chunks of rows of each module, in its precision, and note the places of all."""
        random_state = np.random.RandomState(self._seed)
        waiting: list[list[torch.Tensor]] = []
        places = [torch.empty((0, 3), dtype=torch.int64)]
        n_waiting, n_out = 0, max(1, self.buffer_size // 2)
        widths: tuple[int, ...] = ()
        for rows in self._in_order():
            widths = tuple(own.shape[1] for own in rows[1:])
            waiting.append(rows)
            n_waiting += len(rows[0])
            while n_waiting >= self.buffer_size:
                mixed = _mixed(waiting, random_state)
                waiting = [[own[n_out:] for own in mixed]]
                n_waiting -= n_out
                places.append(mixed[0][:n_out])
                yield [own[:n_out] for own in mixed[1:]]
        if n_waiting:
            last, *mixed = _mixed(waiting, random_state)
            places.append(last)
            yield mixed
        self._pass = len(places) - 1, torch.cat(places).numpy(), widths

    def _in_order(self) -> Iterator[list[torch.Tensor]]:
        """Yield the places of each batch and the rows of each module, before they are shuffled."""
        n_texts = 0
        for batch in self.source:
            found = _hooks.capture(self.model, self.names, batch)
            mask = _hooks.mask_of(self.model, self.mask, *_hooks.as_arguments(batch))
            rows = []
            for value in (found[name] for name in self.names):
                index = _hooks.kept_positions(value, mask, self.skip)
                rows.append(value[index].cpu())
            sizes = dict(zip(self.names, map(len, rows), strict=True))
            if len({*sizes.values()}) > 1:
                raise ValueError(
                    "Modules must give rows for the same positions, but their numbers of rows "
                    f"differ: {sizes}"
                )
            shape = value.shape[:2] if value.ndim == 3 else (len(value), 1)
            text = torch.arange(n_texts, n_texts + shape[0])[:, None].expand(*shape)
            ids = _hooks.token_ids(batch)
            token = ids.cpu() if ids is not None and ids.shape == shape else torch.full(shape, -1)
            places = torch.stack([text, _hooks.text_positions(shape, mask), token], dim=-1)
            n_texts += shape[0]
            yield [places[index.cpu()] if isinstance(index, torch.Tensor) else places[:, 0], *rows]

    def contexts(
        self, rows: ArrayLike, *, n_before: int = 10, n_after: int = 5
    ) -> list[tuple[list[int], int]]:
        """Return the tokens around rows. The model is not run if a pass was made before.

        Parameters
        ----------
        rows : array-like of int of shape (n_rows,)
            Indices of rows, in the order of a pass.

        n_before, n_after : int, default=10 and 5
            Maximum number of tokens of the same text before the row's own token, and after it.

        Returns
        -------
        list of (list of int, int)
            For each row the ids of some tokens, and the place of the row's own token among them.

        Raises
        ------
        ValueError
            If batches have no token ids of shape (n_texts, n_positions).
        """
        places = self.places[np.asarray(rows)]
        wanted, texts, n_texts = set(places[:, 0].tolist()), {}, 0
        for batch in self.source:
            tokens = _hooks.token_ids(batch)
            if tokens is None:
                raise ValueError("The batches have no token ids, so that rows have no context.")
            position = _hooks.text_positions(
                tokens.shape, _hooks.mask_of(self.model, self.mask, *_hooks.as_arguments(batch))
            )
            for i in wanted.intersection(range(n_texts, n_texts + len(tokens))):
                texts[i] = tokens[i - n_texts].cpu()[position[i - n_texts] >= 0].tolist()
            n_texts += len(tokens)
        found = []
        for text, position, _ in places.tolist():
            start = max(position - n_before, 0)
            found.append((texts[text][start : position + n_after + 1], position - start))
        return found

    def described(self, rows: Sequence[int]) -> str:
        """Return the positions of rows in their texts, in words.

        Parameters
        ----------
        rows : sequence of int
            Indices of rows, in the order of a pass.

        Returns
        -------
        str
            The positions, for a message.
        """
        positions = np.unique(self.places[rows][:, 1])
        return f" at position(s) {reprlib.repr(positions.tolist()).strip('[]')} of their texts"

    def save(self, folder: PathName) -> dict[str, Path]:
        """Write the rows to files for `fit`, in one run of the model and in its precision.

        Parameters
        ----------
        folder : str or path-like
            Parent of one folder for each module, with safetensors files, and of ``places.npy``, the
            attribute `places`. The folders of the modules must not exist yet.

        Returns
        -------
        dict of Path
            Folders by module name, which `fit` takes as X or as its target.
        """
        folders = {name: Path(folder) / name.replace(":", ".") for name in self.names}
        for own in folders.values():
            own.mkdir(parents=True)
        for i, rows in enumerate(self._chunks()):
            for own, values in zip(folders.values(), rows, strict=True):
                save_file({"rows": values.contiguous()}, own / f"{i:06}.safetensors")
        np.save(Path(folder) / "places.npy", self.places)
        return folders


def _mixed(
    parts: list[list[torch.Tensor]], random_state: np.random.RandomState
) -> list[torch.Tensor]:
    """Return the joined rows of the places and of each module, in one random order."""
    order = torch.from_numpy(random_state.permutation(sum(len(part[0]) for part in parts)))
    return [torch.cat(own)[order] for own in zip(*parts, strict=True)]
