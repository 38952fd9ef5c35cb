"""Cross-validated log-densities of several estimators, and their paired differences."""

import warnings
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import sem
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import KFold, check_cv
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler
from sklearn.utils import Bunch, check_random_state, get_tags
from sklearn.utils.parallel import Parallel, delayed

from skvaeense._sparse_autoencoder import SparseAutoencoder
from skvaeense.inspection import _displays
from skvaeense.utils._rows import find_discrete, warn_of_discrete
from skvaeense.utils._typing import Auto, RandomState
from skvaeense.utils._validation import check_array, last_step

# Affine steps, whose log-determinants are known.
SCALERS = MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler


def compare_scores(
    estimators: _displays.Estimators,
    X: ArrayLike,
    *,
    cv: Any = 5,
    reference: str | None = None,
    dequantize: Auto | ArrayLike | None = "auto",
    noise_floor: float = 1e-3,
    n_jobs: int | None = None,
    random_state: RandomState = None,
) -> Bunch:
    """Compare the cross-validated log-densities of estimators, in nats per sample.

    All estimators are fitted and scored on the same folds of the same samples, so the difference
    of two scores is known more precisely than either score. Noise is added to the samples before
    anything is fitted, so that no log-density is unbounded.

    Parameters
    ----------
    estimators : dict of estimators by name, or list of estimators
        Each estimator is cloned, and must have `score_samples`, or otherwise `score`, that returns
        log-densities in nats, as PCA, FactorAnalysis, GaussianMixture, KernelDensity and
        VAEenseTransformer do. A search, such as GridSearchCV, chooses its parameters in the
        training rows of each fold. In a Pipeline the density can follow StandardScaler,
        MinMaxScaler, MaxAbsScaler, RobustScaler, or PCA with all components.
        Their log-determinants are added to the scores, which are then in units of X. In a list,
        estimators are named by their class.

    X : array-like of shape (n_samples, n_features)
        Samples.

    cv : int, cross-validation generator or iterable, default=5
        A number of folds, for which the rows are shuffled, since the rows of a table are often
        sorted; or a splitter; or pairs of training and held-out rows, such as
        ``list(StratifiedKFold().split(X, y))``.

    reference : str or None, default=None
        Name of the estimator that the others are compared with; None means the one with the highest
        mean.

    dequantize : "auto", None, float or array-like of shape (n_features,), default="auto"
        Width, in units of X, of the uniform noise that is added to each column: the step between
        the values of the column, or 0 if it is continuous. ``"auto"`` is 1 for columns of whole
        numbers and 0 for all others; None is 0 for all columns.

    noise_floor : float, default=1e-3
        Standard deviation of the Gaussian noise that is added to each column, as a fraction of the
        standard deviation of the column. With more noise, fine details count less; 0 adds none.

    n_jobs : int or None, default=None
        Number of fits at a time; None means 1, and -1 all processors.

    random_state : int, RandomState instance or None, default=None
        Seed of the noise and of the shuffled folds. The estimators have their own seeds.

    Returns
    -------
    result : :class:`~sklearn.utils.Bunch`
        With these attributes, in the order of the estimators:

        names : list of str
            The names of the estimators.
        mean : ndarray of shape (n_estimators,)
            Mean log-density of the held-out samples, in nats.
        std_error : ndarray of shape (n_estimators,)
            Standard error of `mean`, over samples.
        fold_scores : ndarray of shape (n_estimators, n_folds)
            Mean log-density of the held-out samples of each fold.
        sample_scores : ndarray of shape (n_estimators, n_samples)
            Log-density of each sample when it was held out: the mean if it was held out in several
            folds, and NaN if in none.
        reference : str
            The name of the estimator that the others are compared with.
        difference : ndarray of shape (n_estimators,)
            Mean of the paired differences: the score of a sample minus its score by `reference`.
        difference_std_error : ndarray of shape (n_estimators,)
            Standard error of `difference`, over samples.
        dequantized : list of str
            Columns with added uniform noise.

    Raises
    ------
    TypeError
        If an estimator has no log-density, or if the log-determinant of a step of a Pipeline is not
        known.

    ValueError
        If names, `reference`, `dequantize` or `noise_floor` are invalid, if a step of a Pipeline is
        not invertible, or if a score is NaN or infinity.

    Warns
    -----
    UserWarning
        If one value fills 10 % of the rows or more in a column without uniform noise.

    See Also
    --------
    ScoreComparisonDisplay : Draw the comparison.
    sklearn.model_selection.cross_val_score : Scores of one estimator, without noise.

    Notes
    -----
    **Standard errors.** Over samples, the standard error is ``std(d_i) / sqrt(n)``, with d_i the
    difference for sample i [1]_. It assumes independent samples, and tells how much another set of
    held-out samples would change the result of the same fitted models. Over K folds it is
    ``sqrt((1 / K + n_test / n_train) var(d_k))``, with d_k the mean difference in fold k, from
    `fold_scores` [2]_. It includes the dependence of the models on their training samples, and
    allows for the training samples that folds share. The first is based on n numbers, and is the
    one to read and to draw. The second is based on K numbers; if it is much larger, one of the
    estimators may be unstable.
    No standard error of cross-validation is unbiased [3]_. A difference of less than two standard
    errors says nothing.

    **Integers.** With noise U(0, 1) the mean log-density is at most the log-probability of the
    integers under the distribution that the density implies for them [4]_.

    **Noise floor.** With Gaussian noise of standard deviation s_j in column j, no density has an
    expected log-density above ``-sum_j log(s_j sqrt(2 pi e))``, the negative entropy of the noise.
    Without noise, a density with a spike on a repeated value has no such bound. In a constant
    column the noise has the standard deviation `noise_floor`.

    References
    ----------
    .. [1] A. Vehtari, A. Gelman and J. Gabry, "Practical Bayesian model evaluation using
       leave-one-out cross-validation and WAIC", Statistics and Computing, 2017.

    .. [2] C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine Learning,
       2003.

    .. [3] Y. Bengio and Y. Grandvalet, "No unbiased estimator of the variance of K-fold
       cross-validation", Journal of Machine Learning Research, 2004.

    .. [4] L. Theis, A. van den Oord and M. Bethge, "A note on the evaluation of generative models",
       International Conference on Learning Representations, 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.decomposition import PCA, FactorAnalysis
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skvaeense.inspection import compare_scores
    >>> estimators = {
    ...     "PCA": PCA(3),
    ...     "scaled PCA": make_pipeline(StandardScaler(), PCA(3)),
    ...     "factors": FactorAnalysis(3),
    ... }
    >>> comparison = compare_scores(estimators, load_wine().data, random_state=0)
    >>> comparison.reference
    'factors'
    >>> comparison.difference.round(1), comparison.difference_std_error.round(1)
    (array([-6.8, -0.1,  0. ]), array([0.4, 0.2, 0. ]))
    """
    named = _displays.named_estimators(estimators)
    names = list(named)
    for name, estimator in named.items():
        _check_density(name, estimator)
    if reference is not None and reference not in named:
        raise ValueError(f"reference must be one of {names}, got {reference!r}.")
    if not isinstance(noise_floor, Real) or not 0 <= noise_floor < np.inf:
        raise ValueError(f"noise_floor must be a float, at least 0; got {noise_floor!r}.")
    columns = [str(c) for c in getattr(X, "columns", [])]
    X = check_array(X, dtype=np.float64, ensure_min_samples=2, input_name="X")
    columns = columns or [f"x{j}" for j in range(X.shape[1])]
    widths = find_widths(X, dequantize)
    warn_of_discrete(
        [columns[j] for j in np.flatnonzero(find_discrete(X) & (widths == 0))],
        "bounded only by noise_floor" if noise_floor else "unbounded, since noise_floor=0",
        "set dequantize to the step between their values",
    )
    rng = check_random_state(random_state)
    X = smooth(X, widths, noise_floor, rng)
    splitter = KFold(cv, shuffle=True, random_state=rng) if isinstance(cv, Integral) else cv
    folds = list(check_cv(splitter).split(X))
    scores = Parallel(n_jobs=n_jobs)(
        delayed(_held_out_scores)(name, estimator, X, train, test)
        for name, estimator in named.items()
        for train, test in folds
    )
    columns = [columns[j] for j in np.flatnonzero(widths)]
    return Bunch(
        names=names, **_summary(names, scores, folds, len(X), reference), dequantized=columns
    )


