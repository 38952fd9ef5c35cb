"""An encoder that looks several times: unrolled steps of iterative hard thresholding."""

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from skvaeense.explanations._gates import restricted_code
from skvaeense.networks._base import MAX_GRADIENT_NORM, Autoencoder, Network, dictionary_layer
from skvaeense.utils._kept import (
    BatchThreshold,
    KeptCodes,
    KeptEntries,
    KeptOutputs,
    Lengths,
    check_lengths,
)
from skvaeense.utils._linalg import ROUNDING, principal_directions
from skvaeense.utils._typing import Auto
from skvaeense.utils._validation import AT_LEAST_ZERO, POSITIVE, StrOptions


@dataclass(eq=False, repr=False)
class Unrolled(Network):  # numpydoc ignore=PR02
    """Linear decoder, and an encoder that corrects its code in several sweeps.

    One layer decides on each latent alone. If decoder columns overlap, latents then explain the
    same part of a sample twice, or the wrong latent is kept. This encoder uses the decoder to
    compute the residual, and corrects the code: iterative hard thresholding [1]_, unrolled for a
    few sweeps with learned factors [2]_.

    With the columns of the decoder W, scaled to norm 1, in A, and their products with a sample,
    ``c = A' (x - b)``::

        u = g * c + a
        repeated:    e = u where |u| is among the largest, else 0
                     u = e + step * (c - A'A e) + shift

    where g, a, and the step and shift of each sweep have an entry for each latent. In training the
    largest are the ``n_active * n_samples`` largest entries of the whole batch. Afterwards they are
    the entries that reach the threshold of the sweep, which is set on held-out samples. The
    pre-activation of a latent is u divided by the norm of its column.

    Parameters
    ----------
    n_sweeps : int, default=3
        Number of corrections.

    n_active : "auto", float or list of float, default="auto"
        Mean number of entries that are kept in each sweep. "auto" means the `target_l0` of the
        estimator, or the k of its penalty, and a tenth of the latents if the estimator has neither.
        Codes that `transform_l0` shortens keep a share of this number.

    positive : "auto" or bool, default="auto"
        Whether negative entries are dropped. "auto" means the estimator's `positive_code`, and
        False without an estimator.

    n_refinements : int, default=2
        Number of steps towards the least error that codes take once their active latents are known.
        Only for sparse autoencoders, and not in training.

    See Also
    --------
    SingleLayer : One layer each way, which is faster.
    Linear : Hidden layers in the encoder.

    Notes
    -----
    There are few weights besides the dictionary itself, so that the encoder hardly overfits. The
    columns start at the principal directions of the training samples, and further columns start at
    random mixtures of these directions. The more columns overlap, the smaller the first factors and
    steps are: shares of the values that minimise the error of training samples [3]_. With fixed
    values, sweeps of many latents would diverge.

    Refinements are conjugate gradient steps for least squares on the active latents of each sample.
    They change neither the set of active latents nor the effect of a penalty on training. Each step
    takes about as long as a sweep.

    References
    ----------
    .. [1] T. Blumensath and M. E. Davies, "Iterative hard thresholding for compressed sensing",
       Applied and Computational Harmonic Analysis 27, 2009.
    .. [2] K. Gregor and Y. LeCun, "Learning fast approximations of sparse coding", ICML 2010.
    .. [3] T. Blumensath and M. E. Davies, "Normalized iterative hard thresholding: guaranteed
       stability and performance", IEEE Journal of Selected Topics in Signal Processing 4, 2010.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvaeense import SparseAutoencoder
    >>> from skvaeense.penalties import BatchTopK
    >>> X = load_digits().data
    >>> sae = SparseAutoencoder(64, penalty=BatchTopK(6), max_iter=40, random_state=0)
    >>> single = sae.fit(X).score(X)
    >>> sae.set_params(network="unrolled").fit(X).score(X) > single
    True
    """

    alias = "unrolled"

    _parameter_constraints = {
        "n_sweeps": [AT_LEAST_ZERO],
        "n_refinements": [AT_LEAST_ZERO],
        "n_active": [POSITIVE, list, tuple, StrOptions({"auto"})],
        "positive": ["boolean", StrOptions({"auto"})],
    }

    n_sweeps: int = 3
    _: KW_ONLY
    n_active: Auto | Lengths = "auto"
    positive: Auto | bool = "auto"
    n_refinements: int = 2

    def build(
        self, n_features: int, n_components: int, *, n_heads: int, generator: torch.Generator | None
    ) -> nn.Module:
        """Make the module with random weights."""
        if n_heads != 1:
            raise ValueError(
                "Unrolled gives codes without a posterior, so it only works in SparseAutoencoder. "
                "Use network='linear' in a VAEase."
            )
        n_active = 0.1 * n_components if self.n_active == "auto" else self.n_active
        check_lengths("n_active", n_active)
        decoder = dictionary_layer(n_components, n_features, generator)
        return UnrolledAutoencoder(self, decoder, n_active)


