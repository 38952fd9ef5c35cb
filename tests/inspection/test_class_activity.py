import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.metrics import mutual_info_score
from sklearn.preprocessing import FunctionTransformer

from skvaeense.inspection import ClassActivityDisplay, SparsityPatternDisplay, class_activity

CODES = np.array(
    [
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 2.0],
        [0.0, 1.0, -1.0, 0.0],
        [3.0, 0.0, 0.0, 1.0],
        [0.0, 0.0, 0.0, 0.0],
    ]
)
Y = np.array(["b", "a", "b", "a", "a"])


def activity_of(codes, y):
    return class_activity(FunctionTransformer(accept_sparse=True), codes, y)


def test_table_by_hand():
    activity = activity_of(CODES, Y)
    assert_array_equal(activity.classes, ["a", "b"])
    assert_array_equal(activity.n_samples, [3, 2])
    assert_allclose(activity.share, [[1 / 3, 0, 0, 2 / 3], [0, 1, 1 / 2, 0]])
    assert_allclose(activity.mean_active, [1, 3 / 2])
    assert_allclose(activity.std_active, [np.sqrt(2 / 3), 1 / 2])


def test_mutual_information_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=300)
    codes = rng.random((300, 20)) < rng.random((4, 20))[y]
    codes[:, 0], codes[:, 1], codes[:, 2] = True, False, y == 2
    information = activity_of(codes, y).mutual_information
    expected = [mutual_info_score(y, column) for column in codes.T]
    assert_allclose(information, expected, atol=1e-12)
    assert_array_equal(information[:2], 0)
    assert (information >= 0).all()


def test_a_latent_of_all_samples_says_nothing(subtests):
    for n_samples in (3, 10, 49):
        with subtests.test(n_samples=n_samples):
            codes = np.ones((n_samples, 1))
            assert activity_of(codes, np.arange(n_samples) % 3).mutual_information == 0


def test_active_is_what_the_estimator_says(subspaces, vaeense, sae):
    X, y = subspaces
    for estimator in (vaeense, sae):
        activity, active = class_activity(estimator, X, y), estimator.active_dimensions(X)
        for i, name in enumerate(["line", "plane"]):
            assert_array_equal(activity.share[i], active[y == name].mean(axis=0))
            assert activity.mean_active[i] == active[y == name].sum(axis=1).mean()


def test_kinds_of_codes(subtests):
    for convert in (sparse.csr_array, sparse.csc_matrix, lambda codes: codes != 0):
        with subtests.test(convert=convert):
            expected, activity = activity_of(CODES, Y), activity_of(convert(CODES), Y)
            for name in expected:
                assert_array_equal(activity[name], expected[name])


def test_bad_classes(subtests):
    for y, message in ((["a"], "inconsistent numbers"), (np.zeros((5, 2)), "1d array")):
        with subtests.test(message=message), pytest.raises(ValueError, match=message):
            activity_of(CODES, y)


def test_columns_stand_in_the_order_of_the_patterns(subspaces, sae):
    X, y = subspaces
    display = ClassActivityDisplay.from_estimator(sae, X, y)
    assert_array_equal(display.latents, SparsityPatternDisplay.from_estimator(sae, X, y).latents)
    activity = class_activity(sae, X, y)
    assert_array_equal(display.share, activity.share[:, display.latents])
    assert_array_equal(display.image_.get_array(), display.share)
    assert display.image_.get_clim() == (0, 1)


def test_rows_and_columns_are_named():
    display = ClassActivityDisplay.from_activity(activity_of(CODES, Y))
    labels = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert labels == ["a (1.0 ± 0.8)", "b (1.5 ± 0.5)"]
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["3", "0", "1", "2"]
    assert display.colorbar_.ax.get_ylabel() == "Share of samples"


def test_unused_latents_are_shown_on_demand():
    activity = activity_of(CODES * [1, 1, 0, 1], Y)
    display = ClassActivityDisplay.from_activity(activity)
    assert_array_equal(display.latents, [3, 0, 1])
    assert "(3 of 4)" in display.ax_.get_xlabel()
    display = ClassActivityDisplay.from_activity(activity, unused=True)
    assert_array_equal(display.latents, [3, 0, 1, 2])
    assert "(4)" in display.ax_.get_xlabel()


def test_nothing_to_draw_is_said():
    activity = activity_of(np.zeros((5, 4)), Y)
    with pytest.raises(ValueError, match="unused=True"):
        ClassActivityDisplay.from_activity(activity)


@pytest.mark.parametrize(("n_classes", "n_components"), [(2, 40), (2, 41), (30, 12)])
def test_labels_do_not_overlap(n_classes, n_components):
    y = np.arange(n_classes * n_components) % n_classes
    codes = np.arange(n_components) == np.arange(len(y))[:, None] // n_classes
    display = ClassActivityDisplay.from_activity(activity_of(codes, y))
    display.figure_.canvas.draw()
    for axis in (display.ax_.xaxis, display.ax_.yaxis):
        boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
        assert not any(a.overlaps(b) for a, b in itertools.pairwise(boxes))
    assert len(display.ax_.get_xticks()) == (n_components if n_components <= 40 else 0)
