"""Files with random changes of their tree and arrays: they are refused or read, without a crash.

Their checksums are correct, so that the code behind this check is reached. They are read and used
in a separate process with limited memory.
"""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
from helpers import fit_unwarned, quick_sae, with_net
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from skvaeense import Checkpoint, IntrinsicDimensionEstimator, VAEenseTransformer, save
from skvaeense.explanations import GateDictionary
from skvaeense.mixture import SubspaceMixture
from skvaeense.nets.networks import Linear, Unrolled
from skvaeense.nets.penalties import BatchTopK
from skvaeense.persistence import _files

N_FILES = 40
# Limits of reading a file of some kilobytes.
MOST_SECONDS, MOST_MEGABYTES = 5.0, 200.0
# Replacements of entries. Some are also sizes of allocations or counts of loops.
JUNK = (None, True, -1, 0, 3, 10**7, 10**12, 10**30, 0.5, 1e300, "x", "os.system", [], {})
JUNK += (
    [8] * 20_000,
    [[]] * 5,
    float("nan"),
    {"class": "builtins.tuple", "items": []},
)
ARRAYS = (
    lambda a: np.atleast_1d(a)[:0],
    lambda a: a.ravel()[:1],
    lambda a: a.T,
    lambda a: a[None],
    lambda a: a.ravel(),
    lambda a: np.concatenate([a, a]) if a.ndim else a,
    lambda a: a.astype(np.float32 if a.dtype == np.float64 else np.float64),
    lambda a: a.astype(np.int64),
    lambda a: np.full_like(a, 2**31 - 1 if a.dtype.kind in "iu" and a.itemsize > 2 else 1),
    lambda a: a * np.nan,
    lambda a: a - 1,
)
SCRIPT = """
import json, resource, sys, time, warnings
from pathlib import Path
import numpy as np
import torch
import skvaeense

warnings.simplefilter("ignore")
torch.set_num_threads(1)
X = np.random.default_rng(0).normal(size=(40, 5))

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

skvaeense.load(sys.argv[1]).partial_fit(X)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**30,) * 2)
for path in sys.argv[2:]:
    start, before, words = time.process_time(), peak(), "read"
    print(path, end=" ", flush=True)
    try:
        estimator = skvaeense.load(path)
    except ValueError as error:
        words = str(error)
    print(time.process_time() - start, peak() - before, json.dumps(words), flush=True)
    if words != "read":
        continue
    for name in ("transform", "predict", "score_samples", "partial_fit"):
        try:
            getattr(estimator, name)(X)
        except Exception:
            pass
"""


def sound_files(folder):
    """Write valid files of several kinds of estimators, some of them in training."""
    X = np.random.default_rng(0).normal(size=(40, 5))
    vae = with_net(3, network=Linear((4,)), n_init=1, max_iter=2, random_state=0)
    flats = VAEenseTransformer(model="mixture", random_state=0)
    gates = VAEenseTransformer(3, model="gates", random_state=0)
    sweeps = quick_sae(BatchTopK(2), network=Unrolled(2), max_iter=1)
    save(fit_unwarned(quick_sae(), X, "partial_fit"), folder / "sae.safetensors")
    save(fit_unwarned(vae, X, "partial_fit"), folder / "vae.safetensors")
    for name, laws in (("flats", flats), ("gates", gates), ("dictionary", GateDictionary(3))):
        # The second batch begins a stream.
        laws = fit_unwarned(laws, X).partial_fit(X)
        save(laws, folder / f"{name}.safetensors")
    save(fit_unwarned(SubspaceMixture(2), X), folder / "mixture.safetensors")
    save(fit_unwarned(IntrinsicDimensionEstimator(vae), X), folder / "dimension.safetensors")
    checkpoint = Checkpoint(folder / "kept", interval=0, n_kept=1)
    fit_unwarned(sweeps.set_callbacks(checkpoint), X)
    return [*sorted(folder.glob("*.safetensors")), *checkpoint.files()]


def places(node):
    """Yield each list or dict of a tree, with each of its keys or indices."""
    if isinstance(node, dict | list):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            yield node, key
            yield from places(node[key])


# Unlike those of st.integers, these values are equally likely.
PLACES = st.sampled_from(range(10_000))
CHANGES = st.one_of(
    st.tuples(st.just("replace"), PLACES, st.sampled_from(JUNK)),
    st.tuples(st.just("delete"), PLACES, st.none()),
    st.tuples(st.just("move"), PLACES, PLACES),
    st.tuples(st.just("array"), PLACES, st.sampled_from(ARRAYS)),
)


def change(node, arrays, kind, position, value):
    """Change one place of a tree or one of the arrays."""
    if kind == "array":
        name = sorted(arrays)[position % len(arrays)]
        with np.errstate(all="ignore"):
            arrays[name] = np.ascontiguousarray(value(arrays[name]))
        return
    found = list(places(node))
    parent, key = found[position % len(found)]
    if kind == "delete":
        del parent[key]
    elif kind == "move":
        other, name = found[value % len(found)]
        parent[key] = copy.deepcopy(other[name])
    else:
        parent[key] = copy.deepcopy(value)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_forged_files_are_refused_or_read(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forged")
    sound = sound_files(folder)

    forged = {}

    @settings(max_examples=N_FILES, phases=[Phase.generate])
    @given(st.sampled_from(sound), st.lists(CHANGES, min_size=1, max_size=2))
    def forge(path, changes):
        node, arrays = _files.read(path)
        for kind, position, value in changes:
            change(node, arrays, kind, position, value)
        target = str(folder / f"{len(forged)}.forged")
        _files.write(target, node, arrays)
        forged[target] = path.name, changes

    forge()
    # All files are read in one process, since starting it takes longest.
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(sound[-2]), *forged],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    lines = [line.split(" ", 3) for line in run.stdout.splitlines()]
    assert run.returncode == 0, (forged[lines[-1][0]], run.stderr[-3000:])
    assert [line[0] for line in lines] == list(forged)
    n_read = 0
    for path, seconds, megabytes, words in lines:
        n_read += words == '"read"'
        is_told = json.loads(words).startswith(("read", f"{path} cannot be loaded: "))
        is_small = float(seconds) < MOST_SECONDS and float(megabytes) < MOST_MEGABYTES
        assert is_told, (forged[path], words)
        assert is_small, (forged[path], seconds, megabytes)
    # Some files are read and some are refused. Otherwise the changes would test nothing.
    assert 0.1 < n_read / len(forged) < 0.9
