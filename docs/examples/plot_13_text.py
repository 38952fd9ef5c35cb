"""
Topics of texts, from sparse TF-IDF
===================================

``TfidfVectorizer`` gives a sparse matrix, and both autoencoders take it as it is. The texts are
what functions and classes of scikit-learn say of themselves: nothing has to be downloaded.
"""

import inspect

from matplotlib import pyplot as plt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.discovery import all_estimators, all_functions

from skvaeense import SparseAutoencoder
from skvaeense.penalties import TopK

things = [thing for _, thing in [*all_estimators(), *all_functions()]]
texts = [inspect.getdoc(thing) or "" for thing in things]
rooms = [thing.__module__.split(".")[1] for thing in things]
vectorizer = TfidfVectorizer(
    max_features=3000, stop_words="english", sublinear_tf=True, token_pattern=r"[a-z]{4,}"
)
X = vectorizer.fit_transform(texts)
X

# %%
# Each text becomes a sum of at most four of 24 atoms. An atom is a weight for each word, and what
# it weighs most says what it stands for.
sae = SparseAutoencoder(24, penalty=TopK(4), max_iter=300, random_state=0).fit(X)
words = vectorizer.get_feature_names_out()
use = (sae.transform(X) != 0).mean(axis=0)
for latent in use.argsort()[::-1][:8]:
    top = sae.components_[latent].argsort()[::-1][:6]
    print(f"{use[latent]:4.0%}  {', '.join(words[top])}")

# %%
# Which part of scikit-learn do the texts come from in which each atom is active?
names = sorted(set(rooms), key=rooms.count, reverse=True)[:12]
active = sae.active_dimensions(X)
share = [active[[room == name for room in rooms]].mean(axis=0) for name in names]
figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
image = ax.imshow(share, aspect="auto", cmap="Blues", vmin=0, vmax=1)
ax.set_yticks(range(len(names)), names)
ax.set_xlabel("latent")
bar = figure.colorbar(image, label="share of the texts in which it is active")
