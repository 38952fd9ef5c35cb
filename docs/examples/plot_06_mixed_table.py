"""
A table of numbers and categories
=================================

Who survived the Titanic? The table of its passengers has numbers, categories and missing values. In
a pipeline, codes of a few numbers take the place of the columns. A grid search compares these codes
with principal components, and with the columns themselves.
"""

from importlib.resources import files

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder, StandardScaler

from skvaeense import VAEenseTransformer

# %%
# scikit-learn's own tests have a copy of the table, so nothing has to be downloaded.
# ``fetch_openml("titanic", version=1)`` gives the same table.
people = ["class", "survived", "name", "sex", "age", "siblings", "parents"]
names = [*people, "ticket", "fare", "cabin"]
folder = files("sklearn.datasets.tests.data.openml.id_40945")
with (folder / "data-v1-dl-16826755.arff.gz").open("rb") as file:
    table = pd.read_csv(
        file, compression="gzip", skiprows=17, names=names, usecols=range(10), na_values="?"
    )
table["title"] = table["name"].str.extract(r", (\w+)")[0]
table["deck"] = table["cabin"].str[0]
numbers, categories = ["age", "siblings", "parents", "fare"], ["class", "sex", "title", "deck"]
table[numbers + categories].isna().mean()

# %%
# Numbers are imputed and scaled. Categories become columns of zeros and ones, and a missing value
# is a category of its own. The step "codes" is empty, PCA, or a transformer with a given mean
# length of codes.
columns = make_column_transformer(
    (make_pipeline(SimpleImputer(), StandardScaler()), numbers),
    (
        make_pipeline(
            SimpleImputer(strategy="constant", fill_value="none"),
            OneHotEncoder(
                min_frequency=10, handle_unknown="infrequent_if_exist", sparse_output=False
            ),
        ),
        categories,
    ),
)
pipeline = Pipeline(
    [
        ("columns", columns),
        ("codes", "passthrough"),
        ("scaler", MaxAbsScaler()),
        ("classifier", LogisticRegression(max_iter=2000)),
    ]
)
vaeense = VAEenseTransformer(positive_code=True, random_state=0)
lengths = [1, 2, 4]
grid = [
    {"codes": ["passthrough"]},
    {"codes": [PCA()], "codes__n_components": lengths},
    {"codes": [vaeense], "codes__target_l0": lengths},
]
X, y = table[numbers + categories].astype({"class": str}), table["survived"]
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
search = GridSearchCV(pipeline, grid, cv=3).fit(X_train, y_train)

# %%
# The picture shows the accuracy in cross-validation, with the standard error over the folds. Codes
# of one or two numbers lose little of the accuracy of all columns; one or two principal components
# lose much.
# Principal components are the same directions for all passengers. A code of two numbers uses two of
# many latents, and the choice of these two gives the classifier more information.
accuracy = search.cv_results_["mean_test_score"]
error = search.cv_results_["std_test_score"] / np.sqrt(2)
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.axhline(accuracy[0], color="black", linewidth=1, label="all columns")
for name, rows in (("PCA", slice(1, 4)), ("VAEense", slice(4, 7))):
    ax.errorbar(lengths, accuracy[rows], error[rows], marker="o", capsize=3, label=name)
ax.set(xlabel="numbers in a code", ylabel="accuracy", xticks=lengths)
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)

# %%
# The best step "codes", and its accuracy on passengers that were not used in the search:
print(search.best_params_["codes"], f"{search.score(X_test, y_test):.1%}")

# sphinx_gallery_start_ignore
assert (accuracy[4:6] > accuracy[1:3] + 0.05).all()
assert (np.abs(accuracy[4:6] - accuracy[0]) < 0.04).all()
assert (accuracy[0] - accuracy[1:3] > 0.1).all()
assert accuracy[4:].max() - accuracy[0] < error[4:].max()
assert search.score(X_test, y_test) > 0.76
# sphinx_gallery_end_ignore

# %%
# This table has few columns, and a linear classifier can use them all. Here codes gain
# nothing. On some data sets of :ref:`codes_for_classifiers` they gain more.
