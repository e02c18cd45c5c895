"""Variances and correlations layer by layer, a thousand layers in tens of milliseconds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from firstlight import activations, gauss
from firstlight.errors import DomainError
from firstlight.theory.maps.dual_map import DualMap
from firstlight.theory.maps.layer import LayerMap

_NODES = 24
_WINDOW = 0.7
# Below this variance a φ that is smooth at 0 is its tangent to the last digit.
_LINEAR = 1e-17
# Where the tangent at 0 is nothing, φ is its leading power, read at the first of these variances at which rounding
# leaves an exponent that is whole to the second number and a hundred times the variance.
_LEADING, _WHOLE, _APART = (1e-13, 1e-10, 1e-8, 1e-6), 1e-9, 1.7
# Above this one moments may overflow, and above that one their squares do.
_HUGE, _SQUARES = 1e280, 1e140
_ORDERS = (96, 192, 384)
# Two variances this close give correlations that differ by less than rounding.
_SAME = 2e-15


@dataclass(frozen=True, eq=False)
class Path:
    """Variance, slope V' and χ at each layer."""

    q: np.ndarray
    slope: np.ndarray
    chi: np.ndarray


@dataclass(frozen=True)
class _Power:
    """E φ² and E φ'² where φ is its leading power, from both at one variance."""

    at: float
    second: float
    slope: float
    power: int

    @property
    def below(self) -> float:
        """The variance from which on the power is taken: larger where φ itself is rounding noise."""
        return _LINEAR if self.at == _LEADING[0] else self.at

    def __call__(self, q: float) -> tuple[float, float]:
        ratio = q / self.at
        return self.second * ratio**self.power, self.slope * ratio ** (self.power - 1)


def _leading(phi: activations.Activation) -> _Power | None:
    """The leading power of φ at zero; None if it is not whole."""
    for at in _LEADING:
        # both sides together, so that the next power cancels to first order; no power of two, which rounds alike
        t = math.sqrt(at) * torch.tensor([[1.0, -1.0], [_APART, -_APART]], dtype=torch.float64)
        near, far = phi(t).square().sum(1).tolist()
        power = 0.5 * math.log(far / near) / math.log(_APART) if near > 0 and 0 < far < math.inf else math.nan
        if math.isfinite(power) and round(power) and abs(power - round(power)) < _WHOLE + 100 * at:
            m = activations.moments(phi, at)
            return _Power(at, float(m.second), float(m.slope), round(power))
    return None


