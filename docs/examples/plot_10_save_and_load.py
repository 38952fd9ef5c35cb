"""
Saving and loading
==================

A fitted estimator goes into one file, which holds data and no code. What comes back gives the
same codes, bit by bit.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.datasets import load_digits

from skvaeense import SparseAutoencoder, load, save
from skvaeense.inspection import LatentDisplay
from skvaeense.penalties import TopK

X = load_digits().data
sparse = SparseAutoencoder(32, penalty=TopK(6), random_state=0).fit(X)

# %%
# `load` reads files from others too, without running anything in them. Unlike a pickle, they need
# not be trusted.
folder = TemporaryDirectory()
path = Path(folder.name) / "digits.safetensors"
save(sparse, path)
loaded = load(path)
print(loaded)
print(np.array_equal(loaded.transform(X), sparse.transform(X)))

# %%
# The loaded dictionary:
display = LatentDisplay.from_estimator(loaded, image_shape=(8, 8), X=X)

# %%
# On a machine without the device of the training, use ``load(path, device="cpu")``. Classes of your
# own, such as a penalty, are named when saving and loading: ``trusted=[MyPenalty]``.
folder.cleanup()
