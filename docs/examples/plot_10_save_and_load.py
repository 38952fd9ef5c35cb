"""
Saving and loading
==================

A fitted estimator is saved to one file, which holds data and no code. The loaded estimator gives
the same codes, bit for bit.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.datasets import load_digits

from skvaeense import SparseAutoencoder, load, save
from skvaeense.inspection import LatentDisplay
from skvaeense.nets.penalties import TopK

X = load_digits().data
sparse = SparseAutoencoder(32, penalty=TopK(6), random_state=0).fit(X)

# %%
# `load` runs no code from the file. So you need not trust the author of the file. With a pickle you
# would have to.
folder = TemporaryDirectory()
path = Path(folder.name) / "digits.safetensors"
save(sparse, path)
loaded = load(path)
print(loaded)
print(np.array_equal(loaded.transform(X), sparse.transform(X)))

# %%
# The loaded dictionary:
display = LatentDisplay.from_estimator(loaded, image_shape=(8, 8))

# %%
# ``load(path, device="cpu")`` loads an estimator on a machine without the device that it was
# trained on. If an estimator uses a class of your own, such as a penalty, name the class to `save`
# and `load`: ``trusted=[MyPenalty]``.
folder.cleanup()

# sphinx_gallery_start_ignore
assert np.array_equal(loaded.transform(X), sparse.transform(X))
assert np.array_equal(loaded.components_, sparse.components_)
# sphinx_gallery_end_ignore
