"""The variance map where quadrature does not resolve φ: by strata of a Gaussian, with an error that tells enough."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from firstlight import activations, gauss
from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.theory.maps.layer import LayerMap

# Evaluations that one mean may take, and halvings of the range in log q by which the resolved part is found.
_MOST_WORK, _HALVINGS = 60_000, 6
_REPEATS, _STRATA = 16, 4096
# A second moment that is known to this share is known.
_KNOWN = 1e-6
# So many standard errors of sixteen repeats leave no doubt about a sign.
_SURE = 8.0


@dataclass(frozen=True)
class CoarseMap:
    """V of a layer on an interval of variances: by quadrature from ``low`` to ``high``, by strata elsewhere.

    Attributes
    ----------
    costly
        Quadrature resolves φ, but each mean takes long: it is taken only where strata do not tell V(q) from q.
    """

    layer: LayerMap
    low: float
    high: float
    costly: bool = False

    @classmethod
    def of(cls, layer: LayerMap, low: float, high: float) -> CoarseMap:
        """The map, with quadrature on the widest part of [low, high] around a variance of 1 where it is cheap."""
        middle = min(max(1.0, low), high)
        known, cheap = (True, True) if layer.norm is not None else _resolved(layer, middle)
        if not (known and cheap):
            return cls(layer, math.inf, 0.0, costly=known)
        ends = []
        for end in (low, high):
            if layer.norm is None and not all(_resolved(layer, end)):
                good, bad = math.log(middle), math.log(end)
                for _ in range(_HALVINGS):
                    half = (good + bad) / 2
                    good, bad = (half, bad) if all(_resolved(layer, math.exp(half))) else (good, half)
                end = math.exp(good)
            ends.append(end)
        return cls(layer, ends[0], ends[1])

    def variance(self, q: np.ndarray) -> np.ndarray:
        """V, infinite where the moment diverges.

        Raises
        ------
        DomainError
            φ is not resolved, and V(q)/q is too close to 1 to tell on which side.
        """
        fine = self._fine(q)
        if fine.all():
            return _moments(self.layer, q)[0]
        v = np.empty_like(q)
        v[~fine], sure = zip(*(self._coarse(at) for at in q[~fine].tolist()))
        fine[~fine] = ~np.array(sure)
        if fine.any():
            v[fine] = _moments(self.layer, q[fine])[0]
        return v

    def moments(self, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """V and V' where quadrature resolves φ, and NaN elsewhere."""
        fine = self._fine(q) | self.costly
        v, slope = np.full((2, len(q)), math.nan)
        if fine.any():
            v[fine], slope[fine] = _moments(self.layer, q[fine])
        return v, slope

    def _fine(self, q: np.ndarray) -> np.ndarray:
        return (q >= self.low * (1 - 1e-9)) & (q <= self.high * (1 + 1e-9))

    def _coarse(self, q: float) -> tuple[float, bool]:
        """V by strata, and whether that tells V from q."""
        layer = self.layer
        scale = layer.branch**2 * layer.sigma_w2 / (1 - layer.dropout)
        with torch.no_grad():
            z = _strata()
            values, square = layer.phi(math.sqrt(q) * z).square(), z.square()
            # the part that follows z² has a known mean
            share = (values * square).mean() / square.square().mean()
            means = scale * (values.mean(1) - share * (square.mean(1) - 1))
        if not bool(torch.isfinite(means).all()):
            return math.inf, True
        v = layer.skip**2 * q + float(means.mean()) + layer.branch**2 * layer.sigma_b2
        unknown = _SURE * float(means.std()) / math.sqrt(_REPEATS)
        sure = abs(v - q) > unknown
        if not (sure or self.costly):
            within = (
                f"within ({self.low:.4g}, {self.high:.4g})"
                if self.low < self.high
                else "at a smoother activation"
            )
            raise DomainError(
                f"while looking for fixed points of {layer.phi.name!r}: expected a function that quadrature resolves, "
                f"got one that turns or jumps too often at q = {q:.4g}, where V(q)/q is 1 to {unknown / q:.2g}; look "
                f"{within}"
            )
        return v, sure


def _resolved(layer: LayerMap, q: float) -> tuple[bool, bool]:
    """Whether quadrature knows the moments at this variance, and whether that is cheap."""
    phi = layer.phi
    if phi.degree is not None or activations.closed_form(phi) is not None:
        return True, True

    def functions(x: torch.Tensor) -> torch.Tensor:
        value = phi(x)
        slope = torch.zeros_like(x) if phi.singular else phi.derivative(x)
        return torch.stack([value.square(), slope.square(), value * slope * x])

    try:
        found = gauss.integrate(functions, 0.0, math.sqrt(q), kinks=phi.kinks, even=phi.parity is not None)
    except DomainError:  # a moment that diverges is told by its own error, and costs little
        return True, True
    # a function of single precision is known to its own rounding
    known = found.converged or float(found.error[0]) <= _KNOWN * float(found.value[0])
    return known, found.evaluations < _MOST_WORK


@lru_cache(maxsize=1)
@clean
def _strata() -> torch.Tensor:
    """(repeats, strata) normal values, one in each stratum of equal probability."""
    g = torch.Generator().manual_seed(0)
    u = torch.rand(_REPEATS, _STRATA, generator=g, dtype=torch.float64)
    u = (torch.arange(_STRATA, dtype=torch.float64) + u) / _STRATA
    return torch.special.ndtri(u.clamp(1e-300, 1 - 1e-16))


def _moments(layer: LayerMap, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V and V' on a grid; infinite and NaN where a moment diverges or overflows."""
    try:
        v, slope, _ = layer.moments(torch.from_numpy(q))
        return v.numpy(), slope.numpy()
    except DomainError:
        if len(q) == 1:
            return np.array([math.inf]), np.array([math.nan])
        half = len(q) // 2
        parts = _moments(layer, q[:half]), _moments(layer, q[half:])
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
