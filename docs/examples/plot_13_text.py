"""
Topics of texts, from sparse TF-IDF
===================================

``TfidfVectorizer`` gives a sparse matrix, which both autoencoders take as it is. The texts are the
docstrings of scikit-learn, so nothing has to be downloaded.
"""

import inspect

from matplotlib import pyplot as plt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.discovery import all_estimators, all_functions

from skvaeense import SparseAutoencoder
from skvaeense.nets.penalties import TopK

things = [thing for _, thing in [*all_estimators(), *all_functions()]]
texts = [inspect.getdoc(thing) or "" for thing in things]
rooms = [thing.__module__.split(".")[1] for thing in things]
vectorizer = TfidfVectorizer(
    max_features=3000, stop_words="english", sublinear_tf=True, token_pattern=r"[a-z]{4,}"
)
X = vectorizer.fit_transform(texts)
X

# %%
# Each text is coded as a sum of at most four of 24 atoms. An atom has a weight for each word. The
# words with the largest weights show the topic of the atom.
sae = SparseAutoencoder(24, penalty=TopK(4), max_iter=300, random_state=0).fit(X)
words = vectorizer.get_feature_names_out()
use = (sae.transform(X) != 0).mean(axis=0)
for latent in use.argsort()[::-1][:8]:
    top = sae.components_[latent].argsort()[::-1][:6]
    print(f"{use[latent]:4.0%}  {', '.join(words[top])}")

# %%
# Each row of the picture is a module of scikit-learn. Most modules have an atom that is active in
# more than half of their texts.
names = sorted(set(rooms), key=rooms.count, reverse=True)[:12]
active = sae.active_dimensions(X)
share = [active[[room == name for room in rooms]].mean(axis=0) for name in names]
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
image = ax.imshow(share, aspect="auto", cmap="Blues", vmin=0, vmax=1)
ax.set_yticks(range(len(names)), names)
ax.set_xlabel("latent")
bar = figure.colorbar(image, label="share of the texts in which it is active")

# sphinx_gallery_start_ignore
assert active.sum(axis=1).max() <= 4
assert sum(of_part.max() > 0.5 for of_part in share) >= 8
topics = [set(words[row.argsort()[::-1][:6]]) for row in sae.components_]
assert any({"cluster", "clusters", "clustering"} <= topic for topic in topics)
# sphinx_gallery_end_ignore