def _summary(names, scores, folds, n_samples, reference):
    """Return means and standard errors from held-out scores: all folds of an estimator in turn."""
    times, totals = np.zeros(n_samples), np.zeros((len(names), n_samples))
    for k, (_, test) in enumerate(folds):
        times[test] += 1
        totals[:, test] += scores[k :: len(folds)]
    # NaN where a sample was held out in no fold, and where both scores of a difference are -inf, as
    # a density with bounded support gives.
    with np.errstate(invalid="ignore"):
        sample_scores = totals / times
        held_out = sample_scores[:, times > 0]
        mean, std_error = held_out.mean(axis=1), sem(held_out, axis=1)
        base = int(np.argmax(mean)) if reference is None else names.index(reference)
        differences = held_out - held_out[base]
        difference, error = differences.mean(axis=1), sem(differences, axis=1)
    return {
        "mean": mean,
        "std_error": std_error,
        "fold_scores": np.reshape([part.mean() for part in scores], (len(names), len(folds))),
        "sample_scores": sample_scores,
        "reference": names[base],
        "difference": difference,
        "difference_std_error": error,
    }


def _held_out_scores(name, estimator, X, train, test):
    """Return the log-densities of held-out rows under a clone that is fitted to the others."""
    scores = log_density(clone(estimator).fit(X[train]), X[test]).astype(np.float64)
    if not (scores < np.inf).all():
        raise ValueError(f"{name} gave a held-out sample a score that is NaN or infinite.")
    return scores