@dataclass
class _Table:
    """V, V' and χ as Chebyshev series in log q on windows made when they are first visited."""

    layer: LayerMap
    windows: dict[int, np.ndarray | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plain = self.layer.norm is None and 0.0 not in self.layer.phi.kinks
        self.smooth_at_zero = plain
        self.power = self.layer.phi.degree if self.layer.norm is None else None
        if self.power is not None:
            m = activations.moments(self.layer.phi, 1.0)
            self.unit = float(m.second), float(m.growth), float(m.slope)
        self.at_zero = self._direct(0.0) if plain else (math.nan,) * 3
        self.leading: _Power | None = None
        if plain and self.power is None and self.at_zero[:2] == (0.0, 0.0):
            self.leading = _leading(self.layer.phi)
            self.smooth_at_zero = self.leading is not None

    def __call__(self, q: float) -> tuple[float, float, float]:
        if not 0 < q < _HUGE:
            return self._direct(q)
        if self.power is not None:
            layer, (second, growth, slope), d = self.layer, self.unit, self.power
            own, scale = layer.skip**2, layer.branch**2 * layer.sigma_w2 / (1 - layer.dropout)
            before = q ** (d - 1)
            v = own * q + scale * second * before * q + layer.branch**2 * layer.sigma_b2
            return v, own + scale * growth * before, own + scale * slope * before
        if self.smooth_at_zero and q < (self.leading.below if self.leading else _LINEAR):
            if self.leading is not None:
                second, slope = self.leading(q)
                scale = self.layer.branch**2 * self.layer.sigma_w2 / (1 - self.layer.dropout)
                return scale * second, scale * self.leading.power * second / q, scale * slope
            v, slope, chi = self.at_zero
            return v + slope * q, slope, chi
        t = math.log(q) / _WINDOW
        index = math.floor(t)
        if index not in self.windows:
            self.windows[index] = self._window(index)
        table = self.windows[index]
        if table is None:
            return self._direct(q)
        angle = math.acos(max(-1.0, min(1.0, 2 * (t - index) - 1)))
        v, slope, chi = (np.cos(angle * _KS) @ table).tolist()
        return v * q, slope, chi

    def _direct(self, q: float) -> tuple[float, float, float]:
        if not math.isfinite(q):
            return math.inf, math.nan, math.nan
        try:
            v, slope, chi = (float(x) for x in self.layer.moments(q))
        except DomainError:
            far = self.layer.phi(math.sqrt(q) * torch.tensor([-6.0, -1.0, 1.0, 6.0], dtype=torch.float64))
            if q < _HUGE or bool(far.square().isfinite().all()):
                raise  # φ is too rough there; its variance has not overflowed
            return math.inf, math.nan, math.nan
        return (v, slope, chi) if math.isfinite(v) else (math.inf, math.nan, math.nan)

    def _window(self, index: int) -> np.ndarray | None:
        q = np.exp(((_POINTS + 1) / 2 + index) * _WINDOW)
        v, slope, chi = self.layer.moments(torch.from_numpy(q))
        # V/q varies less than V, and holds relative precision where V is small.
        values = np.stack([v.numpy() / q, slope.numpy(), chi.numpy()], 1)
        if not np.isfinite(values).all():
            return None
        table = _TO_SERIES @ values
        resolved = np.abs(table[-3:]).max(0) <= 1e-13 * np.abs(table).max(0)
        return table if resolved.all() else None


_KS = np.arange(_NODES)
_ANGLES = math.pi * (np.arange(_NODES) + 0.5) / _NODES
_POINTS = np.cos(_ANGLES)
_TO_SERIES = 2 / _NODES * np.cos(np.outer(_KS, _ANGLES))
_TO_SERIES[0] /= 2


def variances(layer: LayerMap, q1: float, depth: int) -> Path:
    """Variances of ``depth`` layers from the first one's."""
    table = _Table(layer)
    q, slopes, chis = (np.empty(depth) for _ in range(3))
    now, before = float(q1), math.nan
    known = (math.nan, math.nan, math.nan)
    for i in range(depth):
        if now != before:
            known = table(now)
            before = now
        q[i], slopes[i], chis[i] = now, known[1], known[2]
        # Once V(q) = q to rounding, the rest is constant.
        now = now if abs(known[0] - now) <= 4e-16 * now else known[0]
    return Path(q, slopes, chis)


def correlations(layer: LayerMap, q: np.ndarray, c1: float) -> np.ndarray:
    """Correlation of two inputs of equal norm at each layer, from the first one's."""
    c = np.empty(len(q))
    c[0] = c1
    if len(q) == 1:
        return c
    step = _stepper(layer, q)
    own, scale, bias = layer.skip**2, layer.branch**2 * layer.sigma_w2, layer.branch**2 * layer.sigma_b2
    top = math.inf if layer.phi.degree is not None else _SQUARES
    tail = _tail(layer.phi) if layer.norm is None and not q.max() < top else None
    shared = layer.norm != "batch" and layer.dropout == 0
    opposite = layer.phi.parity == "odd" and bias == 0
    for i in range(len(q) - 1):
        far = layer.norm is None and q[i] >= top
        if not (q[i] > 0 and 0 < q[i + 1] < math.inf) or (far and tail is None):
            c[i + 1 :] = math.nan
            break
        if shared and (c[i] == 1 or (c[i] == -1 and opposite)):
            c[i + 1] = c[i]  # to the last digit, which a rough φ needs
            continue
        seen = 0.0 if layer.norm == "batch" else c[i]
        inner = tail(float(q[i]), float(c[i])) if far and tail is not None else step(i, seen)
        covariance = own * c[i] * q[i] + scale * inner + bias
        c[i + 1] = max(-1.0, min(1.0, covariance / q[i + 1]))
    return c


def _tail(phi: activations.Activation) -> Callable[[float, float], float] | None:
    """E φ(u)φ(v) at variances so large that φ is a constant or a line on each side, or has a closed form; else None."""
    at = 1e60 * torch.tensor([1.0, 8.0, -1.0, -8.0], dtype=torch.float64)
    right, further, left, beyond = phi(at).tolist()
    for degree, power in ((0, 1.0), (1, 8.0)):
        size = max(abs(right), abs(left))
        if size > 0 and max(abs(further - power * right), abs(beyond - power * left)) <= 1e-12 * size:
            unit = 1e60**degree
            # φ = a·sign(z)|z|^d + b·|z|^d
            a, b = (right - left) / (2 * unit), (right + left) / (2 * unit)
            return _Halves(a, b, degree)
    form = activations.closed_form(phi)
    return None if form is None else _Form(form)


@dataclass(frozen=True)
class _Form:
    """E φ(u)φ(v) by a closed form, as of a sine, which is nothing on average; NaN where the form overflows."""

    form: activations.ClosedForm

    def __call__(self, q: float, c: float) -> float:
        try:
            return float(self.form.dual(math, q, q, c * q, q * q * (1 - c) * (1 + c)))
        except (OverflowError, ZeroDivisionError):
            return math.nan


@dataclass(frozen=True)
class _Halves:
    """E φ(u)φ(v) of two constants (degree 0) or two half lines (degree 1)."""

    a: float
    b: float
    degree: int

    def __call__(self, q: float, c: float) -> float:
        angle = 2 / math.pi * math.asin(c)
        if self.degree == 0:
            return self.b**2 + self.a**2 * angle
        return q * (self.a**2 * c + self.b**2 * (2 / math.pi * math.sqrt((1 - c) * (1 + c)) + c * angle))


def _stepper(layer: LayerMap, q: np.ndarray):  # type: ignore[no-untyped-def]
    """(layer index, correlation) → E φ(u)φ(v), by the fastest exact way for this φ."""
    phi = layer.phi
    seen = np.ones_like(q) if layer.norm else q
    form = activations.closed_form(phi)
    if form is not None:

        def closed(i: int, c: float) -> float:
            v = float(seen[i])
            if phi.degree is not None:
                return v**phi.degree * form.dual(math, 1.0, 1.0, c, (1 - c) * (1 + c))
            return form.dual(math, v, v, c * v, v * v * (1 - c) * (1 + c))

        return closed
    # A variance that vanished or overflowed ends the path: later layers are not computed. Huge variances end the path
    # too.
    usable = np.isfinite(seen) & (seen > 0)
    seen = np.minimum(seen[: len(seen) if usable.all() else max(1, int(np.argmin(usable)))], 1.0 + _SQUARES)
    seen = np.where(seen > _SQUARES, 1.0, seen)
    distinct = np.where(np.abs(np.diff(seen, prepend=math.nan)) <= _SAME * seen, 0, 1)
    degree = phi.degree
    if degree is not None and bool((seen != 1).any()):
        # one function of the correlation, and the power of the variance
        unit = _stepper(layer.with_(norm="rms"), np.ones_like(seen))
        return lambda i, c: float(seen[i]) ** degree * unit(i, c)
    series = _series(phi, seen, distinct) if not phi.kinks and usable[0] else None
    if series is not None:
        return series
    runs = np.add.reduceat(np.ones(len(seen)), np.nonzero(distinct)[0])
    long = {int(i) for i, n in zip(np.nonzero(distinct)[0], runs) if n > 12}
    start = np.maximum.accumulate(np.where(distinct, np.arange(len(seen)), 0))

    def numeric(i: int, c: float) -> float:
        if int(start[i]) in long:
            return float(DualMap.of(phi, float(seen[start[i]]))(np.array([c]))[0])
        return float(activations.dual(phi, seen[i], seen[i], c))

    return numeric


def _series(
    phi: activations.Activation, seen: np.ndarray, distinct: np.ndarray
) -> Callable[[int, float], float] | None:
    """Hermite series of each distinct variance, and the tangent where the variance is tiny; None if one is long."""
    zero = torch.zeros(1, dtype=torch.float64)
    value2, slope2 = float(phi(zero)[0]) ** 2, float(phi.derivative(zero)[0]) ** 2
    leading = _leading(phi) if value2 == slope2 == 0 and seen.min() < _LEADING[-1] else None
    small = seen < (leading.below if leading else _LINEAR)
    at = torch.from_numpy(np.where(small, leading.at if leading else 1.0, seen)[np.nonzero(distinct)[0]])
    for order in _ORDERS:
        a2 = gauss.hermite_coefficients(phi, at, order).numpy() ** 2
        total = a2.sum(1, keepdims=True)
        if (a2[:, -6:].sum(1, keepdims=True) <= 1e-14 * total).all():
            break
    else:
        return None
    used = int(np.nonzero((a2 > 1e-17 * total).any(0))[0].max(initial=0)) + 1
    table, which, powers = a2[:, :used], np.cumsum(distinct) - 1, np.arange(used)

    def series(i: int, c: float) -> float:
        if small[i] and leading is None:
            return value2 + slope2 * c * float(seen[i])
        found = float(table[which[i]] @ np.power(c, powers))
        return found / leading.second * leading(float(seen[i]))[0] if small[i] and leading else found

    return series
