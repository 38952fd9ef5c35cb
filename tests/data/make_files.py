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
from skvaeense import (
    IntrinsicDimensionEstimator,
    SparseAutoencoder,
    VAEase,
    VAEenseTransformer,
    save,
)
from skvaeense.datasets import make_sparse_dictionary
from skvaeense.explanations import GateDictionary
from skvaeense.mixture import SubspaceMixture
from skvaeense.nets.networks import MLP, Linear
from skvaeense.nets.penalties import BatchTopK


def main():
    """Write the files of this version."""
    rng = np.random.default_rng(0)
    X = np.kron(np.eye(2), rng.normal(size=(100, 2))) @ rng.normal(size=(4, 6))
    X = rng.permutation(X + 0.01 * rng.normal(size=X.shape))
    # Samples on a line and on a plane that lie apart.
    flats = rng.permutation(np.r_[X[:, :1] @ X[:1], X[:, :2] @ X[1:3] + 9 * np.eye(6)[0]])
    flats = flats + 0.01 * rng.normal(size=flats.shape)
    atoms, *_ = make_sparse_dictionary(400, n_atoms=8, n_active=2, n_features=6, random_state=0)
    vae = VAEenseTransformer(5, model=VAEase(Linear((12,)), n_init=1, max_iter=60), random_state=0)
    net = VAEase(MLP((6,), encoder_layer_sizes=(6,)))
    # The second call of partial_fit begins sums over batches.
    estimators = {
        "vaeense": (VAEenseTransformer(3, model=net, hard=True, random_state=0).partial_fit(X), X),
        "vaeense_of_flats": (
            VAEenseTransformer(random_state=0).partial_fit(flats).partial_fit(flats),
            flats,
        ),
        "vaeense_of_gates": (
            VAEenseTransformer(target_l0=2, random_state=0).partial_fit(atoms).partial_fit(atoms),
            atoms,
        ),
        "subspace_mixture": (SubspaceMixture(random_state=0).fit(flats), flats),
        "gate_dictionary": (
            GateDictionary(random_state=0).partial_fit(atoms).partial_fit(atoms),
            atoms,
        ),
        "sparse_autoencoder": (
            SparseAutoencoder(
                8, penalty=BatchTopK(2), random_state=np.random.RandomState(0)
            ).partial_fit(X),
            X,
        ),
        "intrinsic_dimension": (IntrinsicDimensionEstimator(vae, random_state=0).fit(X), X),
    }
    for name, (estimator, samples) in estimators.items():
        path = Path(__file__).with_name(f"{name}-{skvaeense.__version__}.safetensors")
        save(estimator, path)
        rows = samples[:10]
        np.savez(path.with_suffix(".npz"), X=rows, **outputs(estimator, rows))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