def _check_density(name, estimator):
    """Raise an error, before anything is fitted, unless `log_density` can score the estimator."""
    *steps, density = _steps(estimator)
    for step in steps:
        if not isinstance(step, (PCA, *SCALERS)):
            raise TypeError(
                f"The step {step!r} of {name} has no known log-determinant, so scores after this "
                "step are not in units of X. Steps before a density must be instances of PCA, "
                f"{', '.join(scaler.__name__ for scaler in SCALERS)}."
            )
        if getattr(step, "clip", False):
            raise ValueError(
                f"{step!r} maps different samples to the same values, so there is no density. Set "
                "clip=False."
            )
    has_scores = hasattr(density, "score_samples") or hasattr(density, "score")
    is_other = get_tags(density).estimator_type not in (None, "density_estimator")
    if is_other or not has_scores or isinstance(density, SparseAutoencoder):
        raise TypeError(
            f"The scores of {name} are not log-densities, because {type(density).__name__} has no "
            "density. Give a density estimator such as PCA, GaussianMixture or VAEenseTransformer."
        )


def _steps(estimator):
    """Return the steps of an estimator, also in searches and nested pipelines; the density last."""
    if isinstance(estimator, Pipeline):
        return [each for _, step in estimator.steps for each in _steps(step)]
    if hasattr(estimator, "refit") and hasattr(estimator, "estimator"):  # a search
        if not estimator.refit:
            raise ValueError(f"{type(estimator).__name__} must have refit=True to be compared.")
        return _steps(estimator.estimator)
    return [] if estimator in (None, "passthrough") else [estimator]


def log_density(estimator, X):
    """Return the log-density of each sample in nats, in the units of X.

    After affine steps ``u = t(x)`` of a pipeline, it is ``log p(u) + log |det dt/dx|``.
    """
    density, seen = last_step(estimator, X)
    # The steps map moves along the axes, each about as long as the values, to the rows of a matrix.
    # Its determinant is a quotient of volumes.
    moves = np.where(X[0] == 0, 1.0, np.abs(X[0]))
    images = np.asarray(last_step(estimator, X[:1] + np.vstack([0 * moves, np.diag(moves)]))[1])
    if images.shape[1] < X.shape[1]:
        raise ValueError(
            f"{estimator!r} keeps {images.shape[1]} of {X.shape[1]} dimensions, so scores after it "
            "are not log-densities of X. Keep all dimensions, or use PCA itself as the density."
        )
    log_det = np.linalg.slogdet(images[1:] - images[0])[1] - np.log(moves).sum()
    if hasattr(density, "score_samples"):
        return log_det + density.score_samples(seen)
    # `score` is a mean in some estimators and a sum in others. For one row they are equal.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Only one sample available")
        return log_det + np.array([density.score(seen[i : i + 1]) for i in range(len(X))])


