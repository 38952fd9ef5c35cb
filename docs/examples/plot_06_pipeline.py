"""
Codes in a pipeline and a grid search
=====================================

The estimators are scikit-learn's in every respect, so codes feed a classifier, and a grid search
chooses the parameters of both.
"""

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from skvaeense import SparseAutoencoder
from skvaeense.penalties import TopK

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

# %%
# ``MaxAbsScaler`` keeps zeros as they are, so codes stay sparse on the way.
pipeline = make_pipeline(
    SparseAutoencoder(penalty=TopK(), sparse_output=True, max_iter=50, random_state=0),
    MaxAbsScaler(),
    LogisticRegression(max_iter=2000),
)
grid = {
    "sparseautoencoder__n_components": [64, 256],
    "sparseautoencoder__penalty__k": [4, 16],
}
search = GridSearchCV(pipeline, grid, cv=2).fit(X_train, y_train)
search.best_params_

# %%
# Digits that neither training nor search has seen:
display = ConfusionMatrixDisplay.from_estimator(search, X_test, y_test, colorbar=False)
display.ax_.set_title(f"{search.score(X_test, y_test):.1%} right, by codes alone")
