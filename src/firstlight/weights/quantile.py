r"""A law given only by its quantile function: everything else follows by inversion, differentiation and quadrature.

With v = P(|W| > t) and v = 1/(1 + e^x), every expectation is an integral over the real line,

    E|W|^s = ∫ exp(s log |W|(x)) v(1 − v) dx,

whose integrand decays exponentially at both ends: the trapezoid rule converges geometrically where the quantile is
analytic, and like h² at a kink.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError, user_code
from firstlight.weights.law import WeightLaw

Quantile = Callable[[Tensor], Any]
_STEP = 1 / 16  # of x: aliases fold back only beyond |Im s| = 2π/h = 100
_FAR = 690.0  # e^{−690} is about the smallest probability of float64
_BEND = -16.0  # below it 1 − v has lost half its digits, and |W| follows its power law at 0
# how far into the tail a quantile may be asked; the last is 2⁻⁵⁵, which sampling needs
_DEPTHS = (_FAR, 230.0, 92.0, 37.4)
_BLOCK = 400_000  # entries of the matrix of one block of a quadrature


@dataclass(frozen=True)
class QuantileLaw(WeightLaw):
    """The symmetric law with a given quantile function; made by ``from_icdf``, which checks it."""

    icdf_function: Quantile
    label: str = "law of an icdf"

    def __post_init__(self) -> None:
        _check(self)

    @property
    def name(self) -> str:
        """As given."""
        return self.label

    # ---- |W| as a function of x, v = 1/(1 + e^x)

    def _isf(self, v: Tensor) -> Tensor:
        # the lower half of the law: v/2 keeps its digits in the tail, where 1 − v/2 would not
        return -evaluate(self.icdf_function, v / 2, self.label)

    def _of_odds(self, x: Tensor) -> Tensor:
        return self._isf(torch.sigmoid(-x))

    @cached_property
    @clean
    def depth(self) -> float:
        """The largest −log P(|W| > t) up to which the quantile function is finite and rises."""
        for depth in _DEPTHS:
            way = torch.exp(-torch.linspace(1.0, depth, 64, dtype=torch.float64))
            size = self._isf(way)
            if bool((torch.isfinite(size) & (size > 0)).all() and (torch.diff(size) >= 0).all()):
                return depth
        return 0.0  # refused by the check

    @cached_property
    @clean
    def edge(self) -> float:
        """The end of the support: the quantile at 0, if the function has one, else infinity."""
        value = float(self._isf(torch.zeros(1, dtype=torch.float64))[0])
        return value if value > 0 else math.inf

    @cached_property
    @clean
    def _nodes(self) -> tuple[Any, Any]:
        """Log |W| and log(v(1 − v)·step) at the nodes."""
        x = np.arange(-_FAR / _STEP, math.floor(self.depth / _STEP) + 1) * _STEP
        past = x < _BEND
        magnitude = self._of_odds(torch.from_numpy(x[~past])).numpy()
        bad = ~(np.isfinite(magnitude) & (magnitude > 0))
        if bad.any():
            at = int(np.argmax(bad))
            p = 0.5 / (1 + math.exp(x[~past][at]))
            raise DomainError(
                f"while taking moments of {self.label}: expected a finite negative icdf at every p in (0, ½), got "
                f"{-magnitude[at]:.3g} at p = {p:.3g}; correct the icdf there"
            )
        size = np.empty_like(x)
        size[~past] = np.log(magnitude)
        first, power = self._origin
        size[past] = first + power * (x[past] - _BEND)
        log_weight = -np.abs(x) - 2 * np.log1p(np.exp(-np.abs(x))) + math.log(_STEP)
        return size, log_weight

    @cached_property
    @clean
    def _origin(self) -> tuple[float, float]:
        """Log |W| at the bend, and the power of 1 − v that |W| is below it."""
        x = torch.tensor([_BEND, _BEND + 2], dtype=torch.float64)
        logs, log_rest = self._of_odds(x).log(), -torch.log1p(torch.exp(-x))
        return float(logs[0]), float((logs[1] - logs[0]) / (log_rest[1] - log_rest[0]))

    # ---- what a law has to say

    def _sf(self, t: Tensor) -> Tensor:
        low, high = torch.full_like(t, -_FAR), torch.full_like(t, self.depth)
        for _ in range(64):
            middle = (low + high) / 2
            above = self._of_odds(middle) > t
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        v = torch.sigmoid(-low)
        v = torch.where(t <= 0, 1.0, v)
        return torch.where(t >= min(self.edge, self._deepest), 0.0, v)

    @cached_property
    @clean
    def _deepest(self) -> float:
        return float(self._of_odds(torch.tensor([self.depth], dtype=torch.float64))[0])

    def _log_density(self, t: Tensor) -> Tensor:
        first, power = self._origin
        near = math.exp(first)
        v = self._sf(t.clamp(min=near))
        x = torch.logit(v.clamp(min=math.exp(-self.depth))).neg()
        inside = -torch.log(self._slope(x)) - x.abs() - 2 * torch.log1p(torch.exp(-x.abs()))
        if abs(rise := 1 / power - 1) > 1e-6:  # nearer to 0 the density is a power of t
            inside = inside + rise * (t.log() - first).clamp(max=0)
        return torch.where(v > 0, inside, -math.inf)

    def _slope(self, x: Tensor) -> Tensor:
        """d|W|/dx: by autograd where the icdf is made of torch functions, by fourth-order differences otherwise."""
        with torch.enable_grad():
            at = x.detach().clone().requires_grad_()
            value = self._of_odds(at)
            if value.requires_grad:
                (slope,) = torch.autograd.grad(value.sum(), at)
                if bool((torch.isfinite(slope) & (slope > 0)).all()):
                    return slope
        h = 2e-3
        at = x.detach().clamp(-_FAR + 3 * h, self.depth - 3 * h)
        f1 = self._of_odds(at + h) - self._of_odds(at - h)
        f2 = self._of_odds(at + 2 * h) - self._of_odds(at - 2 * h)
        return (8 * f1 - f2) / (12 * h)

    @cached_property
    @clean
    def strip(self) -> tuple[float, float]:
        """Where moments are finite, read off the quantile's two ends: the power of |W| at 0, and that of its tail."""
        power = self._origin[1]
        low = -math.inf if power < 1e-6 else round(-1 / power, 7)
        deep = torch.tensor(
            [self.depth / 3, self.depth / 3 + 2, self.depth - 2, self.depth], dtype=torch.float64
        )
        logs = self._of_odds(deep).log()
        before, after = float(logs[1] - logs[0]) / 2, float(logs[3] - logs[2]) / 2
        # a power-law tail keeps its slope in log t against log v; lighter tails, lognormal ones too, flatten
        return low, 1 / after if after > 1e-4 and after > 0.8 * before else math.inf

    def log_mellin(self, s: object) -> Any:
        """Log E|W|^s by the trapezoid rule in x."""
        s = np.asarray(s, dtype=np.complex128)
        flat = s.reshape(-1)
        size, log_weight = self._nodes
        out = np.empty(flat.shape, dtype=np.complex128)
        # lines of constant Re s, as a Mellin inversion asks for, share the part that does not oscillate
        for real in np.unique(flat.real):
            chosen = np.flatnonzero(flat.real == real)
            exponent = real * size + log_weight
            top = float(exponent.max())
            kept = exponent > top - 40
            amplitude = np.exp(exponent[kept] - top)
            for part in np.array_split(chosen, max(1, chosen.size * int(kept.sum()) // _BLOCK)):
                waves = np.exp(1j * np.outer(flat[part].imag, size[kept]))
                out[part] = np.log(waves @ amplitude) + top
        return out.reshape(s.shape)


def evaluate(function: Quantile, p: Tensor, label: str) -> Tensor:
    """The user's function on float64 probabilities, of torch or of NumPy."""
    with user_code(
        f"calling the quantile function of the weight law {label}",
        "the function takes a float64 tensor or array of probabilities",
        expected="a number for each probability", error=DomainError,
    ), np.errstate(all="ignore"):  # fmt: skip
        value = _called(function, p)
        if not isinstance(value, Tensor):
            value = torch.as_tensor(np.asarray(value, dtype=np.float64))
    if value.shape != p.shape:
        raise DomainError(
            f"while making the weight law {label}: expected an icdf that acts entry by entry, got shape "
            f"{tuple(value.shape)} for {tuple(p.shape)}; vectorise it"
        )
    return value.to(p.device, torch.float64)


def _called(function: Quantile, p: Tensor) -> Any:
    """The function of a tensor, or of an array where the function is of NumPy."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "__array_wrap__", DeprecationWarning)
            return function(p)
    except (RuntimeError, DeprecationWarning) as error:
        # NumPy refuses a tensor that records its gradient, and gives notice to refuse every tensor
        if not (p.requires_grad or "__array_wrap__" in str(error)):
            raise
    array: Any = p.detach().cpu().numpy()
    return function(array)


@checked
@clean
def from_icdf(icdf: Quantile, *, name: str = "law of an icdf") -> WeightLaw:
    r"""The symmetric weight law with a given quantile function, as a law like every other.

    Only the lower half is used, :math:`|W| = -F^{-1}(v/2)` with v the probability of a larger magnitude, so tails are
    exact if the function is at small probabilities. The cdf is its inverse by bisection (relative 1e-13 in the
    tail), the density its derivative (autograd; differences of fourth order for NumPy functions, 1e-9), and
    :math:`E|W|^s=\int_0^1 (-F^{-1}(v/2))^s\,dv` a trapezoid rule (1e-12 for analytic quantiles, 1e-4 with kinks; for
    s below −0.2 fewer digits: of a normal law 1e-11 at −0.5 and 2e-8 at −0.9).

    Parameters
    ----------
    icdf
        F⁻¹ on float64 tensors of probabilities, entry by entry; a NumPy or scipy function does too.
    name
        How reports name the law.

    Raises
    ------
    DomainError
        When F⁻¹ is NaN, is not strictly increasing (weights of atoms are ``Discrete``), is not antisymmetric
        about ½, or has no finite value at the probability 2⁻⁵⁵ that sampling reaches.

    Examples
    --------
    >>> import torch
    >>> from firstlight import weights
    >>> law = weights.from_icdf(lambda p: torch.special.ndtri(p), name="normal by its quantile")
    >>> round(law.moment(4), 10), round(float(law.cdf(1.0)), 10)
    (3.0, 0.8413447461)
    """
    return QuantileLaw(icdf, name)


def _check(law: QuantileLaw) -> None:
    what = f"while making the weight law {law.label}"
    p = torch.tensor([2.0**-55, 1e-12, 1e-8, *np.linspace(1e-4, 0.4999, 40)], dtype=torch.float64)
    lower = evaluate(law.icdf_function, p, law.label)
    ends = [f"{float(a):.3g} at p = {float(b):.3g}" for a, b in zip(lower, p, strict=True)]
    if bool(lower.isnan().any()):
        raise DomainError(
            f"{what}: expected an icdf, got {ends[int(lower.isnan().int().argmax())]}; correct the icdf there"
        )
    if not math.isfinite(float(lower[0])):
        raise DomainError(
            f"{what}: expected a finite quantile at every p > 0, got {ends[0]}, which sampling reaches; write the icdf "
            "so that small p keep their digits (ndtri(p), not erfinv(2p − 1))"
        )
    falls = torch.diff(lower) <= 0
    if bool(falls.any()):
        at = int(falls.int().argmax())
        raise DomainError(
            f"{what}: expected a strictly increasing icdf, got {ends[at]} and {ends[at + 1]}; a law with atoms is "
            "weights.Discrete, a law without a quantile function has none"
        )
    inner = p[3:]
    gap = (lower[3:] + evaluate(law.icdf_function, 1 - inner, law.label)).abs()
    worst = int((gap / lower[3:].abs()).nan_to_num(nan=math.inf).argmax())
    if not float(gap[worst]) <= 1e-6 * float(lower[3:].abs().max()):
        raise DomainError(
            f"{what}: expected a symmetric law, icdf(p) = −icdf(1 − p), got a sum of {float(gap[worst]):.3g} at p = "
            f"{float(inner[worst]):.3g}; subtract the median, or make the law symmetric"
        )
