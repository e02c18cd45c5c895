"""Moments of all entries of a tensor in one pass: float32 blocks, float64 totals, nothing stored."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.measure._blocks import CPU_BLOCK, blocks, floating, short_sums, strided_sample, to_floats

_PILOT = 512
# Rows of up to so many entries are measured in float64: the calls cost more than the arithmetic.
_SHORT = 8192
# Fourth powers of scaled deviations in this range neither overflow float32 nor become subnormal.
_TAME = (1e-4, 1e4)
_LIMIT = {torch.float32: 1e8, torch.float64: 1e70}
# Past this many standard deviations between the pilot's mean and the true one, cancellation costs digits.
_DRIFT = 8.0


def _ldexp(x: float, exponent: int) -> float:
    """``x · 2**exponent``, infinite instead of an error where it cannot be represented."""
    try:
        return math.ldexp(x, exponent)
    except OverflowError:
        return math.copysign(math.inf, x)


@dataclass(frozen=True)
class Moments:
    """Moments of the finite entries of one tensor, or of several merged.

    Attributes
    ----------
    count
        Number of entries, finite or not.
    mean, q, var
        E x, E x² and E (x − E x)² over the finite entries (biased: divided by their number);
        NaN when there are none.
    skewness, kurtosis
        E (x − E x)³ / var^{3/2} and E (x − E x)⁴ / var² − 3; NaN where the variance is zero.
    absmax
        Largest finite |x|.
    nonfinite
        Share of all entries that are NaN or infinite.
    """

    count: int
    mean: float
    q: float
    var: float
    skewness: float
    kurtosis: float
    absmax: float
    nonfinite: float

    @property
    def finite(self) -> int:
        """Number of finite entries."""
        return self.count - round(self.nonfinite * self.count)

    @property
    def rms(self) -> float:
        """√q, the root mean square."""
        return math.sqrt(self.q)

    @property
    def std(self) -> float:
        """√var, the standard deviation."""
        return math.sqrt(self.var)

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets of entries together, exact up to float64 rounding.

        The central sums combine by the pairwise update of Chan, Golub and LeVeque (1983), extended to the
        third and fourth order by Pébay (2008, equations 2.1 to 2.4).
        """
        if self.count == 0 or other.count == 0:
            return other if self.count == 0 else self
        count = self.count + other.count
        n = self.finite + other.finite
        nonfinite = (count - n) / count
        if self.finite == 0 or other.finite == 0:
            return replace(other if self.finite == 0 else self, count=count, nonfinite=nonfinite)
        a, b = self.finite / n, other.finite / n
        unit = max(self.std, other.std, abs(other.mean - self.mean))
        absmax = max(self.absmax, other.absmax)
        mean = self.mean * a + other.mean * b
        if unit == 0.0 or not math.isfinite(unit):
            var = 0.0 if unit == 0.0 else math.inf
            return Moments(count, mean, var + mean * mean, var, math.nan, math.nan, absmax, nonfinite)
        # In units of the largest spread, so that no power overflows.
        d = (other.mean - self.mean) / unit
        va, vb = (self.std / unit) ** 2, (other.std / unit) ** 2
        ta, tb = self._standardised(unit, 3), other._standardised(unit, 3)
        fa, fb = self._standardised(unit, 4), other._standardised(unit, 4)
        m2 = a * va + b * vb + a * b * d * d
        m3 = a * ta + b * tb + a * b * (a - b) * d**3 + 3 * a * b * d * (vb - va)
        m4 = a * fa + b * fb + a * b * (a * a - a * b + b * b) * d**4
        m4 += 6 * a * b * d * d * (a * vb + b * va) + 4 * a * b * d * (tb - ta)
        var = m2 * unit * unit
        skewness, kurtosis = m3 / m2**1.5, m4 / (m2 * m2) - 3.0
        return Moments(count, mean, var + mean * mean, var, skewness, kurtosis, absmax, nonfinite)

    def _standardised(self, unit: float, order: int) -> float:
        """The central moment of this order in units of ``unit``; zero where the variance is."""
        if self.var == 0.0:
            return 0.0
        ratio = self.std / unit
        return ratio**3 * self.skewness if order == 3 else ratio**4 * (self.kurtosis + 3.0)


