"""
Gates over a dictionary
=======================

Each sample is a sum of a few atoms, and each atom has a gate that is open or closed. Here there are
three atoms in a plane. :class:`~skvaeense.explanations.GateDictionary` is told neither the number
of atoms, nor which gates are open, nor the noise. :doc:`/user_guide/length` describes how it is
fitted.
"""

import matplotlib.pyplot as plt
import numpy as np

from skvaeense.explanations import GateDictionary

rng = np.random.default_rng(0)
angles = np.deg2rad([10, 65, 130])
atoms = np.stack([np.cos(angles), np.sin(angles)], axis=1)
is_open = rng.random((3000, 3)) < 0.2
X = (is_open * rng.normal(3, 1, is_open.shape)) @ atoms + 0.1 * rng.normal(size=(3000, 2))

# %%
# Each atom found is a column of norm 1, with the probability that its gate is open. The price of a
# gate follows from this probability and from the noise.

dictionary = GateDictionary(random_state=0).fit(X)
print(f"{dictionary.n_components_} atoms, noise {dictionary.noise_variance_**0.5:.2f}")
print("open with probability", dictionary.gate_probability_.round(2))
similarity = np.abs(atoms @ dictionary.components_.T)
print("cosines with the true atoms", similarity.max(axis=1).round(3))

# sphinx_gallery_start_ignore
assert dictionary.n_components_ == 3
assert (similarity.max(axis=1) > 0.99).all()
assert 0.09 < dictionary.noise_variance_**0.5 < 0.11
# sphinx_gallery_end_ignore

# %%
# Codes are 0 where a gate is closed. Samples near a line have one open gate, samples between the
# lines have two, and samples at the centre have none.

n_active = (dictionary.transform(X) != 0).sum(axis=1)
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for n in range(4):
    some = X[n_active == n]
    ax.plot(*some.T, ".", markersize=3, color=plt.cm.viridis(n / 3.3), label=f"{n} open gates")
for atom in dictionary.components_:
    ax.axline(dictionary.mean_, dictionary.mean_ + atom, color="black", linewidth=1)
ax.set(aspect="equal", title="Samples and the atoms that were found")
ax.legend(markerscale=4, loc="center left", bbox_to_anchor=(1, 0.5))
