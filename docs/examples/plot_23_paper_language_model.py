"""
Activations of a language model: error against active latents
==============================================================

How much of a language model's activations do 300 atoms explain, with few of them at a time? The
numbers are those that ``benchmarks/paper/language_model.py`` measured; see
:doc:`/user_guide/paper`.
"""

from matplotlib import pyplot as plt
from paper_results import draw_frontier, load, plain_log_axis

rows = load("language_model")["chosen"]

# %%
# Activations come from documents that were not used in training. For each mean number of active
# latents a method has the setting that was best on validation rows. Markers are means over seeds,
# bars reach from the best seed to the worst.
figure, ax = plt.subplots(figsize=(7, 4.6), layout="constrained")
draw_frontier(ax, rows, shift=0.03)
ax.set(ylabel="fraction of variance unexplained")
plain_log_axis(ax.yaxis)
ax.grid(axis="y", alpha=0.3)
legend = ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
