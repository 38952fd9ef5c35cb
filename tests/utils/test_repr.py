import inspect

import numpy as np
import pytest
from helpers import fit_unwarned, quick_sae

from skvaeense import IntrinsicDimensionEstimator, SparseAutoencoder, VAEenseTransformer
from skvaeense.nets.networks import MLP
from skvaeense.nets.penalties import Penalty, TopK
from skvaeense.nets.thresholds import FixedVariance

X = np.random.default_rng(0).standard_normal((40, 4))
ESTIMATORS = [
    VAEenseTransformer,
    SparseAutoencoder,
    IntrinsicDimensionEstimator,
]
PARTS = [(MLP, "nets.networks.MLP"), (TopK, "nets.penalties.TopK")]
PARTS += [(FixedVariance, "nets.thresholds.FixedVariance")]


@pytest.mark.parametrize("base", ["https://docs.example", "https://docs.example/", ".."])
def test_links_lead_to_the_page_of_the_class(base, monkeypatch):
    monkeypatch.setenv("SKVAEENSE_DOCS_URL", base)
    root = base.rstrip("/")
    for cls, page in [*((cls, cls.__name__) for cls in ESTIMATORS), *PARTS]:
        link = f"{root}/generated/skvaeense.{page}.html"
        assert cls()._get_doc_link() == link
        assert f'href="{link}"' in cls()._repr_html_()


@pytest.mark.parametrize("value", [None, ""])
def test_without_an_address_there_is_no_link(value, monkeypatch):
    monkeypatch.delenv("SKVAEENSE_DOCS_URL", raising=False)
    if value is not None:
        monkeypatch.setenv("SKVAEENSE_DOCS_URL", value)
    html = VAEenseTransformer()._repr_html_()
    assert VAEenseTransformer()._get_doc_link() == ""
    assert "generated/" not in html


def test_penalties_of_others_have_no_page_here(monkeypatch):
    monkeypatch.setenv("SKVAEENSE_DOCS_URL", "..")

    class Own(Penalty):
        def build(self, n_components, *, unit, positive):
            raise NotImplementedError

        def cost(self, coding):
            raise NotImplementedError

    assert Own()._get_doc_link() == ""


def test_html_computes_nothing(subtests):
    """Creating the HTML reads every attribute whose name ends with an underscore."""
    for cls in ESTIMATORS:
        with subtests.test(cls=cls):
            names = [name for name, value in inspect.getmembers(cls) if isinstance(value, property)]
            shown = {name for name in names if name.endswith("_") and not name.startswith("_")}
            # They put laws together or pick losses of a history, and compute nothing.
            assert shown <= {"coder_", "loss_curve_"}


def test_html_of_a_fitted_estimator_has_its_history():
    html = fit_unwarned(quick_sae(), X)._repr_html_()
    assert "history_" in html
    assert "&lt;History of" in html


def test_repr_shows_arguments():
    assert repr(SparseAutoencoder(penalty=TopK(3))) == "SparseAutoencoder(penalty=TopK(k=3))"
