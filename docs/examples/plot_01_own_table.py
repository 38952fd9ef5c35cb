"""
The dimensions of a table
=========================

A table has thirty columns. In how many directions do its rows vary, and do the classes differ? This
example is the shortest way from a data frame to a picture of the answer.
"""

from matplotlib import pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvaeense import IntrinsicDimensionEstimator
from skvaeense.inspection import ActiveDimensionDisplay

table = load_breast_cancer(as_frame=True)
X, y = table.data, table.target.map({0: "malignant", 1: "benign"})

pipeline = make_pipeline(StandardScaler(), IntrinsicDimensionEstimator(random_state=0)).fit(X)
ActiveDimensionDisplay.from_estimator(pipeline, X, y)
plt.show()

# %%
# ``X`` is a ``pandas.DataFrame`` with named columns. For your own table, replace the two lines
# after the imports with ``X = pandas.read_csv(...)``. ``y`` is the class of each row. Without ``y``
# there is one class. These columns have different units, so a ``StandardScaler`` comes first.
print(X.iloc[:3, :4])

# %%
# The thirty columns are means, errors and extremes of ten measurements, so most columns are
# redundant. Benign and malignant tumours both vary in about ten directions. The mean over all rows
# has a standard error of about 0.4:
estimator = pipeline[-1]
print(f"{estimator.dimension_:.1f} ± {estimator.dimension_std_:.1f}")

# sphinx_gallery_start_ignore
means = {name: estimator.dimension_pw_[y == name].mean() for name in ("benign", "malignant")}
assert abs(means["benign"] - means["malignant"]) < estimator.dimension_std_
assert 9 < estimator.dimension_ < 11
assert 0.2 < estimator.dimension_std_ < 0.6
# sphinx_gallery_end_ignore
