"""
The dimensions of a table
=========================

A table has thirty columns. In how many directions do its rows really vary, and do the classes
differ in this? Here is the shortest way from a data frame to a picture of the answer.
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
# ``X`` is a ``pandas.DataFrame``, and its columns have names. For a table of your own, replace the
# two lines in the middle by ``X = pandas.read_csv(...)``. ``y`` has the class of each row; without
# it there is one class. Columns have different units here, so a ``StandardScaler`` comes first.
print(X.iloc[:3, :4])

# %%
# The thirty columns are means, errors and extremes of ten measurements, so most of them are
# redundant. Both classes have about the same dimension. The mean of all rows has a
# standard error too:
estimator = pipeline[-1]
print(f"{estimator.dimension_:.1f} ± {estimator.dimension_std_:.1f}")
