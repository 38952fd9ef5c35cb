"""
Finding the atoms of a dictionary
=================================

Each sample is a sum of three out of sixty atoms. Sparse autoencoders with four penalties look for
the atoms. All four aim at three active latents for each sample, so that they can be compared.
"""

from matplotlib import pyplot as plt

from skvaeense import SparseAutoencoder
from skvaeense.datasets import make_sparse_dictionary
from skvaeense.metrics import fvu, l0, mean_max_cosine_similarity
from skvaeense.nets.penalties import L1, BatchTopK, JumpReLU, TopK

X, _, _, atoms = make_sparse_dictionary(
    6000,
    n_atoms=60,
    n_active=3,
    n_features=30,
    signed=False,
    return_atoms=True,
    random_state=0,
)
train, test = X[:5000], X[5000:]

# %%
# For a penalty with a coefficient `alpha`, `target_l0` is the desired mean number of active
# latents. For the other penalties, this number is the parameter `k`.
models = [
    SparseAutoencoder(60, penalty=penalty, target_l0=target, max_iter=120, random_state=0).fit(
        train
    )
    for penalty, target in (
        (L1(), 3),
        (JumpReLU(), 3),
        (TopK(3), None),
        (BatchTopK(3), None),
    )
]

# %%
# The upper bars compare each true atom with the most similar learned atom: their cosine is near 1
# on average, so all four penalties have found the atoms. The lower bars show the unexplained
# fraction of the variance of new samples. This fraction is largest with L1, which makes codes too
# small.
names = [type(model.penalty).__name__ for model in models]
codes = [model.transform(test) for model in models]
found = [mean_max_cosine_similarity(atoms, model.components_, signed=True) for model in models]
unexplained = [fvu(test, m.inverse_transform(z)) for m, z in zip(models, codes, strict=True)]
labels = [f"{name}\nL0 {l0(z):.1f}" for name, z in zip(names, codes, strict=True)]

figure, (top, bottom) = plt.subplots(2, 1, figsize=(8, 6), sharex=True, layout="constrained")
top.bar(labels, found, color="#0072B2")
top.set(ylabel="cosine with true atoms", ylim=(0, 1))
bottom.bar(labels, unexplained, color="#D55E00")
bottom.set(ylabel="fraction unexplained")
for ax in (top, bottom):
    ax.spines[["top", "right"]].set_visible(False)

# sphinx_gallery_start_ignore
assert min(found) > 0.93
assert all(2.7 < l0(z) < 3.3 for z in codes)
assert unexplained[0] > 1.3 * max(unexplained[1:])
decoded = [m.inverse_transform(z) for m, z in zip(models, codes, strict=True)]
longer = [(test * x).sum() / (x * x).sum() for x in decoded]
assert longer[0] > 1.05
assert abs(max(longer[1:]) - 1) < 0.05
# sphinx_gallery_end_ignore

# %%
# One data set and one seed do not make a ranking. The user guide has a table over five seeds, on
# a larger dictionary: :doc:`/user_guide/sparse_autoencoders`.