class UnrolledAutoencoder(Autoencoder):
    """A linear decoder, and sweeps that use it to encode.

    Parameters
    ----------
    network : Unrolled
        The specification.

    decoder : torch.nn.Linear
        Map from codes to samples.

    n_active : float or sequence of float
        Mean number of entries that are kept of each sample; see `BatchThreshold`.
    """

    # Gradients through the sweeps explode at times.
    max_gradient_norm = MAX_GRADIENT_NORM

    def __init__(self, network: Unrolled, decoder: nn.Linear, n_active: Lengths) -> None:
        super().__init__()
        n_sweeps, n_latents = int(network.n_sweeps), decoder.in_features
        self.positive = network.positive is True
        self.n_refinements = int(network.n_refinements)
        self.n_active = float(np.max(n_active))
        self.decoder = decoder
        # Shares of the values that lower the error most, which `initialize` multiplies by these.
        first_gain, first_step = 0.9, 0.4
        self.gain = nn.Parameter(torch.full((n_latents,), first_gain))
        self.offset = nn.Parameter(torch.zeros(n_latents))
        self.steps = nn.Parameter(torch.full((n_sweeps, n_latents), first_step))
        self.shifts = nn.Parameter(torch.zeros(n_sweeps, n_latents))
        self.thresholds = nn.ModuleList(
            BatchThreshold(n_active, self.positive) for _ in range(n_sweeps)
        )

    def refine(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """Return codes with the same active latents and smaller residuals.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        code : torch.Tensor of shape (n_samples, n_components)
            Their codes, 0 where a latent is not active.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_components)
            The codes. If codes must be positive, entries that would not be positive are unchanged.
        """
        if self.n_refinements == 0:
            return code
        weight = self.decoder.weight
        seen = (x - self.decoder.bias) @ weight
        return restricted_code(
            code, code != 0, seen, weight, self.n_refinements, positive=self.positive
        )

    @torch.no_grad()
    def calibrate(self, x: torch.Tensor) -> None:
        """Set the thresholds of the sweeps, in order, so that samples keep `n_active` entries.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.
        """
        self.encode(x, calibrate=True)

    @torch.no_grad()
    def initialize(self, x: torch.Tensor) -> None:
        """Point the columns of the decoder at the principal directions of samples.

        Further columns are projected on these directions, with weights in proportion to the square
        root of the standard deviation along each direction.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.
        """
        weight, bias = self.decoder.weight, self.decoder.bias
        weight.copy_(principal_columns(weight, x))
        atoms = weight / weight.norm(dim=0)
        seen = (x.to(weight) - bias) @ atoms
        steps = [self.gain, *self.steps]
        set_first_steps(steps, seen, atoms, self.n_active, self.positive)

    def encode(self, x: torch.Tensor, *, calibrate: bool = False) -> tuple[torch.Tensor, ...]:
        """Return the pre-activations, in a tuple with one entry for the only head."""
        weight, bias = self.decoder.weight, self.decoder.bias
        norm = weight.norm(dim=0)
        atoms = weight / norm
        seen = x @ atoms - bias @ atoms
        u = torch.addcmul(self.offset, self.gain, seen)
        # Products of atoms and residuals follow from the overlap of the atoms, unless the overlap
        # has more entries than the atoms. Then the residuals are computed.
        n_features, n_components = atoms.shape
        overlap = atoms.T @ atoms if n_components <= n_features else None
        sweeps: Any = zip(self.thresholds, self.steps, self.shifts, strict=True)
        for threshold, step, shift in sweeps:
            if calibrate:
                threshold.calibrate(u)
            e = u * threshold.mask(u)
            left = seen - (e @ overlap if overlap is not None else e @ atoms.T @ atoms)
            u = e + step * left + shift
        return (u / norm,)

    def kept_codes(self, x: torch.Tensor, keep: Callable[[torch.Tensor], KeptEntries]) -> KeptCodes:
        """Return the pre-activations that `keep` selects.

        Only kept entries are decoded after each sweep, and have gradients. This is the least work
        if there are many latents and few are kept.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, n_features)
            Centred and scaled samples.

        keep : callable
            Function from pre-activations of shape (n_samples, n_components) to the kept entries.

        Returns
        -------
        KeptCodes
            The entries, and their values.
        """
        bias, norm = self.decoder.bias, self.decoder.weight.norm(dim=0)
        atoms = (self.decoder.weight / norm).T.contiguous()
        entries = KeptEntries.of_mask(x.new_zeros((len(x), len(atoms)), dtype=torch.bool))
        values = x.new_zeros(0)
        steps = [self.gain, *self.steps]
        shifts = [self.offset - self.gain * (atoms @ bias), *self.shifts]
        sweeps: Any = zip(steps, shifts, [*self.thresholds, None], strict=True)
        for t, (step, shift, threshold) in enumerate(sweeps):
            left = x - bias - entries.times(values, atoms) if t else x
            last, last_values = entries, values
            with torch.no_grad():
                seen = left @ atoms.T
                u = last.add_to(torch.addcmul(shift, step, seen), last_values)
                entries = keep(u / norm) if threshold is None else threshold.kept(u)
            columns = entries.columns
            change = step[columns] * KeptOutputs.apply(left, atoms, None, seen, entries)
            values = change + shift[columns] + last.carried(last_values, to=entries)

        return KeptCodes(values / norm[columns], entries)

    def answer(self, residual: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """Return the pre-activations of silent latents, given what the other latents leave.

        Gradients reach the weights of these latents alone. Through the sweeps they would also reach
        the latents in use, and move them.

        Parameters
        ----------
        residual : torch.Tensor of shape (n_samples, n_features)
            Residuals of the samples.

        latents : torch.Tensor of shape (n_latents,)
            Indices of the latents, which are active for no sample.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_latents)
            The pre-activations.
        """
        atoms = self.decoder.weight[:, latents]
        norm = atoms.norm(dim=0)
        step, shift = [self.gain, *self.steps][-1], [self.offset, *self.shifts][-1]
        seen = residual.detach() @ (atoms / norm)
        return torch.addcmul(shift[latents], step[latents], seen) / norm


def principal_columns(columns: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return columns of norm 1: the principal directions of samples, then mixtures of them."""
    samples = x.double().cpu().numpy()
    variances, directions = principal_directions(samples - samples.mean(axis=0))
    rank = int((variances > ROUNDING**2 * variances[0]).sum())
    axes = torch.tensor(directions[:rank].copy()).to(columns)
    shares = torch.tensor(variances[:rank].copy()).to(columns) ** 0.25
    rows = (columns.T @ axes.T * shares) @ axes
    rows[:rank] = axes[: len(rows)]
    return F.normalize(rows, dim=1).T


def set_first_steps(
    steps: Iterable[torch.Tensor],
    seen: torch.Tensor,
    atoms: torch.Tensor,
    n_active: float,
    positive: bool,
) -> None:
    """Multiply steps, which are shares, by the steps of normalized hard thresholding.

    A whole step minimises the summed squared error along the gradient of the kept entries, and is 1
    if the error does not depend on it. It is 1 for orthogonal atoms, and small for overlapping
    atoms, since corrections of length 1 would then increase the error with each step.

    Parameters
    ----------
    steps : iterable of torch.Tensor of shape (n_components,)
        Shares of the steps, in order.

    seen : torch.Tensor of shape (n_samples, n_components)
        Products of centred samples and atoms.

    atoms : torch.Tensor of shape (n_features, n_components)
        Columns of norm 1.

    n_active : float
        Mean number of active latents of a sample.

    positive : bool
        Whether codes are positive.
    """
    threshold = BatchThreshold(n_active, positive).eval()

    def kept(u: torch.Tensor) -> torch.Tensor:
        threshold.calibrate(u)
        return u * threshold.mask(u)

    code = torch.zeros_like(seen)
    for t, step in enumerate(steps):
        left = seen - (code @ atoms.T) @ atoms
        gradient = left * (code != 0) if t else kept(seen)
        change = (gradient @ atoms.T).square().sum()
        whole = torch.where(change > 0, gradient.square().sum() / change, 1.0)
        step.mul_(whole)
        code = kept(code + step * left)
