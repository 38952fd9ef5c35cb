"""Write a file for each estimator, with the outputs of its methods. Later versions must load them.

Run it from the root of the repository, once for each release: `python tests/data/make_files.py`.
Existing files of a release are never overwritten.
"""

import sys
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from helpers import outputs

import skvaeense
from skvaeense import IntrinsicDimensionEstimator, SparseAutoencoder, VAEenseTransformer, save
from skvaeense.networks import MLP, Linear
from skvaeense.penalties import BatchTopK


def main():
    """Write the files of this version."""
    rng = np.random.default_rng(0)
    X = np.kron(np.eye(2), rng.normal(size=(100, 2))) @ rng.normal(size=(4, 6))
    X = rng.permutation(X + 0.01 * rng.normal(size=X.shape))
    # Samples on a line and on a plane that lie apart.
    flats = rng.permutation(np.r_[X[:, :1] @ X[:1], X[:, :2] @ X[1:3] + 9 * np.eye(6)[0]])
    flats = flats + 0.01 * rng.normal(size=flats.shape)
    vae = VAEenseTransformer(5, network=Linear((12,)), n_init=1, max_iter=60, random_state=0)
    estimators = {
        "vaeense": VAEenseTransformer(
            3, network=MLP((6,), encoder_layer_sizes=(6,)), hard=True, random_state=0
        ).partial_fit(X),
        "vaeense_of_flats": VAEenseTransformer(max_iter=5, random_state=0).fit(flats),
        "sparse_autoencoder": SparseAutoencoder(
            8, penalty=BatchTopK(2), random_state=np.random.RandomState(0)
        ).partial_fit(X),
        "intrinsic_dimension": IntrinsicDimensionEstimator(vae, random_state=0).fit(X),
    }
    for name, estimator in estimators.items():
        path = Path(__file__).with_name(f"{name}-{skvaeense.__version__}.safetensors")
        save(estimator, path)
        rows = flats[:10] if name == "vaeense_of_flats" else X[:10]
        np.savez(path.with_suffix(".npz"), X=rows, **outputs(estimator, rows))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
