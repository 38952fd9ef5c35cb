"""The price of open gates that meets a target."""

from collections.abc import Callable

from scipy.optimize import brentq

# Tolerance with which a price meets a target: as a share of the target, or in nats where the length
# jumps.
PRICE_TOLERANCE = 0.005
# Largest number of entries of the codes on which a price is found.
PRICED_ENTRIES = 2**17


def find_price(
    excess: Callable[[float], float], first: float, *, at_least: bool, step: float = 0.1
) -> float:
    """Return the price at which codes meet a target.

    A bracket grows by steps that quadruple. Brent's method then finds the price in it: Brent,
    "Algorithms for minimization without derivatives", 1973.

    Parameters
    ----------
    excess : callable
        Logarithm of what codes have at a price, as a share of the target; it falls with the price.

    first : float
        The price that is tried first.

    at_least : bool
        Whether codes have more than the target, and not less, where `excess` jumps across 0.

    step : float, default=0.1
        First step from this price; there are at most 16 steps.

    Returns
    -------
    float
        The best of the prices that were tried.
    """
    tried: dict[float, float] = {}

    def rounded(price: float) -> float:
        if price not in tried:
            tried[price] = excess(price)
        return tried[price] if abs(tried[price]) >= PRICE_TOLERANCE else 0.0

    low = high = first
    for _ in range(16):
        if rounded(low) >= 0 >= rounded(high):
            break
        price = high + step if rounded(high) > 0 else low - step
        low, high = (high, price) if price > high else (price, low)
        step *= 4
    if rounded(low) > 0 > rounded(high):
        brentq(rounded, low, high, xtol=PRICE_TOLERANCE)
    enough = [price for price in tried if tried[price] >= -PRICE_TOLERANCE]
    allowed = enough if enough and at_least else tried
    return min(allowed, key=lambda price: abs(tried[price]))
