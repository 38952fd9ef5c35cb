"""Arrays of numpy are accepted if scikit-learn also accepts arrays of other libraries."""

import os
import subprocess
import sys

SCRIPT = """
import numpy as np, sklearn
from skvaeense import IntrinsicDimensionEstimator

sklearn.set_config(array_api_dispatch=True)
X = np.random.default_rng(0).standard_normal((50, 2)) @ np.ones((2, 5))
X = np.vstack([X, X + 20])
estimator = IntrinsicDimensionEstimator(random_state=0).fit(X)
assert np.isfinite(estimator.dimension_)
fitted = estimator.autoencoder_
assert np.isfinite(fitted.score(X)) and fitted.predict(X).shape == (100,)
"""


def test_array_api_dispatch():
    # Scipy reads this variable when it is imported.
    env = os.environ | {"SCIPY_ARRAY_API": "1"}
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
