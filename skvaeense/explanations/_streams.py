"""Laws that learn from one batch of rows after the other, by sums over rows."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch

from skvaeense.explanations._em import EM, GateEM, TargetEM
from skvaeense.explanations._explain import Explained, Wanted, as_tensor
from skvaeense.explanations._flat_law import FlatLaw
from skvaeense.explanations._gate_law import GateLaw
from skvaeense.explanations._locations import pooled
from skvaeense.explanations._prices import PriceTable
from skvaeense.explanations._sums import Sums, expected_sums
from skvaeense.mixture._fit import FlatPart
from skvaeense.mixture._rows import Prepared, Units
from skvaeense.mixture._stream import MixtureStream
from skvaeense.utils._linalg import svd
from skvaeense.utils._records import Record
from skvaeense.utils._torch import make_generator
from skvaeense.utils._typing import DoubleArray


@dataclass(frozen=True, eq=False)
class GateStream(Record):
    """Gates that have learned from batches, and the state of their fit.

    Attributes
    ----------
    law : GateLaw
        The gates.

    past : dict of str to torch.Tensor
        `Sums` over the rows so far, which fade; with a target their means.

    length, share : float or None
        Mean number of open gates, or share of the variance that codes leave.
    """

    law: GateLaw
    past: dict[str, torch.Tensor]
    length: float | None
    share: float | None

    @classmethod
    def of(cls, law: GateLaw, wanted: Wanted, n_rows: float) -> Self:
        """Return the stream that goes on from fitted gates.

        The sums over rows so far are those that the gates expect.
        """
        past = expected_sums(law.gates, 1.0 if wanted.has_target else n_rows)
        return cls(law, past._asdict(), wanted.length, wanted.left)

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.law.n_features

    def check(self) -> None:
        """Raise an error unless the sums, which can come from a file, match the gates."""
        like = expected_sums(self.law.gates, 1.0)._asdict()
        are_tensors = all(isinstance(sums, torch.Tensor) for sums in self.past.values())
        if not are_tensors or self.past.keys() != like.keys():
            raise ValueError(f"the sums must be tensors: {', '.join(like)}")
        for name, sums in like.items():
            if self.past[name].shape != sums.shape or not self.past[name].isfinite().all():
                raise ValueError(f"{name} must be finite and of shape {tuple(sums.shape)}")
        if not self.past["n"] > 0:
            raise ValueError("there must be rows")

    def absorb(self, rows: Prepared) -> Self:
        """Return the stream after one more batch, which is learned from a subset at a time."""
        law = self.law
        if law.points is not None:
            # Gates of several locations stay as they are.
            return self
        x = as_tensor((rows.x * rows.scale + rows.center - law.center) / law.scale, "cpu")
        x = x.to(law.gates.weight)
        weights = torch.from_numpy(rows.counts).to(x)
        em = self._em(float(weights.sum()))
        order = torch.from_numpy(rows.order.copy()).to(x.device)
        for some in order.tensor_split(max(len(x) // em.subset_rows(), 1)):
            em.absorb(x[some], weights[some])
        past: Any = em.past
        # All rows of a batch were learned, so none is new.
        target = {"length": self.length, "share": self.share}
        table = PriceTable.of(em.gates, x[order], weights[order], 0, **target)
        gates = em.gates._replace(price=em.gates.price.new_tensor(table.prices[0]))
        return replace(self, law=replace(law, gates=gates, table=table), past=past._asdict())

    def _em(self, n_samples: float) -> EM:
        """Return the fit that goes on after all steps."""
        gates, length, share = self.law.gates, self.length, self.share
        generator = make_generator(0, gates.weight.device)
        em: EM = GateEM(gates, n_samples, generator=generator)
        if length is not None or share is not None:
            em = TargetEM(gates, n_samples, generator=generator, length=length, share=share)
        em.n_done, em.past = em.n_steps, Sums(**self.past)
        return em


@dataclass(frozen=True, eq=False)
class CodeStream(Record):
    """The laws of codes and of the density, which learn from batches.

    Attributes
    ----------
    mixture : MixtureStream
        The mixture.

    coder : FlatLaw or GateStream
        What codes the samples.
    """

    mixture: MixtureStream
    coder: FlatLaw | GateStream

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.mixture.n_features

    def check(self) -> None:
        """Raise an error unless both laws are of the same features."""
        if self.coder.n_features != self.n_features:
            raise ValueError("the laws must have the same number of features")

    @classmethod
    def of(cls, before: Explained, units: Units, wanted: Wanted) -> Self:
        """Return the stream that goes on from laws."""
        coder = before.coder
        if isinstance(coder, GateLaw):
            coder = GateStream.of(coder, wanted.for_codes(before.name), before.n_rows)
        return cls(MixtureStream.of(before.mixture, before.n_rows, units), coder)

    def absorb(self, rows: Prepared, before: Any) -> tuple[Self, Explained]:
        """Return the stream after one more batch, and its laws.

        Parameters
        ----------
        rows : Prepared
            The rows of the batch.

        before : Explained
            The laws before.

        Returns
        -------
        stream : CodeStream
            The stream.

        laws : Explained
            The laws.
        """
        mixture = self.mixture.absorb(rows)
        coder: Any = self.coder
        if isinstance(coder, GateStream):
            coder = coder.absorb(rows)
            law: Any = coder.law
        else:
            law = coder = _moved(coder, mixture, before.name)
        density = mixture.law()
        is_gates = isinstance(before.density, GateLaw)
        found = before._replace(coder=law, mixture=density, density=law if is_gates else density)
        return replace(self, mixture=mixture, coder=coder), found


def _moved(law: FlatLaw, mixture: MixtureStream, name: str) -> FlatLaw:
    """Return flat parts with the same latents, moved to where the rows are now."""
    if name == "normal":
        # One part along principal directions of all rows, whatever the number of components.
        whole = pooled(mixture.parts())
        part = _along(whole, law.components[law.parts == 0])
        if part is None:
            return law
        zero = np.zeros(1, dtype=int)
        return FlatLaw.of([part], [part], zero, part.mean[None], zero, law.n_components)
    pieces = mixture.parts()
    owners, parts = np.zeros(law.groups.max() + 1, dtype=int), []
    for k in range(len(owners)):
        own = law.parts == k
        part = _along(
            pooled([pieces[c] for c in np.flatnonzero(law.groups == k)]), law.components[own]
        )
        if part is None:
            return law
        parts.append(part)
        owners[k] = law.owners[own][0] if own.any() else 0
    return FlatLaw.of(pieces, parts, law.groups, law.points, owners, law.n_components)


def _along(part: FlatPart, columns: DoubleArray) -> FlatPart | None:
    """Return a part with the directions in its flat that are nearest to columns.

    So latents keep their meaning: principal directions of about the same variance would turn with
    each batch. The result is None if the part has fewer directions.
    """
    rank = len(columns)
    if part.rank < rank:
        return None
    # The orthogonal Procrustes problem: Schoenemann, "A generalized solution of the orthogonal
    # Procrustes problem", 1966.
    unit = columns / np.linalg.norm(columns, axis=1, keepdims=True)
    left, _, right = svd(unit @ part.basis[:rank].T)
    turn = left @ right
    variances = np.square(turn) @ part.variances[:rank]
    return part._replace(basis=turn @ part.basis[:rank], variances=variances)
