"""
Which density predicts new samples best?
========================================

PCA, FactorAnalysis, mixtures and the transformer all have log-densities in nats per sample. This
example compares them on the same held-out samples.
"""

from sklearn.datasets import load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvaeense import VAEenseTransformer
from skvaeense.inspection import ScoreComparisonDisplay, compare_scores

wine = load_wine(as_frame=True).data


# %%
# Each estimator chooses its parameters on the training samples of each fold. The scaler changes the
# units, so the log-determinant of the scaler is added to the scores. All scores are in units of the
# table.
def tuned(density, **grid):
    return make_pipeline(StandardScaler(), GridSearchCV(density, grid))


mixture = GaussianMixture(reg_covar=0.01, random_state=0)
estimators = {
    "PCA": tuned(PCA(), n_components=range(1, 13)),
    "FactorAnalysis": tuned(FactorAnalysis(), n_components=[2, 3]),
    "KernelDensity": tuned(KernelDensity(), bandwidth=[0.3, 0.4, 0.5, 0.6]),
    "GaussianMixture": tuned(mixture, n_components=[1, 2, 3]),
    "VAEense": make_pipeline(StandardScaler(), VAEenseTransformer(random_state=0)),
}

# %%
# The large dots are mean scores, and the small dots are the scores of folds. The thin lines
# overlap, because some wines are harder than others for all estimators. The broad bars show the
# difference from PCA on the same wines, in which this effect cancels. If a broad bar does not reach
# the vertical line, the difference is more than two standard errors. Here VAEense has the highest
# score.
comparison = compare_scores(estimators, wine, reference="PCA", random_state=0)
display = ScoreComparisonDisplay(comparison).plot()

# sphinx_gallery_start_ignore
best = comparison.mean.argmax()
assert comparison.names[best] == "VAEense"
assert comparison.difference[best] > 4 * comparison.difference_std_error[best]
assert len(comparison.dequantized) == 2
# sphinx_gallery_end_ignore

# %%
# Two columns are whole numbers. Uniform noise between 0 and 1 was added to these columns, so that
# no estimator can gain by spikes at whole numbers.
comparison.dequantized

# %%
# :ref:`pca_scores` explains the meaning of the numbers.
