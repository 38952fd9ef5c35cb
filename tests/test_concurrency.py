"""Concurrent threads and processes return the same as alone, and change no global state.

Searches in worker processes are also tested here. Workers take seconds to start, and the tests of
one file share them.

All waits have a time limit, so a deadlock fails the test.
"""

import multiprocessing
import threading

import numpy as np
import pytest
import torch
from helpers import (
    ATOMS,
    SUBSPACES,
    fit_unwarned,
    outputs,
    quick_sae,
    quick_vaeense,
)
from joblib import Parallel, cpu_count, delayed
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from skvaeense import IntrinsicDimensionEstimator, VAEase, VAEenseTransformer
from skvaeense.datasets import make_linear_subspaces
from skvaeense.nets.networks import MLP
from skvaeense.nets.penalties import TopK
from skvaeense.nets.thresholds import FixedVariance
from skvaeense.utils._torch import suited_threads

# After this many seconds a thread or process counts as stuck. Normally it takes a few seconds.
PATIENCE = 180
# scikit-learn's neighbour searches in threads reset the warning filters of the whole process for a
# moment, and warn of it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*utils.parallel.delayed:UserWarning"),
    # After this few epochs much variance is unexplained.
    pytest.mark.filterwarnings("ignore:.* of the variance is unexplained"),
]
N_THREADS = 8

X = make_linear_subspaces(60, n_features=8, random_state=0)[0]
NORMAL = np.random.default_rng(0).standard_normal((60, 5))
UNWARNED = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
VAE = VAEenseTransformer(6, model=VAEase(MLP((16,)), n_init=1, max_iter=4), random_state=0)
ESTIMATORS = {
    "vaeense": VAE,
    "laws": VAEenseTransformer(random_state=0),
    "sae": quick_sae("topk", max_iter=4),
    "dimension": IntrinsicDimensionEstimator(clone(VAE), random_state=0),
}


