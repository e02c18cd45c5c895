"""The closed forms that Wolinski and Arbel fit to a pair's function, fitted anew, and the law that a function gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit, ndtr, ndtri

_REACH = 3.0  # the authors' functions are compared on [−3, 3]
_Function = Callable[[np.ndarray], np.ndarray]


def odd_form(x: np.ndarray, theta: float, p: np.ndarray) -> np.ndarray:
    """a tanh(bx) ((|x| + c)^α + d) (log(|x| + f) + g) with α = 1 − 2/θ, the family for odd pairs."""
    a, b, c, d, f, g = p
    size = np.abs(x)
    return a * np.tanh(b * x) * ((size + c) ** (1 - 2 / theta) + d) * (np.log(size + f) + g)


def positive_form(x: np.ndarray, theta: float, p: np.ndarray) -> np.ndarray:
    """a s(bx + h) ((u + c)^α + d) (log(u + f) + g) with u = log(1 + eˣ), s the logistic function: positive pairs."""
    a, b, c, d, f, g, h = p
    u = np.logaddexp(0, x)
    return a * expit(b * x + h) * ((u + c) ** (1 - 2 / theta) + d) * (np.log(u + f) + g)


def best_of_family(exact: _Function, theta: float, *, kind: str) -> _Function:
    """The member of the family that is nearest to a function on [−3, 3], by least squares from three starts.

    Examples
    --------
    >>> import numpy as np
    >>> from firstlight import pairs
    >>> from firstlight.experiments.wolinski2025.closed_form import best_of_family
    >>> exact = pairs.weibull(3.0).exact
    >>> near = best_of_family(exact, 3.0, kind="odd")
    >>> x = np.linspace(-3, 3, 7)
    >>> bool(np.abs(near(x) - exact(x)).max() < 0.05)
    True
    """
    form, low = (odd_form, 0.0) if kind == "odd" else (positive_form, -_REACH)
    x = np.linspace(low, _REACH, 301)
    wanted = exact(x)
    floor = [-np.inf, 1e-3, 1e-3, -np.inf, 1e-3, -np.inf, -np.inf][: 6 if kind == "odd" else 7]
    fits = []
    for scale in (0.5, 1.0, 2.0):
        start = np.array([scale, 1.0, 0.5, 0.5, 1.5, 1.0, 0.0][: len(floor)])
        fits.append(
            least_squares(lambda p: form(x, theta, p) - wanted, start, bounds=(floor, np.inf), max_nfev=3000)
        )
    best = min(fits, key=lambda fit: fit.cost).x
    return lambda at: form(np.asarray(at, np.float64), theta, best)


def product_distance(phi: _Function, theta: float, *, nodes: int = 20_001) -> float:
    r"""Kolmogorov–Smirnov distance of W φ(X) to N(0, 1), by quadrature over X and without sampling.

    .. math:: P(|W φ(X)| ≤ t) = 1 - E \exp(-(t/|φ(X)|)^θ)

    Examples
    --------
    >>> from firstlight import pairs
    >>> from firstlight.experiments.wolinski2025.closed_form import product_distance
    >>> product_distance(pairs.weibull(3.0).exact, 3.0) < 1e-5
    True
    """
    middle = (np.arange(nodes) + 0.5) / nodes
    size = np.abs(phi(ndtri(middle)))
    size = size[size > 0]
    at = np.linspace(0.01, 4.5, 120)
    inside = np.array([1 - np.exp(-((t / size) ** theta)).sum() / nodes for t in at])
    return float(np.abs(inside - (2 * ndtr(at) - 1)).max()) / 2
