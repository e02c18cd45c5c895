r"""The characteristic function ψ(t) = E cos(tW) of a weight law: a series of its log near 0, a table beyond."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.weights import WeightLaw

TERMS = 14
_ENTRIES = 2048


@dataclass(frozen=True)
class Table:
    """ψ, ψ′ and ψ″/2 at equal steps from 0, for a Taylor step from the nearest entry.

    ψ‴ is at most E|W|³, so with a spacing δ the error is below E|W|³ (δ/2)³/6: 2e-9 on the range used here.

    Examples
    --------
    >>> import torch
    >>> from firstlight import weights
    >>> from firstlight.ensemble.samplers._characteristic import table
    >>> t = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    >>> (table(weights.Normal())(t) - torch.exp(-t**2 / 2)).abs().max() < 1e-8
    tensor(True)
    """

    step: float
    value: Tensor
    slope: Tensor
    bend: Tensor

    def __call__(self, t: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """ψ(t) for 0 ≤ t ≤ the end of the table (beyond it the last entry's parabola)."""
        x = t * (1 / self.step)
        index = x.round().clamp_max_(len(self.value) - 1)
        rest = x.sub_(index)
        where = index.long()
        result = self.bend.to(t.device)[where].mul_(rest).add_(self.slope.to(t.device)[where])
        return result.mul_(rest).add_(self.value.to(t.device)[where])


@lru_cache(maxsize=32)
@clean
def table(law: WeightLaw, *, reach: float = 8.0) -> Table:
    """The table of a law up to t = ``reach`` over its standard deviation."""
    magnitude, weight = _quadrature(law)
    step = reach / math.sqrt(float(weight @ magnitude**2)) / (_ENTRIES - 1)
    value, slope, bend = (np.empty(_ENTRIES) for _ in range(3))
    for some in np.array_split(np.arange(_ENTRIES), 16):
        angle = step * some[:, None] * magnitude
        cosine = np.cos(angle)
        value[some] = cosine @ weight
        slope[some] = -(np.sin(angle) @ (weight * magnitude)) * step
        bend[some] = -(cosine @ (weight * magnitude**2)) * (0.5 * step**2)
    return Table(step, *(torch.from_numpy(part) for part in (value, slope, bend)))


@lru_cache(maxsize=32)
@clean
def log_characteristic(law: WeightLaw) -> tuple[float, tuple[float, ...], float]:
    """Reach, coefficients and variance: log ψ_W(t) = Σ c_m (t/reach)^{2m}, m = 1…14, for |t| ≤ reach.

    The polynomial interpolates log ψ_W(t)/t² at Chebyshev points of t², on the largest interval where it is
    good to 3e-11. Reach 0: there is none, as where high moments are infinite.

    Examples
    --------
    >>> from firstlight import weights
    >>> from firstlight.ensemble.samplers._characteristic import log_characteristic
    >>> reach, c, variance = log_characteristic(weights.Normal())
    >>> abs(c[0] + reach**2 / 2) < 1e-9, abs(variance - 1) < 1e-9
    (True, True)
    """
    magnitude, weight = _quadrature(law)
    variance = float(weight @ magnitude**2)
    for reach in 2.0 ** np.arange(2, -8, -0.25) / math.sqrt(variance):
        nodes = 0.5 - 0.5 * np.cos(np.pi * (np.arange(TERMS) + 0.5) / TERMS)
        between = np.linspace(0.003, 1, 57)
        values = [_log_psi_over_t2(magnitude, weight, reach * np.sqrt(x)) for x in (nodes, between)]
        if not all(np.isfinite(part).all() for part in values):
            continue
        series = np.polynomial.Chebyshev.fit(nodes, values[0], TERMS - 1, domain=[0, 1])
        if np.abs(series(between) - values[1]).max() < 3e-11 * variance:
            c = series.convert(kind=np.polynomial.Polynomial).coef
            return float(reach), tuple((np.pad(c, (0, TERMS - len(c))) * reach**2).tolist()), variance
    return 0.0, (0.0,) * TERMS, variance


@lru_cache(maxsize=32)
@clean
def _quadrature(law: WeightLaw) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights for expectations over |W|: double-exponential quadrature of the quantile."""
    u = np.linspace(-4.2, 4.2, 1201)
    s = np.pi / 2 * np.sinh(u)
    v = np.exp(-np.logaddexp(0.0, 2 * s))  # 1/(1 + e^{2s}), to its last digit near both ends
    weight = np.pi * np.cosh(u) * v * np.exp(-np.logaddexp(0.0, -2 * s)) * (u[1] - u[0])
    magnitude = law._isf(torch.from_numpy(np.clip(v, 1e-300, 1.0))).numpy()
    good = np.isfinite(magnitude) & (weight > 0)
    return magnitude[good], weight[good] / weight[good].sum()


def _log_psi_over_t2(
    magnitude: NDArray[np.float64], weight: NDArray[np.float64], t: NDArray[np.float64]
) -> NDArray[np.float64]:
    half = np.sin(0.5 * t[:, None] * magnitude) ** 2 @ weight
    # ψ = 1 − 2 E sin²(tW/2): no digits are lost where t is small; NaN from the first zero of ψ on
    return np.where(half < 0.45, np.log1p(-2 * np.minimum(half, 0.45)), np.nan) / t**2