def find_widths(X, dequantize):
    """Return the width of the uniform noise of each column, in units of X; 0 means none."""
    if isinstance(dequantize, str) and dequantize == "auto":
        return (X == np.round(X)).all(axis=0).astype(float)
    widths = np.asarray(0.0 if dequantize is None else dequantize)
    is_valid = widths.dtype.kind in "iuf" and ((widths >= 0) & (widths < np.inf)).all()
    if widths.shape not in {(), X.shape[1:]} or not is_valid:
        raise ValueError(
            "dequantize must be 'auto', None, one non-negative width, or one for each of the "
            f"{X.shape[1]} features; got {dequantize!r}."
        )
    return np.broadcast_to(widths, X.shape[1:])


def smooth(X, widths, noise_floor, rng):
    """Return X with uniform noise, and Gaussian noise of `noise_floor` standard deviations.

    The standard deviation of a constant column counts as 1.
    """
    X = X + widths * rng.random(X.shape)
    spread = np.where(np.ptp(X, axis=0) > 0, X.std(axis=0), 1.0)
    return X + noise_floor * spread * rng.standard_normal(X.shape)


class ScoreComparisonDisplay(_displays.Display):  # numpydoc ignore=PR02
    """Draw cross-validated log-densities and their differences from a reference.

    Each estimator has a row, the highest mean on top. The dot is its mean, and the broad bar is two
    standard errors of its paired difference from the reference to either side: estimators whose bar
    does not reach the vertical line differ from the reference. The thin line is two standard errors
    of the mean itself. It is wide because samples differ, which affects all estimators alike. Small
    dots are the differences in each fold. The numbers at the right are the difference and its
    standard error.

    Parameters
    ----------
    comparison : Bunch
        Result of `compare_scores`.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.

    figure_ : matplotlib.figure.Figure
        The figure.

    points_ : matplotlib.container.ErrorbarContainer
        Means, and the bars of the paired differences.

    intervals_ : matplotlib.container.ErrorbarContainer
        Thin lines of the means.

    folds_ : matplotlib.collections.PathCollection
        Dots of the folds.

    See Also
    --------
    compare_scores : Compute the comparison.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.decomposition import PCA, FactorAnalysis
    >>> from skvaeense.inspection import ScoreComparisonDisplay, compare_scores
    >>> comparison = compare_scores([PCA(3), FactorAnalysis(3)], load_wine().data, random_state=0)
    >>> ScoreComparisonDisplay(comparison).plot().ax_.get_title()
    'Cross-validated log-density'
    """

    comparison: Bunch

    def plot(self, ax: _displays.OptionalAxes = None) -> Self:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Axes to draw on; None means a new figure.

        Returns
        -------
        ScoreComparisonDisplay
            The display.

        Raises
        ------
        ValueError
            If the mean of the reference is not finite.
        """
        found = self.comparison
        order = np.argsort(-found.mean, kind="stable")
        base = found.names.index(found.reference)
        center, places = found.mean[base], np.arange(len(order))
        if not np.isfinite(center):
            raise ValueError(
                f"The reference {found.reference!r} has the mean score {center}, so differences "
                "from it cannot be drawn. Choose another reference."
            )
        axes = self.use_axes(ax, (7.2, 1.6 + 0.45 * len(order)))
        axes.axvline(center, color=_displays.BLACK, linewidth=0.8, zorder=0)
        thin = {"fmt": "none", "ecolor": _displays.GREY, "elinewidth": 1.5, "capsize": 3}
        mean, error = found.mean[order], found.difference_std_error[order]
        self.intervals_ = axes.errorbar(mean, places, xerr=2 * found.std_error[order], **thin)
        # Beside the bars, so that both can be seen.
        by_fold = center + found.fold_scores[order] - found.fold_scores[base]
        heights = np.repeat(places + 0.25, by_fold.shape[1])
        self.folds_ = axes.scatter(by_fold, heights, s=8, color=_displays.GREY)
        broad = {"fmt": "o", "color": _displays.BLUE, "elinewidth": 5}
        self.points_ = axes.errorbar(
            mean, places, xerr=2 * error, markeredgecolor=_displays.BLACK, **broad
        )
        beside = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 9}
        for place, i in enumerate(order):
            label = f"{found.difference[i]:+.2f} ± {error[place]:.2f}"
            label = "reference" if i == base else label.replace("-", "\N{MINUS SIGN}")
            axes.text(1.01, place, label, **beside)
        axes.set_yticks(places, [found.names[i] for i in order])
        axes.set(
            title="Cross-validated log-density",
            xlabel="Nats per held-out sample (higher is better)",
            ylim=(len(order) - 0.5, -0.5),
        )
        axes.grid(axis="x", alpha=0.3)
        return self
