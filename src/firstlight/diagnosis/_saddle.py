"""Short chains that start small: how far gradients may fall where gradient descent still leaves the start in time."""

from __future__ import annotations

import math

from firstlight.profile import Profile

# Weight layers of a chain up to which an adaptive optimiser makes any small weights grow. Measured (digits, 64 units of
# ReLU or tanh with and without biases, weights of deviation .02 or .005, or all layers but one times .01; 250 steps at
# the better of two rates, a guess has 2.30): chains of four and five layers end at .003 to .26, of six at .03 to 1.7
# and one at 2.3, of eight at .6 to 2.3.
SHORT = 5
# Share of the usual σ_w under which a layer of such a chain counts as small.
HALF = 0.5
# Kinds of rows of a chain.
PLAIN = {"input", "embedding", "weight", "activation"}
# Decades by which gradients may fall over an endless chain.
_DECADES = 1.7


def leaves_from(layers: int) -> float:
    r"""Ln of the factor that gradients may fall by, over a chain of small weights that gradient descent leaves.

    L layers that each shrink a gradient by s need :math:`s^{-(L-2)}` steps to grow, and ∂L/∂z falls by
    :math:`s^{-(L-1)}` over them. Measured on digits (three to five layers of ReLU and tanh, with and without biases,
    250 steps at the best of rates .1, .4 and 1): three layers end at .01 to .65 up to 3.4 decades and at .6 to .9 from
    3.7; four at .02 up to 2.4 and at .8 to 2.3 from 2.8; five at .01 to .09 up to 2.4, at .4 to 1.3 with 2.5.

    Parameters
    ----------
    layers
        Weight layers of the chain, three at least.

    Examples
    --------
    >>> [round(leaves_from(n) / math.log(10.0), 2) for n in (3, 4, 5, 7)]
    [3.4, 2.55, 2.27, 2.04]
    """
    return _DECADES * math.log(10.0) * (layers - 1) / (layers - 2)


def leaves(rows: Profile, total: float, usual: float) -> bool:
    """Whether a chain of these weight rows, by which gradients fall by ``total`` (ln), is left at a usual rate.

    All weights must be small: a chain of usual weights, as of sigmoids, loses gradients in another way.
    """
    sigma, shift = rows["sigma_w"], rows["sigma_b"]
    low = len(sigma) > 2 and bool((sigma < HALF * usual).all()) and not (shift > usual).any()
    return low and total < leaves_from(len(sigma))
