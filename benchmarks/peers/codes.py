"""Codes of a given length by other packages, in a process of their own.

    python -m benchmarks.peers.codes JOB.npz METHOD

The job has rows `train` and `test`, centred and divided by one number so that the mean square of
their entries is 1, and `sizes`: numbers of components, of active latents and of epochs, and the
seed. `codes`, `reconstruction` and, for a linear decoder, `components` are written beside it, in
answer.npz. The last line that is printed has the CPU seconds of the fit and the version of the
package, as JSON.

The packages have their defaults, but for sizes, and for what the methods below say.
"""

import json
import os
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

# K-SVD goes so often through all samples. By default it is 100 times; after these the error of the
# training samples falls by less than a hundredth each time.
KSVD_ITERATIONS = 10


def dictionary_learning(n_components, k, n_epochs, seed):
    """Return scikit-learn's, whose dictionary is learned with a lasso, and used with OMP."""
    from sklearn.decomposition import MiniBatchDictionaryLearning

    return MiniBatchDictionaryLearning(
        n_components,
        fit_algorithm="cd",
        transform_algorithm="omp",
        transform_n_nonzero_coefs=k,
        random_state=seed,
    )


def ksvd(n_components, k, n_epochs, seed):
    """Return dictlearn's approximate K-SVD, compiled before it is timed."""
    from dictlearn import DictionaryLearning

    def make(n_components, k, max_iter):
        return DictionaryLearning(
            n_components, n_nonzero_coefs=k, max_iter=max_iter, random_state=seed
        )

    make(8, 2, 1).fit(np.random.default_rng(0).standard_normal((20, 4)))
    return make(n_components, k, KSVD_ITERATIONS)


def dense_autoencoder(n_components, k, n_epochs, seed):
    """Return encdr's, with k latents, all of them active, and samples as they are given.

    Its sparse autoencoder has no codes of a given length: no entry of them is 0.
    """
    import logging

    from encdr import ENCDR

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    return ENCDR(
        latent_dim=k,
        max_epochs=n_epochs,
        standardize=False,
        random_state=seed,
        trainer_kwargs={"accelerator": "cpu", "enable_progress_bar": False},
    )


# From a name to the package and the model.
METHODS = {
    "MiniBatchDictionaryLearning": ("scikit-learn", dictionary_learning),
    "dictlearn K-SVD": ("dictlearn", ksvd),
    "encdr": ("encdr", dense_autoencoder),
}


def main(job, method):
    """Fit, code and decode."""
    with np.load(job) as file:
        train, test = file["train"], file["test"]
        n_components, k, n_epochs, seed = file["sizes"].tolist()
    package, make = METHODS[method]
    model = make(n_components, k, n_epochs, seed)
    begin = time.process_time()
    model.fit(train)
    seconds = time.process_time() - begin
    codes = model.transform(test)
    answer = {"codes": codes, "reconstruction": model.inverse_transform(codes)}
    if hasattr(model, "components_"):
        answer["components"] = model.components_
    np.savez(Path(job).with_name("answer.npz"), **answer)
    return {"cpu_seconds": seconds, "version": metadata.version(package)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    os.environ["OMP_NUM_THREADS"] = "1"
    with threadpool_limits(1):
        print(json.dumps(main(*sys.argv[1:])))
