"""Words: numbers, factors and names as a sentence of evidence writes them."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from firstlight.profile import Profile


def number(value: float, digits: int = 3) -> str:
    """A number for a sentence: significant digits, powers of ten where they are needed.

    Examples
    --------
    >>> number(0.0123456), number(0.005234, 2), number(470000.0), number(float("inf"))
    ('0.0123', '0.0052', '4.7×10⁵', '∞')
    """
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "−∞"}.get(value, "not a number")
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}×10{str(int(exponent)).translate(_RAISED)}"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def factor(log_value: float) -> str:
    """e^x for a sentence, also where it leaves the range of floats."""
    if abs(log_value) < 600:
        return number(math.exp(log_value))
    return f"10{f'{log_value / math.log(10.0):.0f}'.translate(_RAISED)}"


def names(
    profile: Profile, mask: np.ndarray, order: np.ndarray | None = None, limit: int = 12
) -> tuple[str, ...]:
    """Names of the chosen rows, the largest ``order`` first."""
    index = np.flatnonzero(mask)
    if order is not None:
        index = index[np.argsort(-order[index], kind="stable")]
    return tuple(str(n) for n in profile["name"][index[:limit]])


def log(values: np.ndarray) -> np.ndarray:
    """Natural log with −inf at zero and NaN below, silently."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)


def product(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The sum of two logs; NaN, silently, where an infinite gradient meets entries that are zero."""
    with np.errstate(invalid="ignore"):
        return one + other


def entries(profile: Profile) -> np.ndarray:
    """Number of entries of each row's output."""
    return np.array([_entries_of(str(shape)) for shape in profile["shape"]], float)


@lru_cache(maxsize=1024)
def _entries_of(shape: str) -> int:
    return math.prod(int(size) for size in shape.split("×")) if shape else 1
