"""Axes, colours and styles that the displays share."""

# The palette of Okabe and Ito, which colour-blind people can tell apart, without its yellow, which
# is too light for lines.
BLACK, ORANGE, SKY, GREEN, BLUE, RED, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
PALETTE = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY, BLACK)
GREY = "#BBBBBB"
# Past one round of the palette, lines differ by their dashes.
DASHES = ("-", "--", ":", "-.")


def require_axes(ax, figsize):
    """Return the given axes, or those of a new figure.

    Parameters
    ----------
    ax : matplotlib.axes.Axes or None
        Axes to draw on.

    figsize : tuple of two floats
        Width and height of a new figure in inches.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Pictures need matplotlib; install it with `pip install skvaeense[plot]`."
        ) from error
    return plt.subplots(figsize=figsize, layout="constrained")[1] if ax is None else ax


def style(defaults, given):
    """Return keywords of an artist: the defaults, and what the user wants instead."""
    return {**defaults, **(given or {})}


def how_many(n_shown, n):
    """Return how many are shown, "n" or "n_shown of n"."""
    return f"{n}" if n_shown == n else f"{n_shown} of {n}"


def series_style(i):
    """Return colour and dashes of the i-th line of several."""
    return {
        "color": PALETTE[i % len(PALETTE)],
        "linestyle": DASHES[i // len(PALETTE) % len(DASHES)],
    }


def legend_beside(ax, n_entries):
    """Add a legend: inside where it is short, and on the right of the axes where it is long."""
    if n_entries <= 5:
        return ax.legend(frameon=True, framealpha=0.9)
    return ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
