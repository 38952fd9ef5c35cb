"""Folders of fitted estimators, on disk and on the Hugging Face Hub."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skvaeense.language._saelens import saelens_files, write_files
from skvaeense.persistence import load, save
from skvaeense.utils._files import optional_import, whole_folder
from skvaeense.utils._typing import PathName

FILE = "estimator.safetensors"
TAGS = ["sparse-autoencoder", "interpretability", "skvaeense"]
# The client of the Hub, the feature that needs it, and the extra that installs it.
HUB = "huggingface_hub", "Access to the Hugging Face Hub", "hub"


def save_pretrained(
    estimator: BaseEstimator, folder: PathName, *, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write a fitted estimator to a folder that this package and, if it can, SAELens reads.

    The folder has ``estimator.safetensors``, as written by `skvaeense.save`, and ``cfg.json`` and
    ``sae_weights.safetensors``, if SAELens has an architecture for the estimator.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator that `skvaeense.save` takes.

    folder : str or path-like
        A new folder. It is written completely or not at all.

    metadata : dict or None, default=None
        Information on the samples for SAELens, such as ``{"model_name": "gpt2-small", "hook_name":
        "blocks.6.hook_resid_pre"}``.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.

    TypeError
        If `skvaeense.save` does not take the estimator.

    FileExistsError
        If the folder already exists.

    See Also
    --------
    from_pretrained : Read the folder.
    push_to_hub : Upload the folder.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.language import from_pretrained, save_pretrained
    >>> from skvaeense.nets.penalties import TopK
    >>> from skvaeense.language import from_pretrained, save_pretrained
    >>> from skvaeense.nets.penalties import TopK
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, penalty=TopK(8), max_iter=10, random_state=0).fit(X)
    >>> with TemporaryDirectory() as parent:
    ...     save_pretrained(sae, f"{parent}/digits")
    ...     again = from_pretrained(f"{parent}/digits")
    >>> bool((again.transform(X) == sae.transform(X)).all())
    True
    """
    check_is_fitted(estimator)
    files: Any = None
    with suppress(TypeError, ValueError):
        files = saelens_files(estimator, metadata)
    with whole_folder(folder) as draft:
        save(estimator, draft / FILE)
        if files is not None:
            write_files(draft, *files)


def from_pretrained(
    name: PathName, *, device: str | None = None, revision: str | None = None
) -> Any:
    """Read an estimator that was written by `save_pretrained` or `push_to_hub`.

    Parameters
    ----------
    name : str or path-like
        A folder or, if there is no folder of this name, a repository of the Hugging Face Hub, as
        "owner/name".

    device : str or None, default=None
        Device of the estimator; None keeps the saved device.

    revision : str or None, default=None
        Branch, tag or commit of the repository.

    Returns
    -------
    estimator
        The estimator, with exactly the same outputs. No code in the files is run.

    Raises
    ------
    ImportError
        If `name` is not a folder, and huggingface_hub is not installed.

    OSError
        If there is no such folder, repository or file.

    ValueError
        If the file is damaged.

    See Also
    --------
    save_pretrained : Write such a folder.
    from_saelens : Read folders of SAELens itself.

    Examples
    --------
    >>> from skvaeense.language import from_pretrained
    >>> from_pretrained("no/such/folder/anywhere")
    Traceback (most recent call last):
        ...
    FileNotFoundError: no/such/folder/anywhere is neither a folder nor a repository "owner/name".
    """
    folder = Path(name)
    if folder.is_dir():
        return load(folder / FILE, device=device)
    if str(name).count("/") != 1:
        raise FileNotFoundError(f'{name} is neither a folder nor a repository "owner/name".')
    path = optional_import(*HUB).hf_hub_download(str(name), FILE, revision=revision)
    return load(path, device=device)


def push_to_hub(
    estimator: BaseEstimator,
    repo_id: str,
    *,
    description: str = "",
    metadata: Mapping[str, Any] | None = None,
    private: bool = False,
) -> str:
    """Upload a fitted estimator to the Hugging Face Hub, with its model card.

    This requires huggingface_hub, ``pip install skvaeense[hub]``, and a login to the Hub.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator that `skvaeense.save` takes.

    repo_id : str
        The repository, as "owner/name". It is created if it does not exist.

    description : str, default=""
        Text of the model card in Markdown: model, layer, samples, measures.

    metadata : dict or None, default=None
        Information on the samples for SAELens.

    private : bool, default=False
        Whether a new repository is private.

    Returns
    -------
    str
        The address of the upload.

    Raises
    ------
    ImportError
        If huggingface_hub is not installed.

    NotFittedError
        If the estimator is not fitted.

    TypeError
        If `skvaeense.save` does not take the estimator.

    See Also
    --------
    from_pretrained : Read the estimator.

    Examples
    --------
    >>> from skvaeense.language import push_to_hub
    >>> push_to_hub(sae, "owner/name")  # doctest: +SKIP
    """
    hub = optional_import(*HUB)
    header = hub.ModelCardData(library_name="skvaeense", tags=TAGS)
    with TemporaryDirectory() as parent:
        folder = Path(parent) / "upload"
        save_pretrained(estimator, folder, metadata=metadata)
        hub.ModelCard(f"---\n{header.to_yaml()}\n---\n\n{description}\n").save(folder / "README.md")
        hub.create_repo(repo_id, private=private, exist_ok=True)
        return str(hub.upload_folder(repo_id=repo_id, folder_path=str(folder)))
