"""
Which density foresees new samples best?
========================================

PCA, FactorAnalysis, mixtures and the transformer all have log-densities in nats per sample. Here
they are compared on the same held-out samples.
"""

from sklearn.datasets import load_wine
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvaeense import VAEenseTransformer
from skvaeense.inspection import ScoreComparisonDisplay

wine = load_wine(as_frame=True).data


# %%
# Each estimator chooses its own parameters in the training samples of each fold. The scaler changes
# the units, and its log-determinant is added to the scores, which are in units of the table again.
def tuned(density, **grid):
    return make_pipeline(StandardScaler(), GridSearchCV(density, grid))


mixture = GaussianMixture(reg_covar=0.01, random_state=0)
estimators = {
    "PCA": tuned(PCA(), n_components=range(1, 13)),
    "FactorAnalysis": tuned(FactorAnalysis(), n_components=[2, 3]),
    "KernelDensity": tuned(KernelDensity(), bandwidth=[0.3, 0.4, 0.5, 0.6]),
    "GaussianMixture": tuned(mixture, n_components=[1, 2, 3]),
    "VAEense": make_pipeline(StandardScaler(), VAEenseTransformer(n_init=1, random_state=0)),
}

# %%
# The dots are mean scores. Their thin lines overlap, because some wines are harder than others for
# all estimators. This cancels in the difference of two scores of the same wine, which broad bars
# show: where a bar does not reach the vertical line, the difference from PCA is more than two
# standard errors. The small dots are the folds.
display = ScoreComparisonDisplay.from_estimators(estimators, wine, reference="PCA", random_state=0)

# %%
# Two columns are whole numbers, and got noise that is uniform between 0 and 1, so that no estimator
# can gain by spikes on whole numbers.
display.comparison.dequantized

# %%
# :ref:`pca_scores` says what the numbers mean.
