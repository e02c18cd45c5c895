"""A rational approximation of an activation and of its derivative: what is stored, and how it is evaluated.

On one side of its zero an activation is, with b the distance from the zero,

    φ = b · (A + N(s)/Q(s)),      s = b² for an odd function, s = b for one side of a split one,

and a positive one is A·s + B + N(s)/Q(s). Pulling the constant (or the line) out of the quotient leaves it
small where φ is large, so that float32 rounds once where it would otherwise round a dozen times. Beyond the
cut the tail is C (x² + δ)^{γ/2}, which meets the quotient with its slope and has the right power.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Kind = Literal["odd", "side", "line"]


@dataclass(frozen=True)
class Quotient:
    """constant + line · s + numerator(s)/denominator(s); coefficients from the highest power down."""

    constant: float
    line: float
    numerator: tuple[float, ...]
    denominator: tuple[float, ...]

    def ratio(self, s: Tensor) -> Tensor:
        """N(s)/Q(s), with constants that a compiler can fold."""
        top = torch.full_like(s, self.numerator[0])
        for c in self.numerator[1:]:
            top = top * s + c
        bottom = self.denominator[0] * s + self.denominator[1]
        for c in self.denominator[2:]:
            bottom = bottom * s + c
        return top / bottom

    def __call__(self, s: Tensor) -> Tensor:
        """The whole of it."""
        value = self.ratio(s)
        return self.line * s + (value + self.constant) if self.line else value + self.constant

    def times(self, b: Tensor, s: Tensor) -> Tensor:
        """The product of b and the whole, with the large part b · constant kept out of the quotient's rounding."""
        return self.constant * b + b * self.ratio(s)


@dataclass(frozen=True)
class Piece:
    """One side of an activation and its derivative.

    Attributes
    ----------
    kind
        ``"odd"`` (both sides at once), ``"side"`` (one side of a zero) or ``"line"`` (a positive function).
    sign
        1 when the piece lives above its origin, −1 below.
    origin
        The zero of φ; for ``"line"`` the point that s is counted from.
    low, cut
        The interval of the fit, as distances from the origin along ``sign``; below ``low`` the value stays.
    value, slope
        The two quotients.
    scale, shift, power
        C, δ and γ of the tail.
    """

    kind: Kind
    sign: float
    origin: float
    low: float
    cut: float
    value: Quotient
    slope: Quotient
    scale: float
    shift: float
    power: float

    def distance(self, x: Tensor) -> Tensor:
        """b, the signed distance from the origin along the piece."""
        return x if self.kind == "odd" and self.origin == 0 else (x - self.origin) * self.sign

    def tail(self, b: Tensor) -> Tensor:
        """C (x² + δ)^{γ/2} for b ≥ cut."""
        x = b + self.sign * self.origin if self.origin else b
        return self.scale * (x * x + self.shift).pow(0.5 * self.power)

    def tail_slope(self, b: Tensor) -> Tensor:
        """Derivative of the tail."""
        x = b + self.sign * self.origin if self.origin else b
        return self.scale * self.power * x * (x * x + self.shift).pow(0.5 * self.power - 1)

    def evaluate(self, x: Tensor) -> Tensor:
        """φ on this piece (0 on the other side), by plain operations: for compilers, accelerators and autograd."""
        b = self.distance(x)
        if self.kind == "odd":
            inside = self.value.times(b, (b * b).clamp(max=self.cut**2))
            outside = torch.copysign(self.tail(b.abs().clamp(min=self.cut)), b)
            return torch.where(b.abs() > self.cut, outside, inside)
        s = b.clamp(self.low, self.cut)
        inside = self.value.times(s, s) if self.kind == "side" else self.value(s)
        return self.sign * torch.where(b > self.cut, self.tail(b.clamp(min=self.cut)), inside)

    def evaluate_slope(self, x: Tensor) -> Tensor:
        """φ' on this piece (0 on the other side), from its own fit."""
        b = self.distance(x)
        if self.kind == "odd":
            inside = self.slope((b * b).clamp(max=self.cut**2))
            return torch.where(b.abs() > self.cut, self.tail_slope(b.abs().clamp(min=self.cut)), inside)
        inside = self.slope(b.clamp(self.low, self.cut))
        both = torch.where(b > self.cut, self.tail_slope(b.clamp(min=self.cut)), inside)
        # at the zero itself the upper side counts, so that the slope there is a one-sided derivative
        outside = b <= self.low if self.sign < 0 else b < self.low
        return both.masked_fill(outside, 0.0)


@dataclass(frozen=True)
class RationalFit:
    """The pieces of an activation, for one working precision.

    Attributes
    ----------
    pieces
        Their sum is φ.
    error, slope_error
        Largest absolute error of φ and φ' seen on a fine grid of the fitted interval, in float64 arithmetic
        (φ relative to max(1, distance from the zero)/distance where that is less than 1).
    """

    pieces: tuple[Piece, ...]
    error: float
    slope_error: float

    def evaluate(self, x: Tensor) -> Tensor:
        """φ(x) by plain operations."""
        return _total([piece.evaluate(x) for piece in self.pieces])

    def evaluate_slope(self, x: Tensor) -> Tensor:
        """φ'(x) by plain operations."""
        return _total([piece.evaluate_slope(x) for piece in self.pieces])

    def to_dict(self) -> dict[str, Any]:
        """A structure for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RationalFit:
        """The inverse of ``to_dict``."""
        pieces = []
        for piece in data["pieces"]:
            quotients = {
                key: Quotient(
                    piece[key]["constant"],
                    piece[key]["line"],
                    tuple(piece[key]["numerator"]),
                    tuple(piece[key]["denominator"]),
                )
                for key in ("value", "slope")
            }
            pieces.append(Piece(**{**piece, **quotients}))
        return cls(tuple(pieces), data["error"], data["slope_error"])


def _total(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]
