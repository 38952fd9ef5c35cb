"""Colours, styles and rows of bars that the displays share."""

import numpy as np

# The palette of Okabe and Ito, which colour-blind people can tell apart, without its yellow, which
# is too light for lines.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, RED, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
PALETTE = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK)
GREY = "#BBBBBB"
# Lines beyond one round of the palette differ by their dashes.
DASHES = ("-", "--", ":", "-.")
# Height of the tallest bars in a row of height 1.
ROOM = 0.9


def style(defaults, given):
    """Return keywords of an artist: the defaults, overridden by what the user gives."""
    return {**defaults, **(given or {})}


def series_style(i):
    """Return the colour and dashes of line i."""
    turn, place = divmod(i, len(PALETTE))
    return {"color": PALETTE[place], "linestyle": DASHES[turn % len(DASHES)]}


def add_legend(ax):
    """Add a legend of the labelled lines, inside the axes if it is short, or to their right."""
    n_entries = len(ax.get_legend_handles_labels()[0])
    if 0 < n_entries <= 5:
        ax.legend(frameon=True, framealpha=0.9)
    elif n_entries:
        ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def draw_rows(axes, places, sizes, names, styles):
    """Draw a named row of bars for each row of `sizes`, 1 apart, and return them.

    The first row is on top; `styles` has keywords for each row. The tallest bar nearly fills a row.
    """
    room = ROOM / 2 if (sizes < 0).any() else ROOM
    heights = sizes * (room / (np.abs(sizes).max() or 1.0))
    floors = np.arange(len(heights))[::-1]
    bars = [
        axes.bar(places, row, bottom=floor, **keywords)
        for row, floor, keywords in zip(heights, floors, styles, strict=True)
    ]
    for floor in floors:
        axes.axhline(floor, color="black", linewidth=0.5)
    axes.set_yticks(floors, names)
    axes.tick_params(axis="y", length=0)
    return bars
