"""Codes and costs of every penalty, for pre-activations of any size."""

import torch
from helpers import coding_of
from hypothesis import given
from hypothesis import strategies as st
from strategies import SEEDS

from skvaeense.nets.penalties import L1, BatchTopK, Gated, JumpReLU, Log, Matryoshka, TopK

PENALTIES = st.sampled_from(
    [L1(), Log(), Gated(), JumpReLU(), JumpReLU(loss="tanh"), TopK(2), BatchTopK(2), Matryoshka(2)]
)
UNITS = st.integers(-20, 20).map(lambda exponent: 2.0**exponent)
POSITIVE = st.booleans()


@st.composite
def preactivations(draw):
    """Return pre-activations: few or many, with ties and zeros, in any layout."""
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 8))
    generator = torch.Generator().manual_seed(draw(SEEDS))
    h = torch.randn(shape, generator=generator, dtype=torch.float64)
    if draw(st.booleans()):
        h = h.round()
    return h.T.contiguous().T if draw(st.booleans()) else h


def coded(penalty, h, unit=1.0, positive=True, training=True):
    positive = positive or isinstance(penalty, Gated)
    activation = penalty.build(h.shape[1], unit=unit, positive=positive).double()
    return coding_of(activation.train(training), unit * h, unit)


@given(penalty=PENALTIES, h=preactivations(), unit=UNITS, positive=POSITIVE)
def test_codes_and_costs_are_finite(penalty, h, unit, positive):
    coding = coded(penalty, h, unit, positive)
    cost = penalty.cost(coding)
    assert coding.code.shape == h.shape
    assert coding.code.isfinite().all()
    assert not positive or (coding.code >= 0).all()
    assert cost.shape == (len(h),)
    assert cost.isfinite().all()
    assert (cost >= 0).all()
    silent = ~coding.code.any(dim=1)
    assert isinstance(penalty, Gated) or (cost[silent] == 0).all()


@given(penalty=PENALTIES, h=preactivations(), unit=UNITS, positive=POSITIVE)
def test_codes_scale_with_the_unit_and_costs_do_not(penalty, h, unit, positive):
    one, other = coded(penalty, h, 1.0, positive), coded(penalty, h, unit, positive)
    # Thresholds are stored in single precision.
    torch.testing.assert_close(other.code / unit, one.code, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(penalty.cost(other), penalty.cost(one), rtol=1e-5, atol=1e-6)


@given(k=st.integers(1, 9), h=preactivations(), positive=POSITIVE)
def test_top_k_keeps_no_more(k, h, positive):
    code = coded(TopK(k), h, positive=positive).code
    size = h.relu() if positive else h.abs()
    assert (code != 0).sum(dim=1).le(k).all()
    kept = size.topk(min(k, h.shape[1]), dim=1).values.sum(dim=1)
    torch.testing.assert_close(code.abs().sum(dim=1), kept)


@given(k=st.integers(1, 9), h=preactivations(), kind=st.sampled_from([BatchTopK, Matryoshka]))
def test_batch_top_k_keeps_no_more_but_for_ties(k, h, kind):
    size = h.relu()
    code = coded(kind(k), h).code
    n_kept = min(k, h.shape[1]) * len(h)
    least = size.flatten().topk(n_kept).values.min()
    assert ((code != 0) == ((size >= least) & (size > 0))).all()


@given(penalty=PENALTIES, h=preactivations(), positive=POSITIVE, seed=SEEDS)
def test_rows_are_coded_by_themselves_after_training(penalty, h, positive, seed):
    positive = positive or isinstance(penalty, Gated)
    activation = penalty.build(h.shape[1], unit=1.0, positive=positive).double()
    activation(h)
    if hasattr(activation, "calibrate"):
        activation.calibrate(h)
    activation.eval()
    order = torch.randperm(len(h), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(activation(h[order]), activation(h)[order])
    assert torch.equal(torch.cat([activation(row) for row in h.split(1)]), activation(h))


@given(n=st.integers(1, 40), n_prefixes=st.integers(1, 12))
def test_prefixes_rise(n, n_prefixes):
    sizes = Matryoshka(n_prefixes=n_prefixes).prefixes(n)
    assert sizes == sorted(set(sizes))
    assert all(0 < size < n for size in sizes)
    assert len(sizes) < n_prefixes