def in_threads(functions):
    """Call functions concurrently, each in its own thread, and return their results."""
    start, results = threading.Barrier(len(functions)), [None] * len(functions)

    def call(place, function):
        # A thread reads torch's number of threads at its first use, so read it before any thread
        # changes it.
        torch.get_num_threads()
        start.wait(PATIENCE)
        try:
            results[place] = function()
        except BaseException as error:
            results[place] = error

    # Daemon threads that are stuck do not keep the interpreter from ending.
    calls = [(i, function) for i, function in enumerate(functions)]
    threads = [threading.Thread(target=call, args=args, daemon=True) for args in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a thread is stuck"
    for error in [result for result in results if isinstance(result, BaseException)]:
        raise error
    return results


def fitted_arrays(name, seed):
    """Fit an estimator, and return the outputs of its methods for some samples."""
    torch.set_num_threads(1)
    estimator = clone(ESTIMATORS[name]).set_params(random_state=seed)
    return outputs(fit_unwarned(estimator, X), X[:20])


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert_array_equal(found[name], values, err_msg=name)


@pytest.fixture(scope="module", params=ESTIMATORS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def fitted(name):
    return fit_unwarned(clone(ESTIMATORS[name]), X)


@pytest.fixture(scope="module")
def alone(name):
    """Return the outputs of fits with the seeds 0 to 3, one after the other."""
    return [fitted_arrays(name, seed) for seed in range(4)]


def test_one_estimator_answers_many_threads(fitted):
    """Threads have different samples, or all have the same."""
    expected = outputs(fitted, X)
    for found in in_threads([lambda: outputs(fitted, X)] * N_THREADS):
        assert_same(found, expected)
    parts = np.array_split(X, N_THREADS)
    expected = [outputs(fitted, part) for part in parts]
    found = in_threads([lambda part=part: outputs(fitted, part) for part in parts])
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


def test_fits_in_threads_are_those_of_one(name, alone):
    seeds = [0, 1, 2, 3, 3, 2, 1, 0]
    fits = in_threads([lambda seed=seed: fitted_arrays(name, seed) for seed in seeds])
    for seed, found in zip(seeds, fits, strict=True):
        assert_same(found, alone[seed])


@pytest.mark.slow
def test_threads_and_processes_at_once(name, alone):
    def loky():
        fits = Parallel(n_jobs=2, timeout=PATIENCE)(
            delayed(fitted_arrays)(name, seed) for seed in (2, 3)
        )
        return dict(zip((2, 3), fits, strict=True))

    def threads():
        return {seed: fitted_arrays(name, seed) for seed in (0, 3)}

    for fits in in_threads([loky, threads, threads]):
        for seed, arrays in fits.items():
            assert_same(arrays, alone[seed])


def fit_in_forks(results):
    """Put the results of `fitted_arrays` in forked processes into a queue."""
    # The parent process has trained before it is forked.
    fitted_arrays("sae", 2)
    context = multiprocessing.get_context("fork")
    forks = [
        context.Process(target=lambda name=name: results.put((name, fitted_arrays(name, 0))))
        for name in ESTIMATORS
    ]
    for fork in forks:
        fork.start()
    for fork in forks:
        # All forks are killed before their parent is.
        fork.join(PATIENCE / len(forks))
        fork.kill()


@pytest.mark.slow
@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="needs a system that forks"
)
def test_fits_in_forks_are_those_of_one():
    """The parent has no other threads, with which torch may hang in forks."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    process = context.Process(target=fit_in_forks, args=(results,))
    process.start()
    try:
        for name, arrays in [results.get(timeout=PATIENCE) for _ in ESTIMATORS]:
            assert_same(arrays, fitted_arrays(name, 0))
    finally:
        process.join(PATIENCE)
        process.kill()


# --- searches in processes --------------------------------------------------------------------


@UNWARNED
@pytest.mark.slow
def test_grid_search_in_a_pipeline_over_processes():
    """Eight candidates differ in parameters of the estimators and of their parts."""
    X_train, y = SUBSPACES.few, SUBSPACES.train_label[:300]
    pipeline = make_pipeline(
        quick_vaeense(max_iter=10, hard=True, threshold=FixedVariance()), LogisticRegression()
    )
    grid = {
        "vaeensetransformer__n_components": [2, 4],
        "vaeensetransformer__model__network__hidden_layer_sizes": [(8,), (16,)],
        "vaeensetransformer__model__threshold__level": [0.3, 0.6],
    }
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2, error_score="raise").fit(X_train, y)
    assert len(search.cv_results_["params"]) == 8
    fitted = search.best_estimator_[0]
    assert fitted.n_components_ == search.best_params_["vaeensetransformer__n_components"]
    # A score above chance is better than predicting the larger class.
    chance = max(np.mean(SUBSPACES.new_label == label) for label in (1, 2))
    assert search.score(SUBSPACES.new, SUBSPACES.new_label) > chance


@UNWARNED
def test_processes_agree():
    alone, together = (
        cross_val_score(quick_sae(TopK(3)), ATOMS.few, cv=3, n_jobs=n) for n in (1, 2)
    )
    assert np.isfinite(alone).all()
    # Processes have different numbers of threads, and so different orders of sums.
    assert_allclose(together, alone, rtol=1e-3)


@UNWARNED
def test_progress_bar_of_a_search_in_several_processes(capsys):
    model = VAEenseTransformer(model=VAEase(n_init=1, max_iter=2), random_state=0)
    search = GridSearchCV(model, {"n_components": [2, 3]}, cv=2, n_jobs=2)
    search.set_callbacks(ProgressBar()).fit(NORMAL)
    # The output of workers is sent back to this process.
    assert capsys.readouterr().out.count("candidate-split-evaluation") >= 4
    assert not any("callback" in name for name in vars(search.best_estimator_))


@UNWARNED
def test_a_search_in_processes_shares_the_threads():
    def n_threads(estimator, X, y=None):
        import torch

        return torch.get_num_threads()

    model = VAEenseTransformer(2, model=VAEase(n_init=1, max_iter=2), random_state=0)
    search = GridSearchCV(
        model, {"n_components": [2, 3]}, cv=2, scoring=n_threads, n_jobs=2, refit=False
    )
    scores = search.fit(NORMAL).cv_results_["mean_test_score"]
    assert max(scores) <= max(1, cpu_count() // 2)


# --- what is left -----------------------------------------------------------------------------


def random_states():
    """Return the states of all global random generators, as arrays."""
    legacy = np.random.get_state()  # noqa: NPY002
    return legacy[1], np.array(legacy[2:]), torch.get_rng_state().numpy()


def test_the_global_random_states_stay_and_have_no_say(name, fitted, alone):
    np.random.seed(7)  # noqa: NPY002
    torch.manual_seed(7)
    before = random_states()
    for found in in_threads([lambda: fitted_arrays(name, 1)] * 2):
        assert_same(found, alone[1])
    outputs(fitted, X)
    for now, then in zip(random_states(), before, strict=True):
        assert_array_equal(now, then)


@pytest.fixture
def _three_threads():
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("_three_threads")
@pytest.mark.parametrize("n_fits", [1, 4])
@pytest.mark.parametrize("name", ["laws", "sae", "dimension"])
def test_the_number_of_threads_comes_back(name, n_fits):
    def fit():
        before = torch.get_num_threads()
        fit_unwarned(clone(ESTIMATORS[name]), X)
        return before, torch.get_num_threads()

    for before, after in [fit()] if n_fits == 1 else in_threads([fit] * n_fits):
        assert after == before
    assert torch.get_num_threads() == 3
    # New threads start with this number.
    assert in_threads([torch.get_num_threads]) == [3]


@pytest.mark.usefixtures("_three_threads")
def test_threads_that_overlap_give_the_number_back():
    """A thread that starts while another trains sees the reduced number, and ends later."""
    module = torch.nn.Linear(2, 2)
    inside, second, end = threading.Event(), threading.Event(), threading.Event()

    def first_in_first_out():
        with suited_threads(module, 1):
            inside.set()
            second.wait(PATIENCE)
        end.set()

    def last_in_last_out():
        inside.wait(PATIENCE)
        with suited_threads(module, 1):
            second.set()
            end.wait(PATIENCE)

    threads = [
        threading.Thread(target=function, daemon=True)
        for function in (first_in_first_out, last_in_last_out)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert torch.get_num_threads() == 3
    assert in_threads([torch.get_num_threads]) == [3]
