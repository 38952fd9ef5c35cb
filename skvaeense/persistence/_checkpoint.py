"""Checkpoints: files from which an interrupted training continues."""

import json
import os
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator, clone

import skvaeense
from skvaeense.persistence import _files
from skvaeense.persistence._saving import encoded, read_estimator
from skvaeense.training._trainer import STATE, CheckpointCallback
from skvaeense.utils._files import DRAFT_SUFFIX
from skvaeense.utils._typing import PathName
from skvaeense.utils._validation import NON_NEGATIVE, ReprMixin, check_integer


class Checkpoint(ReprMixin, CheckpointCallback):
    """Keep the state of a fit in a folder, so that the fit can be interrupted at any time.

    Set it as a callback: ``estimator.set_callbacks(Checkpoint("folder"))``. The state of the
    training is then written to the folder from time to time. If the process ends, even by
    ``kill -9``, run the same script again: the same call of `fit` on the same data continues from
    the last state, and gives the result that it would have given without the interruption. A
    completed fit is read, and not repeated.

    It keeps training by gradients: of a `SparseAutoencoder`, and of a `VAEenseTransformer` with a
    `VAEase`. All other fits begin anew.

    Parameters
    ----------
    folder : str or path-like
        Folder of the files, which is created if it does not exist. Any number of estimators and
        searches can share it: names of files hold a digest of the parameters, the samples and the
        version of this package. The digest takes one pass over samples that are not in memory.

    interval : float, default=60.0
        Least time between two states, in seconds. In between no file is touched.

    n_kept : int, default=2
        Number of the newest files of a fit that are kept. Older files are deleted.

    trusted : iterable of classes, default=()
        Classes of your own that the estimator holds, as for `save`.

    Raises
    ------
    ValueError
        If `interval` is not a number, or negative, or `n_kept` less than 1.

    Warns
    -----
    UserWarning
        If a file is damaged or cannot be read; the previous file is then used. If a state cannot be
        written, as on a full disk; training then goes on, and existing files stay.

    See Also
    --------
    load : Read a file as the estimator that results if training ends at its state.

    Notes
    -----
    A state is written to a new file, which gets its name once it is completely on the disk: no file
    ever holds half a state. Callbacks that count epochs, such as a progress bar, start again when a
    fit continues. A fit with ``random_state=None`` also continues with the random numbers that it
    started with; use another folder for another draw.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import Checkpoint, SparseAutoencoder, load
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, max_iter=10, random_state=0)
    >>> with TemporaryDirectory() as folder:
    ...     checkpoint = Checkpoint(folder, interval=0)
    ...     codes = sae.set_callbacks(checkpoint).fit_transform(X)
    ...     newest = load(checkpoint.files()[-1])
    >>> bool((newest.transform(X) == codes).all())
    True
    """

    def __init__(
        self,
        folder: PathName,
        *,
        interval: float = 60.0,
        n_kept: int = 2,
        trusted: Iterable[type] = (),
    ) -> None:
        if not NON_NEGATIVE.is_satisfied_by(interval):
            raise ValueError(f"interval must be a number of seconds, at least 0; got {interval!r}.")
        self.folder = folder
        self.interval = interval
        self.n_kept = check_integer(n_kept, "n_kept", minimum=1)
        self.trusted = tuple(trusted)

    def files(self, name: str = "*") -> list[Path]:
        """Return the files of one fit, or of all fits, from the oldest to the newest.

        Parameters
        ----------
        name : str, default="*"
            Beginning of the names of the files.

        Returns
        -------
        list of Path
            Files that `load` can read.
        """
        # Other files, such as a copy under another name, are left out.
        found = Path(self.folder).glob(f"{name}-{'[0-9]' * 9}.safetensors")
        files = sorted(filter(os.path.isfile, found))
        if len({path.name.rpartition("-")[0] for path in files}) > 1:
            files.sort(key=os.path.getmtime)
        # Of one fit by number, which goes on when the fit continues, since clocks can be set back.
        return files

    def name(self, estimator: BaseEstimator, facts: list[Any]) -> str:
        """Return a name for a fit: the class, and a digest of all that the fit depends on.

        Parameters
        ----------
        estimator : estimator
            The estimator before its fit.

        facts : list
            Values that the fit depends on besides the parameters.

        Returns
        -------
        str
            Beginning of file names.
        """
        quiet = clone(estimator).set_params(verbose=0)
        node, tensors = encoded([quiet, *facts], self.trusted)
        digest = _files.checksum(json.dumps([skvaeense.__version__, node]), tensors)
        return f"{type(estimator).__name__}-{digest[:16]}"

    def latest(self, name: str) -> Any:
        """Return the estimator in the newest undamaged file of a fit.

        Parameters
        ----------
        name : str
            The name of the fit.

        Returns
        -------
        estimator or None
            None if there is no such file.
        """
        files = self.files(name)
        # An unfinished file that is older than a finished one was left behind by a killed process.
        for path in Path(self.folder).glob(f".{name}-*{DRAFT_SUFFIX}") if files else ():
            with suppress(OSError):
                if os.stat(path).st_mtime < os.stat(files[-1]).st_mtime:
                    path.unlink()
        for path in reversed(files):
            try:
                estimator = read_estimator(path, trusted=self.trusted)
                if STATE not in vars(estimator):
                    raise ValueError(f"{path} does not hold the state of a fit")
                return estimator
            except (ValueError, OSError) as error:
                warnings.warn(f"A checkpoint was skipped: {error}", stacklevel=2)
        return None

    def keep(self, name: str, estimator: Any) -> None:
        """Write a new file of a fit, and delete the oldest ones.

        Parameters
        ----------
        name : str
            The name of the fit.

        estimator : estimator
            The estimator as it would be if training ended here, with the state of its training.
        """
        files = self.files(name)
        number = 1 + int(files[-1].stem.rpartition("-")[2]) if files else 1
        path = Path(self.folder) / f"{name}-{number:09d}.safetensors"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _files.write(path, *encoded(estimator, self.trusted))
            for old in files[: max(0, len(files) + 1 - self.n_kept)]:
                old.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(
                "Training continues, but a checkpoint could not be written, or an older one could "
                f"not be deleted: {error}",
                stacklevel=2,
            )
