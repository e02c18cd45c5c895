"""TAT for leaky ReLUs: the slope below zero at which the whole network keeps a given difference of angles."""

from __future__ import annotations

import math
from collections.abc import Callable

from firstlight.errors import DomainError


def leaky_correlation(c: float, leak: float) -> float:
    r"""What one layer of leaky ReLUs does to a correlation.

    .. math:: C(c) = c + \frac{(1 - a)^2}{π (1 + a^2)} \big(\sqrt{1 - c^2} - c \arccos c\big)

    Examples
    --------
    >>> from firstlight.recipes import leaky_correlation
    >>> leaky_correlation(0.3, 1.0), round(leaky_correlation(0.0, 0.0) * 3.141592653589793, 9)
    (0.3, 1.0)
    """
    c = min(max(c, -1.0), 1.0)
    bend = (1 - leak) ** 2 / (math.pi * (1 + leak * leak))
    return c + bend * (math.sqrt(max(1 - c * c, 0.0)) - c * math.acos(c))


def tat_leak(layers: int | Callable[[Callable[[float], float]], float], eta: float = 0.9) -> float:
    """The slope a on the negative side with C_f(0) = η, in [0, 1).

    Parameters
    ----------
    layers
        Leaky ReLUs on the way of a chain; or a function that gives the largest C(0) over all parts of a network for
        the map of one of them, as `subnet_maximum` does.
    eta
        η in (0, 1), .9 in the paper.

    Raises
    ------
    DomainError
        η outside (0, 1), no layer, or a chain so short that ReLU itself stays below η.

    Notes
    -----
    Zhang, Botev and Martens (2022), section 4: activations √(2/(1 + a²))·leaky_a.

    Examples
    --------
    >>> from firstlight.recipes import leaky_correlation, tat_leak
    >>> leak, c = tat_leak(50), 0.0
    >>> for _ in range(50):
    ...     c = leaky_correlation(c, leak)
    >>> round(c, 9)
    0.9
    """
    from scipy.optimize import brentq

    def over(leak: float) -> float:
        def one(c: float) -> float:
            return leaky_correlation(c, leak)

        if callable(layers):
            return layers(one) - eta
        c = 0.0
        for _ in range(layers):
            c = one(c)
        return c - eta

    if not (callable(layers) or layers >= 1) or not 0 < eta < 1 or over(0.0) < 0:
        got = "a network" if callable(layers) else f"{layers} layers"
        raise DomainError(
            f"while looking for the slope of leaky ReLUs: expected layers that reach η with ReLU, and η in (0, 1), got "
            f"{got} and η = {eta}; a shorter network needs no change of slope"
        )
    return float(brentq(over, 0.0, 1.0, xtol=1e-14))
