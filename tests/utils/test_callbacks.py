"""scikit-learn's callbacks in searches and in pipelines, and what a fit shows."""

import itertools
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import PAIRS, Recorder, each_once, with_net
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvaeense import (
    IntrinsicDimensionEstimator,
    SparseAutoencoder,
    VAEenseTransformer,
    _intrinsic_dimension,
)
from skvaeense.datasets import make_linear_subspaces
from skvaeense.mixture import SubspaceMixture
from skvaeense.nets.networks import Linear
from skvaeense.utils import _callbacks

X = np.random.default_rng(0).standard_normal((60, 5))
SMALL = {"max_iter": 2, "random_state": 0}
SEARCHES = [
    (with_net(n_init=1, **SMALL), {"n_components": [2, 3]}),
    (SparseAutoencoder(8, **SMALL), {"target_l0": [1, 2]}),
    (
        IntrinsicDimensionEstimator(with_net(n_init=1, **SMALL)),
        {"autoencoder__n_components": [2, 3]},
    ),
]
quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Log:
    """Record the tasks of one estimator, in order."""

    def __init__(self):
        self.tasks = []
        self.stop = False

    def setup(self, estimator, context):
        self.tasks.append("setup")

    def teardown(self, estimator, context):
        self.tasks.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        name = f"{context.estimator_name}: {context.task_name}"
        self.tasks.append(f"{name} of {context.max_subtasks}" if context.max_subtasks else name)

    def on_fit_task_end(self, estimator, context):
        return self.stop


def _has_no_trace_of_callbacks(estimator):
    return not any("callback" in name for name in vars(estimator))


# --- fit ----------------------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize(
    ("searched", "max_propagation_depth"), each_once(SEARCHES, [1, None]), ids=str
)
def test_progress_bar_of_a_search(searched, max_propagation_depth, capsys):
    estimator, grid = searched
    bar = ProgressBar(max_propagation_depth=max_propagation_depth)
    search = GridSearchCV(estimator, grid, cv=2).set_callbacks(bar).fit(X)
    shown = capsys.readouterr().out
    assert "GridSearchCV - fit" in shown
    # Each of four fits of the search has a bar, and so has the last fit to all samples.
    assert shown.count("candidate-split-evaluation") >= 4
    assert "refit-with-best-params" in shown
    assert _has_no_trace_of_callbacks(search.best_estimator_)
    assert not [t for t in threading.enumerate() if type(t).__name__ == "RichProgressMonitor"]


@quiet
def test_inner_callback_of_a_search_sees_every_epoch():
    recorder = Recorder(X)
    estimator = with_net(2, network=Linear((4,)), n_init=1, **SMALL).set_callbacks(recorder)
    search = GridSearchCV(estimator, {"n_components": [2, 3]}, cv=2).fit(X)
    # Each of five fits has two epochs. The search passes on the same callback object.
    assert len(recorder.scores) == 2 * 5
    assert recorder.tasks == ["setup", "teardown"] * 5
    assert np.isfinite(search.best_score_)


@quiet
def test_inner_progress_bar_belongs_on_the_search():
    estimator = with_net(2, n_init=1, **SMALL).set_callbacks(ProgressBar())
    search = GridSearchCV(estimator, {"n_components": [2]}, cv=2, error_score="raise")
    with pytest.raises(TypeError, match="Register them directly on the meta-estimator"):
        search.fit(X)


@quiet
def test_progress_bar_of_a_pipeline(capsys):
    pipeline = make_pipeline(StandardScaler(), with_net(2, n_init=1, **SMALL))
    pipeline.set_callbacks(ProgressBar()).fit(X)
    assert "VAEenseTransformer - fit" in capsys.readouterr().out


# --- what is shown during a fit -----------------------------------------------------------------


PHASES = [
    (VAEenseTransformer(random_state=0), ["structure", "checks"]),
    (with_net(n_init=1, **SMALL), ["samples", "codes", "checks"]),
    (SparseAutoencoder(8, **SMALL), ["samples", "codes", "checks"]),
    (
        IntrinsicDimensionEstimator(random_state=0),
        ["mixture", "dimension by mixture", "autoencoder", "dimension"],
    ),
    (SubspaceMixture(random_state=0), ["structure"]),
]


@quiet
@pytest.mark.parametrize(("estimator", "phases"), PHASES, ids=lambda value: type(value).__name__)
def test_each_phase_is_named_up_to_100_per_cent(estimator, phases, capsys, monkeypatch):
    # Gates are fitted, however sure neighbours are.
    monkeypatch.setattr(_intrinsic_dimension, "ENOUGH", 2.0)
    log = Log()
    clone(estimator).set_params(verbose=1).set_callbacks(log).fit(PAIRS.train)
    *lines, last = capsys.readouterr().out.splitlines()
    name = type(estimator).__name__
    assert all(line.startswith(f"{name}: ") for line in lines)
    words = [line.removeprefix(f"{name}: ").split(",")[0] for line in lines]
    assert list(dict.fromkeys(word for word in words if word in phases)) == phases
    assert last.startswith(f"{name}: done, 100 %, ")
    # The percentage never falls.
    done = [int(line.split(", ")[1].split()[0]) for line in [*lines, last]]
    assert done == sorted(done)
    assert done[0] == 0
    begun = [task.removeprefix(f"{name}: ").split(" of ")[0] for task in log.tasks]
    assert f"{name}: fit of {len(phases)}" in log.tasks
    assert [task for task in begun if task in phases] == phases


@quiet
def test_verbose_2_shows_every_epoch(capsys):
    SparseAutoencoder(8, max_iter=5, random_state=0, verbose=2).fit(X)
    assert capsys.readouterr().out.count(": codes, ") == 1 + 5


@quiet
def test_verbose_draws_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    SparseAutoencoder(8, random_state=0, verbose=1, max_iter=2).fit(X)
    shown = capsys.readouterr().out
    assert shown.startswith(f"\r[{'-' * 24}] SparseAutoencoder: samples, 0 %")
    *_, last = shown.split("\r")
    assert last.startswith(f"[{'#' * 24}] SparseAutoencoder: done, 100 %")
    assert shown.count("\n") == 1


def test_search_of_structure_reports_often(monkeypatch, capsys):
    """A line for each report shows that none of the slow parts is silent."""
    clock = SimpleNamespace(monotonic=itertools.count(step=2).__next__)
    monkeypatch.setattr(_callbacks, "time", clock)
    rows = make_linear_subspaces(400, dims=(1, 2), n_features=6, noise=0.05, random_state=0)[0]
    VAEenseTransformer(random_state=0, verbose=1).fit(rows)
    assert capsys.readouterr().out.count(": structure, ") > 100


class Fits(Log):
    """Fit another estimator at the end of each task."""

    def on_fit_task_end(self, estimator, context):
        SubspaceMixture(random_state=0).fit(X)
        return False


@quiet
def test_what_a_callback_fits_is_not_a_part_of_the_fit(capsys):
    log = Fits()
    SparseAutoencoder(8, **SMALL, verbose=2).set_callbacks(log).fit(X)
    assert sum(task.endswith(": epoch") for task in log.tasks) == SMALL["max_iter"]
    assert "structure" not in capsys.readouterr().out


@quiet
def test_a_failed_fit_leaves_no_progress(capsys):
    with pytest.raises(ValueError, match="NaN"):
        SparseAutoencoder(8, **SMALL, verbose=1).fit(np.full((5, 2), np.nan))
    capsys.readouterr()
    SparseAutoencoder(8, **SMALL).fit(X)
    assert capsys.readouterr().out == ""
