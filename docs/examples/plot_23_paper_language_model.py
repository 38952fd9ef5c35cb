"""
Activations of a language model: error against active latents
==============================================================

How much of a language model's activations do 300 atoms explain, if only a few atoms are active at a
time? The numbers are those of :ref:`short_codes_measured`; see :doc:`/user_guide/adaptive_codes`.
"""

from matplotlib import pyplot as plt
from paper_results import BLUE, GREEN, draw_spread, plain_log_axis, read, select, values

rows = read("gate_codes.json")["rows"]

# %%
# The activations come from documents that were not used in training, and each dictionary was
# trained for one length, with all defaults. Neither model is that of the paper. A GateDictionary
# searches for the open gates of a sample, and batch-top-k has an encoder with one layer. Markers
# are means over seeds, and bars reach from the best seed to the worst. The gates leave less
# unexplained at each length.
METHODS = {"GateDictionary": (BLUE, "o"), "BatchTopK": (GREEN, "D")}
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
levels = sorted(values(rows, "k"))
for method, (color, marker) in METHODS.items():
    fits = [select(rows, method=method, k=k) for k in levels]
    left = [[row["fvu"] for row in own] for own in fits]
    draw_spread(ax, levels, left, color=color, marker=marker, label=method)
ax.set(
    xscale="log",
    yscale="log",
    xlabel="active latents per sample, mean",
    ylabel="fraction of variance unexplained",
)
ax.set_xticks(levels, [str(level) for level in levels])
ax.minorticks_off()
plain_log_axis(ax.yaxis)
ax.grid(axis="y", alpha=0.3)
legend = ax.legend(frameon=False)

# sphinx_gallery_start_ignore
for k in levels:
    ours, theirs = ([row["fvu"] for row in select(rows, k=k, method=name)] for name in METHODS)
    assert max(ours) < min(theirs)
# sphinx_gallery_end_ignore
