"""What the autoencoders share besides fitting: coding, decoding, scikit-learn's protocols."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.metadata_routing import UNUSED
from sklearn.utils.validation import check_array, check_is_fitted

from skvaeense._evaluation import ModuleEvaluation, joined_chunks, rows_at_a_time
from skvaeense._fitting import FLOATS, AutoencoderFit
from skvaeense._training._sources import StreamSource
from skvaeense.utils._repr import DocLinkMixin
from skvaeense.utils._typing import BoolArray, FloatArray, SparseArray


class BaseAutoencoder(
    AutoencoderFit,
    ModuleEvaluation,
    DocLinkMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Code samples with an autoencoder, and decode them.

    A subclass says what a code is, and which of its latents are active.
    """

    # Where codes are written is no metadata that a pipeline could pass on.
    __metadata_request__transform = {"out": UNUSED}
    __metadata_request__inverse_transform = {"out": UNUSED}

    @abstractmethod
    def _encode(self, module, x):
        """Return the code of centred and scaled samples as the user asked for it."""

    @abstractmethod
    def _active(self, module, x):
        """Return the mask of active latents of centred and scaled samples, as a tensor."""

    # --- coding and decoding ------------------------------------------------------------------

    def transform(self, X: ArrayLike, *, out: Any = None) -> FloatArray | sparse.csr_array:
        """Return the codes of samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples in the units of the training samples; in memory or elsewhere, as for `fit`, but
            not a stream.

        out : array of shape (n_samples, n_components) or None, default=None
            Where the codes are written, some rows at a time: an array in memory, a memory map, or
            an array of zarr or h5py. None makes a new array.

        Returns
        -------
        ndarray or scipy.sparse.csr_array of shape (n_samples, n_components)
            The codes; `out`, if it was given.

        Raises
        ------
        ValueError
            If `out` has another shape or holds no floats, if the codes are to be sparse, or if
            samples are too far from the training samples for their precision.
        """
        if out is not None and self.sparse_output:
            raise ValueError(
                "sparse_output=True makes codes a new sparse array, which out cannot hold; set "
                "hard=True instead, or leave out=None."
            )
        X, module = self._check_for_coding(X)
        codes = self._by_chunks(X, module, lambda x: self._encode(module, x), out=out)
        return sparse.csr_array(codes) if self.sparse_output else codes

    if TYPE_CHECKING:
        # Inherited; there it has no annotations.
        def fit_transform(
            self, X: ArrayLike, y: object = None
        ) -> FloatArray | sparse.csr_array: ...

    def active_dimensions(self, X: ArrayLike) -> BoolArray:
        """Return which latents are active for each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Samples, seen or unseen.

        Returns
        -------
        ndarray of bool, shape (n_samples, n_components)
            True where the latent is active.
        """
        X, module = self._check_for_coding(X)
        return self._by_chunks(X, module, lambda x: self._active(module, x))

    def inverse_transform(self, X: ArrayLike | SparseArray, *, out: Any = None) -> FloatArray:
        """Return the samples that codes stand for.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_components)
            Codes, as `transform` returns them. Set latents to 0 to see what the others hold.

        out : array of shape (n_samples, n_features) or None, default=None
            Where the reconstructions are written, as for `transform`.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Reconstructions in the units of the training samples; `out`, if it was given.
        """
        check_is_fitted(self)
        codes = check_array(X, dtype=FLOATS, accept_sparse="csr")
        if codes.shape[1] != self.n_components_:
            raise ValueError(
                f"X has {codes.shape[1]} columns, but this {type(self).__name__} has "
                f"{self.n_components_} components; give codes as transform returns them."
            )
        module = self._module_for(codes.dtype)
        device = next(module.parameters()).device

        def decode(rows):
            rows = rows.toarray() if hasattr(rows, "toarray") else rows
            decoded = module.decode(torch.tensor(rows, device=device)).cpu().numpy()
            return (decoded * self.scale_ + self.mean_).astype(codes.dtype, copy=False)

        n_rows = rows_at_a_time(self.n_features_in_, self.n_components_)
        with torch.no_grad():
            return joined_chunks(self, decode, codes, n_rows, out)

    def _check_for_coding(self, X: Any) -> tuple[FloatArray, Any]:
        check_is_fitted(self)
        X = self._check_samples(X, reset=False)
        if isinstance(X, StreamSource):
            raise ValueError(
                "X is a stream of batches, whose rows cannot be read by their position; code each "
                "batch by itself."
            )
        return X, self._module_for(X.dtype)

    # --- scikit-learn's protocols -------------------------------------------------------------

    @property
    def _n_features_out(self):
        return self.n_components_

    def __sklearn_is_fitted__(self):
        return hasattr(self, "module_")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.non_deterministic = False
        return tags
