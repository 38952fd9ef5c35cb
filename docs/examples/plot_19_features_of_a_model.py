"""
From a transformer to a table of features
=========================================

A small language model learns sentences about places, and a dictionary of one layer shows what it
has learned.
"""

import numpy as np
import pandas as pd
import torch
from torch import nn

from skvaeense import SparseAutoencoder
from skvaeense.language import Activations, latent_report, loss_recovered

# %%
# Sentences name an animal, what it does, and a place. Animals of the sea do other things than those
# of the land. Texts have different lengths, so a mask marks padding on the left.
SEA = ["whale shark squid", "swims dives", "reef bay ocean"]
LAND = ["horse wolf camel", "runs rests", "field desert forest"]
words = ["<pad>", "the", "in", ".", *" ".join(SEA + LAND).split()]
rng = np.random.default_rng(0)


def sentence():
    """Return the ids of the words of a random sentence."""
    animal, action, place = (rng.choice(part.split()) for part in (SEA, LAND)[rng.integers(2)])
    return [words.index(word) for word in f"the {animal} {action} in the {place} .".split()]


texts = [[i for _ in range(rng.integers(1, 4)) for i in sentence()] for _ in range(600)]
length = max(map(len, texts))
ids = torch.tensor([[0] * (length - len(text)) + text for text in texts])
mask = (ids > 0).long()


class LanguageModel(nn.Module):
    """A transformer of two layers that predicts the next word."""

    def __init__(self, width=32):
        super().__init__()
        self.embedding, self.place = nn.Embedding(len(words), width), nn.Embedding(length, width)
        layers = [nn.TransformerEncoderLayer(width, 4, 64, 0.0, batch_first=True) for _ in range(2)]
        self.layers, self.head = nn.ModuleList(layers), nn.Linear(width, len(words), bias=False)

    def forward(self, input_ids, attention_mask):
        hidden = (self.embedding(input_ids) + self.place.weight) * attention_mask[..., None]
        for layer in self.layers:
            hidden = layer(hidden, src_mask=torch.ones(length, length).triu(1).bool())
        return self.head(hidden)


torch.manual_seed(0)
model = LanguageModel()
optimizer = torch.optim.Adam(model.parameters(), 0.003)
seen = (mask[:, 1:] * mask[:, :-1]).bool()
for _ in range(200):
    loss = nn.functional.cross_entropy(model(ids, mask)[:, :-1][seen], ids[:, 1:][seen])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

# %%
# `Activations` runs the model when samples are needed. Positions count from the first word of a
# text, so the padding is left out, whichever side it is on.
batches = [{"input_ids": ids[i::12], "attention_mask": mask[i::12]} for i in range(12)]
activations = Activations(model, "layers.0", batches)
sae = SparseAutoencoder(64, target_l0=4, random_state=0).fit(activations)
recovered = loss_recovered(model, "layers.0", sae, batches).recovered
print(f"{sae.score(activations):.0%} of the variance, {recovered:.0%} of the loss")

# %%
# The report lists the words for which each latent is largest, in their contexts. The directions of
# latents say which words become more and less probable.
latents = np.argsort(-sae.transform(activations).var(axis=0))[:6]
logits = sae.components_[latents] @ model.head.weight.detach().numpy().T
for latent, order in zip(latents, np.argsort(logits, axis=1), strict=True):
    lowered, raised = ([words[i] for i in ids] for ids in (order[:3], order[:-4:-1]))
    print(latent, "raises", *raised, "and lowers", *lowered)
table = pd.DataFrame(
    latent_report(sae, activations, latents=latents, n_samples=5, decode=lambda i: f" {words[i]}")
)
table[["latent", "code", "before", "token", "after"]]
# sphinx_gallery_start_ignore
assert recovered > 0.8
assert len(table) == 30
# Most latents stand for one word, in one place of a sentence.
assert np.mean([own["token"].nunique() <= 2 for _, own in table.groupby("latent")]) > 0.6
# sphinx_gallery_end_ignore
