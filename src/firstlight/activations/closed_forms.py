"""Closed forms of E φ(u), E φ(u)φ(v) and E φ'(u)φ'(v) for centred Gaussians, in a registry by name.

Each form takes variances q₁, q₂ and the covariance k, and a namespace ``xp`` that is ``math`` for floats or
``torch`` for tensors: the same formula serves one layer of a recursion and a whole kernel matrix. Products
such as q₁q₂ − k² are formed by the caller-supplied ``rest`` so that correlations near ±1 keep their digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import torch

from firstlight.activations.activation import Activation
from firstlight.clean_room import clean
from firstlight.doors import checked

_PI = math.pi


# math, torch or mpmath; and a number of that library: a float, a tensor or an mpf
Library: TypeAlias = Any
Number: TypeAlias = Any


@dataclass(frozen=True)
class ClosedForm:
    """Gaussian expectations of one activation.

    Attributes
    ----------
    mean
        (xp, q) → E φ(√q G).
    dual
        (xp, q₁, q₂, k, rest) → E φ(u)φ(v), with ``rest`` = q₁q₂ − k² ≥ 0.
    slope
        The same for φ'; by Price's theorem the derivative of ``dual`` by k.
    source
        Where the formula is published or how it follows.
    """

    mean: Callable[..., Number]
    dual: Callable[..., Number]
    slope: Callable[..., Number]
    source: str


Maker = Callable[..., ClosedForm]
_FORMS: dict[str, Maker] = {}


def _form(name: str) -> Callable[[Maker], Maker]:
    def add(maker: Maker) -> Maker:
        _FORMS[name] = maker
        return maker

    return add


@checked
@clean
def closed_form(activation: Activation) -> ClosedForm | None:
    """The closed form of an activation of the library, of any one of degree 1, or None.

    Examples
    --------
    >>> import math
    >>> from firstlight import activations
    >>> form = activations.closed_form(activations.get("erf"))
    >>> round(form.dual(math, 1.0, 1.0, 1.0, 0.0), 6)  # E erf(G)²
    0.464559
    """
    base = activation.name.partition("(")[0]
    maker = _FORMS.get(base)
    if maker is not None and activation.of_library:
        return maker(**activation.parameters)
    return _degree_one(activation) if activation.degree == 1.0 else None


@clean
def closed_form_names() -> tuple[str, ...]:
    """Names of the activations and families that have a closed form."""
    return tuple(sorted(_FORMS))


def _angle(xp: Library, k: Number, rest: Number) -> Number:
    """Arcsin of the correlation, by its tangent: exact at ±1."""
    return xp.atan2(k, xp.sqrt(rest))


@_form("linear")
def _linear() -> ClosedForm:
    return ClosedForm(
        lambda xp, q: 0 * q,
        lambda xp, q1, q2, k, rest: k,
        lambda xp, q1, q2, k, rest: 0 * k + 1,
        "by definition",
    )


def _bent(a: float, b: float) -> ClosedForm:
    """a·z + b·|z|."""
    return ClosedForm(
        lambda xp, q: b * xp.sqrt(2 * q / _PI),
        lambda xp, q1, q2, k, rest: a * a * k + b * b * (2 / _PI) * (xp.sqrt(rest) + k * _angle(xp, k, rest)),
        lambda xp, q1, q2, k, rest: a * a + b * b * (2 / _PI) * _angle(xp, k, rest),
        "Cho and Saul (2009), n = 1",
    )


@lru_cache(maxsize=64)
@clean
def _degree_one(activation: Activation) -> ClosedForm:
    """Whatever is homogeneous of degree one is two half lines."""
    right, left = activation(torch.tensor([1.0, -1.0], dtype=torch.float64)).tolist()
    return _bent((right - left) / 2, (right + left) / 2)


@_form("relu")
def _relu() -> ClosedForm:
    return _bent(0.5, 0.5)


@_form("abs")
def _abs() -> ClosedForm:
    return _bent(0.0, 1.0)


@_form("leaky_relu")
def _leaky(slope: float) -> ClosedForm:
    return _bent((1 + slope) / 2, (1 - slope) / 2)


@_form("sign")
def _sign() -> ClosedForm:
    return ClosedForm(
        lambda xp, q: 0 * q,
        lambda xp, q1, q2, k, rest: (2 / _PI) * _angle(xp, k, rest),
        lambda xp, q1, q2, k, rest: 0 * k,
        "Sheppard (1899)",
    )


@_form("step")
def _step() -> ClosedForm:
    return ClosedForm(
        lambda xp, q: 0 * q + 0.5,
        lambda xp, q1, q2, k, rest: 0.25 + _angle(xp, k, rest) / (2 * _PI),
        lambda xp, q1, q2, k, rest: 0 * k,
        "Cho and Saul (2009), n = 0",
    )


@_form("relu_squared")
def _relu_squared() -> ClosedForm:
    def dual(xp: Library, q1: Number, q2: Number, k: Number, rest: Number) -> Number:
        return (3 * k * xp.sqrt(rest) + (_PI / 2 + _angle(xp, k, rest)) * (q1 * q2 + 2 * k * k)) / (2 * _PI)

    def slope(xp: Library, q1: Number, q2: Number, k: Number, rest: Number) -> Number:
        return (2 / _PI) * (xp.sqrt(rest) + k * (_PI / 2 + _angle(xp, k, rest)))

    return ClosedForm(lambda xp, q: q / 2, dual, slope, "Cho and Saul (2009), n = 2")


@_form("square")
def _square() -> ClosedForm:
    return ClosedForm(
        lambda xp, q: q,
        lambda xp, q1, q2, k, rest: q1 * q2 + 2 * k * k,
        lambda xp, q1, q2, k, rest: 4 * k,
        "Isserlis (1918)",
    )


@_form("cube")
def _cube() -> ClosedForm:
    return ClosedForm(
        lambda xp, q: 0 * q,
        lambda xp, q1, q2, k, rest: k * (9 * q1 * q2 + 6 * k * k),
        lambda xp, q1, q2, k, rest: 9 * q1 * q2 + 18 * k * k,
        "Isserlis (1918)",
    )


@_form("erf")
def _erf() -> ClosedForm:
    def inner(q1: Number, q2: Number, rest: Number) -> Number:
        return 1 + 2 * (q1 + q2) + 4 * rest

    return ClosedForm(
        lambda xp, q: 0 * q,
        lambda xp, q1, q2, k, rest: (2 / _PI) * xp.atan2(2 * k, xp.sqrt(inner(q1, q2, rest))),
        lambda xp, q1, q2, k, rest: (4 / _PI) / xp.sqrt(inner(q1, q2, rest)),
        "Williams (1997), equation 11",
    )


@_form("sin")
def _sin(frequency: float = 1.0) -> ClosedForm:
    w = frequency * frequency

    def halves(xp: Library, q1: Number, q2: Number, k: Number) -> tuple[Number, Number]:
        return xp.exp(w * (k - (q1 / 2 + q2 / 2))), xp.exp(-w * (k + (q1 / 2 + q2 / 2)))

    def dual(xp: Library, q1: Number, q2: Number, k: Number, rest: Number) -> Number:
        # e^{−w(q₁+q₂)/2} sinh(wk), by expm1 so that small variances keep their digits
        return 0.5 * xp.exp(-w * (k + (q1 / 2 + q2 / 2))) * xp.expm1(2 * w * k)

    def slope(xp: Library, q1: Number, q2: Number, k: Number, rest: Number) -> Number:
        plus, minus = halves(xp, q1, q2, k)
        return 0.5 * w * (plus + minus)

    def safe(xp: Library, q1: Number, q2: Number, k: Number, rest: Number) -> Number:
        if xp is math:
            plus, minus = halves(xp, q1, q2, k)
            return dual(xp, q1, q2, k, rest) if w * abs(k) < 1 else 0.5 * (plus - minus)
        plus, minus = halves(xp, q1, q2, k)
        small = w * k.abs() < 1
        return xp.where(small, dual(xp, q1, q2, xp.where(small, k, 0 * k), rest), 0.5 * (plus - minus))

    return ClosedForm(lambda xp, q: 0 * q, safe, slope, "E e^{i(u±v)}")


@_form("cos")
def _cos() -> ClosedForm:
    def both(xp: Library, q1: Number, q2: Number, k: Number) -> tuple[Number, Number]:
        return xp.exp(k - (q1 / 2 + q2 / 2)), xp.exp(-k - (q1 / 2 + q2 / 2))

    def dual(xp: Library, q1: Number, q2: Number, k: Number, rest: Number) -> Number:
        plus, minus = both(xp, q1, q2, k)
        return 0.5 * (plus + minus)

    return ClosedForm(lambda xp, q: xp.exp(-q / 2), dual, _sin().dual, "E e^{i(u±v)}")


@_form("exp")
def _exp() -> ClosedForm:
    def dual(xp: Library, q1: Number, q2: Number, k: Number, rest: Number) -> Number:
        return xp.exp((q1 + q2) / 2 + k)

    return ClosedForm(lambda xp, q: xp.exp(q / 2), dual, dual, "moment generating function")


@_form("bump")
def _bump(s: float = 1.0) -> ClosedForm:
    def inner(q1: Number, q2: Number, rest: Number) -> Number:
        return s**4 + s * s * (q1 + q2) + rest

    return ClosedForm(
        lambda xp, q: s / xp.sqrt(s * s + q),
        lambda xp, q1, q2, k, rest: s * s / xp.sqrt(inner(q1, q2, rest)),
        lambda xp, q1, q2, k, rest: s * s * k / inner(q1, q2, rest) ** 1.5,
        "Gaussian integral of a Gaussian",
    )


@_form("gaussian")
def _gaussian() -> ClosedForm:
    return _bump(1.0)


@_form("gelu")
def _gelu() -> ClosedForm:
    def parts(xp: Library, q1: Number, q2: Number, k: Number, rest: Number) -> tuple[Number, Number, Number]:
        d = 1 + q1 + q2 + rest
        # 1/(1 + q₁) + 1/(1 + q₂), and not that less 1, of which large variances leave rounding
        return d, 1 / (1 + q1) + 1 / (1 + q2), 0.25 + xp.atan2(k, xp.sqrt(d)) / (2 * _PI)

    def dual(xp: Library, q1: Number, q2: Number, k: Number, rest: Number) -> Number:
        d, share, both = parts(xp, q1, q2, k, rest)
        return k * both + (rest + k * (k * share)) / (2 * _PI * xp.sqrt(d))

    def slope(xp: Library, q1: Number, q2: Number, k: Number, rest: Number) -> Number:
        d, share, both = parts(xp, q1, q2, k, rest)
        # (rest + k² share)/d − 1 over the common denominator (1 + q₁)(1 + q₂) = d + k²
        apart = (k * (k / d) - (1 + q1 + q2)) / (1 + q1) / (1 + q2)
        return both + k * (2 * share + apart) / (2 * _PI * xp.sqrt(d))

    return ClosedForm(
        lambda xp, q: q / xp.sqrt(2 * _PI * (1 + q)), dual, slope, "Stein's identity twice on u v Φ(u)Φ(v)"
    )


@_form("snake")
def _snake(a: float = 1.0) -> ClosedForm:
    """z + (1 − cos 2az)/2a: a line, a constant and a cosine; E u cos(2av) is zero by parity."""
    w = 4 * a * a

    def dual(xp: Library, q1: Number, q2: Number, k: Number, rest: Number) -> Number:
        size = abs(k)  # even in k; this form neither overflows nor cancels
        both = 0.5 * xp.exp(w * (size - (q1 / 2 + q2 / 2))) * xp.expm1(-w * size) ** 2
        return k + (xp.expm1(-w * q1 / 2) * xp.expm1(-w * q2 / 2) + both) / w

    def slope(xp: Library, q1: Number, q2: Number, k: Number, rest: Number) -> Number:
        plus, minus = xp.exp(w * (k - (q1 / 2 + q2 / 2))), xp.exp(-w * (k + (q1 / 2 + q2 / 2)))
        return 1 + 0.5 * (plus - minus)

    return ClosedForm(lambda xp, q: -xp.expm1(-w * q / 2) / (2 * a), dual, slope, "E e^{i(u±v)}")