@dataclass(frozen=True)
class SecondMoments:
    """What ``second_moments`` gives; the fields mean what they mean in ``Moments``."""

    count: int
    mean: float
    q: float
    absmax: float
    nonfinite: float


@dataclass
class _Sums:
    """Totals of powers of ``scale · x − shift`` over the finite entries, in float64."""

    finite: int = 0
    low: float = math.inf
    high: float = -math.inf
    powers: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)


def work_dtype(x: Tensor) -> torch.dtype:
    """The type that moments of ``x`` are taken in."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _range(block: Tensor) -> tuple[Tensor, float, float]:
    """The finite entries of a block with their least and largest value."""
    low, high = to_floats(torch.aminmax(block)) if block.numel() else (math.inf, -math.inf)
    if math.isfinite(low) and math.isfinite(high):
        return block, low, high
    block = block[torch.isfinite(block)]
    return _range(block) if block.numel() else (block, math.inf, -math.inf)


def _sums(x: Tensor, shift: float, exponent: int, order: int) -> _Sums:
    """Power sums of ``2**exponent · x − shift`` up to ``order`` (2 or 4), block by block."""
    dtype = work_dtype(x)
    total = _Sums()
    powers = [0.0, 0.0, 0.0, 0.0]
    buffer: Tensor | None = None
    squares: Tensor | None = None
    for raw in blocks(x):
        block, low, high = _range(raw if raw.dtype == dtype else raw.to(dtype))
        n = block.numel()
        if n == 0:
            continue
        total.finite += n
        total.low, total.high = min(total.low, low), max(total.high, high)
        if buffer is None or squares is None or buffer.numel() < n:
            buffer, squares = torch.empty_like(block), torch.empty_like(block)
        d = block
        if exponent:
            d = torch.mul(d, 2.0**exponent, out=buffer[:n])
        if shift:
            d = torch.sub(d, shift, out=buffer[:n])
        # sums of products, and no dot products: a sum adds in pairs, a dot product loses digits on some processors
        d2 = torch.mul(d, d, out=squares[:n])
        sums = [d.sum(), d2.sum()]
        if order == 4:
            d3 = torch.mul(d, d2, out=buffer[:n])
            sums += [d3.sum(), torch.mul(d2, d2, out=squares[:n]).sum()]
        for i, value in enumerate(to_floats(sums)):
            powers[i] += value
    total.powers = (powers[0], powers[1], powers[2], powers[3])
    return total


def _inverse(size: float, dtype: torch.dtype) -> int:
    """The exponent of a power of two near 1/size that the dtype can hold."""
    most = 126 if dtype == torch.float32 else 1000
    return max(-most, min(most, -math.frexp(size)[1]))


def _exponent(size: float, dtype: torch.dtype) -> int:
    """The power of two that brings a positive ``size`` near 1; 0 where that is not needed."""
    tame = size == 0.0 or _TAME[0] < size < _TAME[1] or not math.isfinite(size)
    return 0 if tame else _inverse(size, dtype)


def _rounded(x: float, dtype: torch.dtype) -> float:
    return float(np.float32(x)) if dtype == torch.float32 else x


def _run(x: Tensor, order: int) -> tuple[_Sums, float, int]:
    """The sums about a pilot shift and at a pilot scale, redone where the pilot misjudged the tensor."""
    dtype = work_dtype(x)
    shift, exponent = 0.0, 0
    if x.numel():
        pilot, low, high = _range(strided_sample(x, _PILOT).to(dtype))
        exponent = _exponent(max(abs(low), abs(high)), dtype)
        if order == 4 and pilot.numel() > 1:
            # the mean of scaled entries cannot overflow, and rounding makes it one the work dtype can hold
            mean = (pilot * 2.0**exponent if exponent else pilot).mean().item()
            shift = _rounded(mean, dtype)
    sums = _sums(x, shift, exponent, order)
    if sums.finite == 0:
        return sums, shift, exponent
    size = max(abs(sums.low), abs(sums.high))
    scaled = _ldexp(size, exponent)
    if scaled > _LIMIT[dtype] or (0.0 < scaled < 1 / _LIMIT[dtype]):
        shift = _ldexp(shift, -exponent)
        exponent = _inverse(size, dtype)
        shift = _rounded(_ldexp(shift, exponent), dtype)
        sums = _sums(x, shift, exponent, order)
    if order == 4:
        mean, variance = _centre(sums)
        if mean * mean > _DRIFT**2 * variance and sums.low != sums.high:
            shift = _rounded(shift + mean, dtype)
            sums = _sums(x, shift, exponent, order)
    return sums, shift, exponent


def _centre(sums: _Sums) -> tuple[float, float]:
    mean = sums.powers[0] / sums.finite
    return mean, max(sums.powers[1] / sums.finite - mean * mean, 0.0)


@checked
@clean
def moments(x: Tensor) -> Moments:
    """Count, mean, second moment, variance, skewness, excess kurtosis and largest entry of a tensor.

    One pass reads blocks that fit the cache and keeps totals in float64. The totals are taken about a pilot mean and
    at a power-of-two scale. So a large mean costs no digits, and no entry overflows or vanishes. A second pass follows
    only if the pilot misjudged the tensor. Memory: two blocks.

    Parameters
    ----------
    x
        Any floating-point tensor: any dtype, shape, strides and device. Entries that are NaN or infinite are
        left out of every moment and counted in ``nonfinite``.

    Returns
    -------
    Moments
        Python floats; NaN for what is undefined (no finite entry; shape moments of a constant).

    Raises
    ------
    DomainError
        If ``x`` is not a dense tensor of real floating-point data.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> m = measure.moments(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    >>> m.mean, m.q, m.var, m.absmax
    (2.5, 7.5, 1.25, 4.0)
    """
    x = floating(x, "measuring the moments of a tensor")
    sums, shift, exponent = _run(x, 4)
    return _from_sums(sums, x.numel(), shift, exponent)


def _from_sums(sums: _Sums, count: int, shift: float, exponent: int) -> Moments:
    """Moments of x from the power sums of ``2**exponent · x − shift``."""
    n = sums.finite
    if n == 0:
        nan = math.nan
        return Moments(count, nan, nan, nan, nan, nan, nan, 1.0 if count else 0.0)
    absmax, nonfinite = max(abs(sums.low), abs(sums.high)), (count - n) / count
    if sums.low == sums.high:
        return Moments(count, sums.low, sums.low**2, 0.0, math.nan, math.nan, absmax, nonfinite)
    s1, s2, s3, s4 = (power / n for power in sums.powers)
    m2 = s2 - s1 * s1
    m3 = s3 - 3 * s1 * s2 + 2 * s1**3
    m4 = s4 - 4 * s1 * s3 + 6 * s1 * s1 * s2 - 3 * s1**4
    mean = _ldexp(s1 + shift, -exponent)
    var = _ldexp(m2, -2 * exponent)
    q = _ldexp(m2 + (s1 + shift) ** 2, -2 * exponent)
    if m2 <= 0.0:
        return Moments(count, mean, q, 0.0, math.nan, math.nan, absmax, nonfinite)
    return Moments(count, mean, q, var, m3 / m2**1.5, m4 / (m2 * m2) - 3.0, absmax, nonfinite)


@checked
@clean
def moments_of_each(rows: Float[Tensor, "rows entries"]) -> list[Moments]:
    """``moments`` of every row of a matrix, in far fewer calls.

    Rows with entries that are not finite, or too large or too small for their fourth powers, go through
    ``moments`` one by one.

    Raises
    ------
    DomainError
        Something else than a matrix of real floating-point numbers.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> [m.q for m in measure.moments_of_each(torch.tensor([[3.0, 4.0], [0.0, 2.0**99]]))] == [12.5, 2.0**197]
    True
    """
    rows = floating(rows, "measuring the moments of rows")
    if rows.dim() != 2:
        raise DomainError(
            f"while measuring the moments of rows: expected a matrix, got shape {tuple(rows.shape)}; "
            "flatten every sample, or use moments(x)"
        )
    count = rows.shape[1]
    if rows.numel() == 0:
        return [moments(row) for row in rows]
    rows = rows.to(work_dtype(rows))
    if rows.device.type == "cpu" and count <= _SHORT:
        return _of_short(rows)
    step = max(1, 2 * CPU_BLOCK // count) if rows.device.type == "cpu" else len(rows)
    result: list[Moments] = []
    for x in rows.split(step):
        # apart, each is vectorised; torch.aminmax along an axis takes sixteen times as long
        lows, highs = x.amin(dim=1).tolist(), x.amax(dim=1).tolist()
        shifts = x.mean(dim=1, keepdim=True)
        d = x - shifts
        squares = d * d
        columns = (d.sum(dim=1), squares.sum(dim=1), d.mul_(squares).sum(dim=1), squares.square_().sum(dim=1))
        sums = torch.stack(columns, dim=1).tolist()
        for i, (low, high, shift) in enumerate(zip(lows, highs, shifts.flatten().tolist())):
            size = max(abs(low), abs(high))
            tame = math.isfinite(low) and math.isfinite(high) and _TAME[0] < size < _TAME[1]
            found = _Sums(count, low, high, tuple(sums[i]))
            result.append(_from_sums(found, count, shift, 0) if tame else moments(x[i]))
    return result


def _of_short(rows: Tensor) -> list[Moments]:
    """Moments of short rows in float64, where a call of numpy takes a third of the time of a call of torch."""
    lows, highs, shifts, powers = short_sums(rows)
    count, result = rows.shape[1], list[Moments]()
    for i, (low, high, shift, found) in enumerate(zip(lows, highs, shifts, powers)):
        tame = _TAME[0] < max(abs(low), abs(high)) < _TAME[1]  # false for what is not a number
        result.append(
            _from_sums(_Sums(count, low, high, found), count, shift, 0) if tame else moments(rows[i])
        )
    return result


@checked
@clean
def second_moments(x: Tensor) -> SecondMoments:
    """Mean, second moment, largest entry and share of non-finite entries: ``moments`` at half its cost.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> measure.second_moments(torch.tensor([3.0, -4.0, float("inf")])).q
    12.5
    """
    x = floating(x, "measuring the second moment of a tensor")
    sums, _, exponent = _run(x, 2)
    n, count = sums.finite, x.numel()
    if n == 0:
        return SecondMoments(count, math.nan, math.nan, math.nan, 1.0 if count else 0.0)
    mean, q = _ldexp(sums.powers[0] / n, -exponent), _ldexp(sums.powers[1] / n, -2 * exponent)
    return SecondMoments(count, mean, q, max(abs(sums.low), abs(sums.high)), (count - n) / count)


@checked
@clean
def log_rms(x: Tensor) -> float:
    """Natural log of the root mean square of the finite entries, exact where x² would overflow or vanish.

    Returns −inf where every finite entry is zero and NaN where there is none.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> round(measure.log_rms(torch.full((3,), 1e30)), 6)
    69.077553
    """
    x = floating(x, "measuring the log rms of a tensor")
    sums, _, exponent = _run(x, 2)
    if sums.finite == 0:
        return math.nan
    square = sums.powers[1] / sums.finite
    return 0.5 * math.log(square) - exponent * math.log(2.0) if square > 0.0 else -math.inf
