"""One formula for an activation on the whole line: what is stored, and how it is evaluated.

With a logarithm L that grows like log |x| and is zero in the middle of what is fitted, an activation with a
tail x^γ is

    odd        φ = x · e^P,         P = c − ½(1 − γ) L + N(L)/Q(L),   L = log(λ + λκ x²),
    one side   φ = b · e^P,         P = c − (1 − γ) L + N(L)/Q(L),    L = log(λ + λκ |b|), b = x − kink,
    positive   φ = r · e^P,         P = c − (1 − γ) L + N(L)/Q(L),    L = log λr, r = z + √(z² + κ), z = x − origin,

and its derivative is φ times γ + M(L)/Q(L), over the variable; γ + M(L)/Q(L) is the slope of log φ against log |x|
(or against L). Far out N/Q and M/Q keep their last values, so the tail is a pure power without a branch. e^P is
rounded once; a quotient of large polynomials would be rounded a dozen times. λ centres the polynomials, costs
nothing, and keeps them from cancelling. Counted from the zero of φ, the polynomials would lose a digit of float32.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from firstlight.files.plain_data import Record

Kind = Literal["odd", "side", "line"]


@dataclass(frozen=True)
class Piece:
    """One side of an activation and its derivative; the formula is in the module's head.

    Attributes
    ----------
    kind
        ``"odd"`` (both sides at once), ``"side"`` (one side of a zero) or ``"line"`` (a positive function).
    sign
        1 when the piece lives above its origin, −1 below.
    origin
        The zero of φ; for ``"line"`` the point that z is counted from.
    low
        For ``"line"``, the z below which the value stays.
    stretch
        κ.
    scale
        λ.
    end
        The L from which N/Q and M/Q stay.
    constant, rate, power
        c, what L is multiplied by, and γ.
    value, slope, denominator
        Coefficients of N, M and Q from the constant up; Q(0) = 1.
    """

    kind: Kind
    sign: float
    origin: float
    low: float
    stretch: float
    scale: float
    end: float
    constant: float
    rate: float
    power: float
    value: tuple[float, ...]
    slope: tuple[float, ...]
    denominator: tuple[float, ...]

    def logarithm(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The factor in front of e^P (x, b or r), L, and what the factor is over in φ'."""
        top = 1e18 if x.dtype == torch.float32 else 1e150  # its square is finite
        if self.kind == "odd":
            square = (x * x).clamp(max=top * top)
            return x, torch.log(self.scale + self.scale * self.stretch * square), x
        b = x - self.origin
        if self.kind == "side":
            return b, torch.log(self.scale + self.scale * self.stretch * b.abs()), b
        z = b.clamp(self.low, top)
        root = torch.sqrt(z * z + self.stretch)
        ahead = z + root
        return ahead, torch.log(self.scale * ahead), root

    def polynomials(self, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """N, M and Q at L, by Horner's rule with constants that a compiler folds."""
        level = level.clamp(max=self.end)
        return _horner(self.value, level), _horner(self.slope, level), _horner(self.denominator, level)


@dataclass(frozen=True)
class RationalFit:
    """The pieces of an activation, for one working precision.

    Attributes
    ----------
    pieces
        One, or the upper and the lower side of a split activation, which share κ, λ, γ and the constant.
    error, slope_error
        Largest absolute error of φ and φ' seen on [−12, 12], evaluated in the working precision.
    programs
        The constants as tensors, by dtype, once ``fast`` has made them.
    """

    pieces: tuple[Piece, ...]
    error: float
    slope_error: float
    programs: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "programs": {}}  # made again where they are needed

    def evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """φ(x) and φ'(x) by plain operations: for compilers, accelerators and autograd."""
        piece = self.pieces[0]
        factor, level, pace = piece.logarithm(x)
        n, m, q = piece.polynomials(level)
        if len(self.pieces) == 2:
            below = factor < 0
            other = self.pieces[1].polynomials(level)
            n, m, q = (torch.where(below, b, a) for a, b in zip((n, m, q), other, strict=True))
        over = 1 / q
        growth = torch.exp(n * over + (piece.constant + piece.rate * level))
        steep = m * over + piece.power
        value = factor * growth
        return value, value / pace * steep if piece.kind == "line" else growth * steep

    def to_dict(self) -> Record:
        """A structure for JSON."""
        return {
            "pieces": [asdict(p) for p in self.pieces],
            "error": self.error,
            "slope_error": self.slope_error,
        }

    @classmethod
    def from_dict(cls, data: Record) -> RationalFit:
        """The inverse of ``to_dict``."""
        lists = ("value", "slope", "denominator")
        pieces = [Piece(**{**piece, **{k: tuple(piece[k]) for k in lists}}) for piece in data["pieces"]]
        return cls(tuple(pieces), data["error"], data["slope_error"])


def _horner(coefficients: Any, t: Tensor) -> Tensor:  # a checked tuple would not trace under a compiler
    total = t * coefficients[-1] + coefficients[-2]
    for c in coefficients[-3::-1]:
        total = total * t + c
    return total
