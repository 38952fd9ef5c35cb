"""Codes of a given length by other packages, in a separate process.

    python -m benchmarks.peers.codes JOB.npz METHOD

The job has rows `train` and `test`, centred and divided by one number so that the mean square of
their entries is 1, and `sizes`: the numbers of components, of active latents and of epochs, and the
seed. The module writes `codes`, `reconstruction` and, for a linear decoder, `components` to
answer.npz in the folder of the job. The last line of the output has the CPU seconds of the fit and
the version of the package, as JSON.

The packages have their defaults, except for sizes and for the settings of the functions below.
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

# Number of passes of K-SVD over all samples. The default is 100, but after this many the error of
# the training samples falls by less than a hundredth with each pass.
KSVD_ITERATIONS = 10


def dictionary_learning(n_components, k, n_epochs, seed):
    """Return scikit-learn's dictionary learning, trained with a lasso, which codes with OMP."""
    from sklearn.decomposition import MiniBatchDictionaryLearning

    return MiniBatchDictionaryLearning(
        n_components,
        fit_algorithm="cd",
        transform_algorithm="omp",
        transform_n_nonzero_coefs=k,
        random_state=seed,
    )


def ksvd(n_components, k, n_epochs, seed):
    """Return dictlearn's approximate K-SVD, after a small fit that compiles its code."""
    from dictlearn import DictionaryLearning

    def make(n_components, k, max_iter):
        return DictionaryLearning(
            n_components, n_nonzero_coefs=k, max_iter=max_iter, random_state=seed
        )

    make(8, 2, 1).fit(np.random.default_rng(0).standard_normal((20, 4)))
    return make(n_components, k, KSVD_ITERATIONS)


def dense_autoencoder(n_components, k, n_epochs, seed):
    """Return encdr's autoencoder, with k latents that are all active, and without standardisation.

    The codes of encdr's sparse autoencoder have no given length, since none of their entries is 0.
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


# name: (package, function that returns the model)
METHODS = {
    "MiniBatchDictionaryLearning": ("scikit-learn", dictionary_learning),
    "dictlearn K-SVD": ("dictlearn", ksvd),
    "encdr": ("encdr", dense_autoencoder),
}


def main(job, method):
    """Fit a model, code and decode the test rows, and write the answer."""
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
