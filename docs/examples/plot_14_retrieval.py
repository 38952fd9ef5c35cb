"""
Finding similar images by short codes
=====================================

A search among many images is fast if a few numbers describe each image. Do the nearest neighbours
of an image, by these numbers, still show the same digit?
"""

from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors

from skvaeense import VAEenseTransformer
from skvaeense.metrics import l0

X, y = load_digits(return_X_y=True)
X, queries, y, asked = train_test_split(X, y, test_size=400, stratify=y, random_state=0)


# %%
# The precision is the share of the ten nearest images that show the digit of the query.
def neighbours(codes, of, n_neighbors=10):
    index = NearestNeighbors(n_neighbors=n_neighbors).fit(codes)
    return index.kneighbors(of, return_distance=False)


def precision(codes, of):
    return (y[neighbours(codes, of)] == asked[:, None]).mean()


# %%
# One model is fitted for codes of 16 numbers, and a higher price of open gates makes its codes
# shorter. The black line is the precision of the pixels themselves. Codes of two and four numbers
# are more precise than codes of PCA of the same length. With more numbers their precision falls:
# two images of one digit then open different latents whose atoms look alike, and the distance
# between codes counts them as different. The decoded codes do not have this problem. Distances
# between them follow from the codes and the products of the atoms, so images need not be stored.
vaeense = VAEenseTransformer(target_l0=16, positive_code=True, random_state=0).fit(X)
pca = PCA().fit(X)

curves = {"PCA": [], "VAEense": [], "VAEense, decoded": []}
for length in (2, 4, 8, 16):
    vaeense.set_params(transform_l0=length)
    stored, codes = vaeense.transform(X), vaeense.transform(queries)
    curves["VAEense"].append((l0(codes), precision(stored, codes)))
    decoded = vaeense.inverse_transform(stored), vaeense.inverse_transform(codes)
    curves["VAEense, decoded"].append((l0(codes), precision(*decoded)))
    components = pca.transform(X)[:, :length], pca.transform(queries)[:, :length]
    curves["PCA"].append((length, precision(*components)))

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.axhline(precision(X, queries), color="black", linewidth=1, label="all 64 pixels")
for name, points in curves.items():
    ax.plot(*zip(*points, strict=True), "o-", label=name)
    for length, share in points:
        print(f"{name:16} {length:5.1f} numbers, precision {share:.3f}")
ax.set(xlabel="numbers in a code of a query, on average", ylabel="precision among the ten nearest")
ax.legend(frameon=False)
ax.spines[["top", "right"]].set_visible(False)

# %%
# A code also records which latents are active, and the search uses this information. The picture
# does not count its storage, so in bits the codes are longer than the picture shows.
#
# Some queries, each with the nine nearest images by codes of length 4:
vaeense.set_params(transform_l0=4)
found = neighbours(vaeense.transform(X), vaeense.transform(queries[:5]), n_neighbors=9)
figure, axes = plt.subplots(5, 10, figsize=(7, 3.6), layout="constrained")
for row, query, nearest in zip(axes, queries, found, strict=False):
    for ax, image in zip(row, [query, *X[nearest]], strict=True):
        ax.imshow(image.reshape(8, 8), cmap="gray_r")
        ax.set(xticks=[], yticks=[])
    row[0].spines[:].set(color="#D55E00", linewidth=3)

# sphinx_gallery_start_ignore
linear, ours, decoded = ([share for _, share in points] for points in curves.values())
assert decoded == sorted(decoded)
assert all(best > worse for best, worse in zip(decoded, ours, strict=True))
assert ours[0] > linear[0] + 0.15
assert ours[1] > linear[1] + 0.05
assert linear[2] > ours[2]
assert linear[3] > ours[3] + 0.05
# sphinx_gallery_end_ignore
