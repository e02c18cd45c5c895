"""LayerMap: what one layer of an infinitely wide network does to variances, covariances and gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypedDict, Unpack

import torch
from jaxtyping import Float64
from torch import Tensor

from firstlight import activations
from firstlight.activations import Activation
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.weights import WeightLaw

Scalars = float | Tensor


def weight_variance(law: str | WeightLaw) -> float:
    """E W² of a weight law given as ``RandomNetwork`` takes it; 1 for orthogonal weights."""
    if isinstance(law, str):
        from firstlight import weights

        law = weights.get(law)
    variance = float(law.variance)
    if not math.isfinite(variance):
        raise DomainError(
            f"while describing a layer: expected weights with a finite variance, got {variance} for {law!r}; "
            "mean-field theory needs E W² < ∞"
        )
    return variance


class MapFields(TypedDict, total=False):
    """Fields of a `LayerMap`."""

    phi: Activation
    sigma_w2: float
    sigma_b2: float
    skip: float
    branch: float
    dropout: float
    norm: str | None


@dataclass(frozen=True, kw_only=True)
class LayerMap:
    r"""The mean-field map of one layer.

    .. math::
        V(q) &= s^2 q + a^2\Big(\frac{σ_w^2}{1-p} E φ(\sqrt{\hat q} G)^2 + σ_b^2\Big) \\
        K(k) &= s^2 k + a^2\big(σ_w^2 E φ(\hat u) φ(\hat v) + σ_b^2\big), \qquad
        χ = s^2 + a^2 \frac{σ_w^2}{1-p} \frac{\hat q}{q} E φ'(\sqrt{\hat q} G)^2

    s is ``skip``, a is ``branch`` and p is ``dropout``; :math:`\hat q = q` without a normaliser and 1 with one
    (of infinite width, or batch). σ_w² includes the variance of the weight law. Dropout masks are independent
    between inputs, so that they raise V and not K.

    Examples
    --------
    >>> from firstlight.theory import LayerMap
    >>> layer = LayerMap.of("tanh", sigma_w=1.5, sigma_b=0.1)
    >>> q = float(layer.variance(1.0)); round(q, 6)
    0.897163
    """

    phi: Activation
    sigma_w2: float
    sigma_b2: float = 0.0
    skip: float = 0.0
    branch: float = 1.0
    dropout: float = 0.0
    norm: str | None = None

    @classmethod
    def of(cls, network: RandomNetwork | object, *, sigma_w: float = 1.0, sigma_b: float = 0.0) -> LayerMap:
        """The map of layers 2, 3, … of a network, or of a plain layer with this activation and these scales.

        Raises
        ------
        DomainError
            If the network has convolutions.
        """
        if isinstance(network, LayerMap):
            return network
        if isinstance(network, RandomNetwork):
            if network.kernel_size is not None:
                raise DomainError(
                    f"while describing a layer: expected dense layers, got kernel_size={network.kernel_size}; use "
                    "theory.ConvolutionalNetwork, or with_(kernel_size=None) for positions that are all alike"
                )
            return cls(
                phi=network.phi,
                sigma_w2=network.sigma_w**2 * weight_variance(network.weight_law),
                sigma_b2=network.sigma_b**2,
                skip=network.skip,
                branch=network.branch,
                dropout=network.dropout,
                norm=network.norm,
            )
        for name, value in (("sigma_w", sigma_w), ("sigma_b", sigma_b)):
            if not (math.isfinite(value) and value >= 0):
                raise DomainError(f"while describing a layer: expected finite {name} ≥ 0, got {value!r}")
        return cls(phi=activations.get(network), sigma_w2=float(sigma_w) ** 2, sigma_b2=float(sigma_b) ** 2)

    def with_(self, **changes: Unpack[MapFields]) -> LayerMap:
        """The same map with some fields changed."""
        return replace(self, **changes)

    @property
    def _in(self) -> float:
        return self.branch**2 * self.sigma_w2

    def moments(self, q: Scalars) -> tuple[Tensor, Tensor, Tensor]:
        """V, its slope V' and the gradient factor χ at variances q."""
        values = torch.as_tensor(q, dtype=torch.float64)
        seen = torch.ones_like(values) if self.norm else values
        m = activations.moments(self.phi, seen)
        own, keep = self.skip**2, 1 - self.dropout
        variance = own * values + self._in * m.second / keep + self.branch**2 * self.sigma_b2
        slope = own + (0.0 * m.growth if self.norm else self._in * m.growth / keep)
        chi = own + self._in / keep * m.slope * (1 / values if self.norm else 1.0)
        return variance, slope, chi

    def variance(self, q: Scalars) -> Float64[Tensor, "*shape"]:
        """V(q)."""
        values = torch.as_tensor(q, dtype=torch.float64)
        second = activations.second(self.phi, torch.ones_like(values) if self.norm else values)
        inner = self._in * second / (1 - self.dropout)
        return self.skip**2 * values + inner + self.branch**2 * self.sigma_b2

    def slope(self, q: Scalars) -> Float64[Tensor, "*shape"]:
        """V'(q): what becomes of a small change of the variance."""
        return self.moments(q)[1]

    def chi(self, q: Scalars) -> Float64[Tensor, "*shape"]:
        """χ₁(q) = the factor of the squared gradient norm per layer, and the slope of the correlation map at 1."""
        return self.moments(q)[2]

    def covariance(self, q1: Scalars, q2: Scalars, c: Scalars) -> Float64[Tensor, "*shape"]:
        """K: covariance after the layer of two inputs with variances q₁, q₂ and correlation c before it."""
        a, b, rho = (torch.as_tensor(v, dtype=torch.float64) for v in (q1, q2, c))
        ones = torch.ones((), dtype=torch.float64)
        seen = (ones, ones, self.seen_correlation(rho)) if self.norm else (a, b, rho)
        inner = self.sigma_w2 * activations.dual(self.phi, *seen) + self.sigma_b2
        return self.skip**2 * rho * torch.sqrt(a * b) + self.branch**2 * inner

    def seen_correlation(self, c: Tensor) -> Tensor:
        """What φ sees of a correlation: batch norm over many inputs takes the common part away."""
        return torch.zeros_like(c) if self.norm == "batch" else c

    def correlation(self, q: Scalars, c: Scalars) -> Float64[Tensor, "*shape"]:
        """C(c): correlation after the layer of two inputs of the same variance q."""
        return (self.covariance(q, q, c) / self.variance(q)).clamp(-1.0, 1.0)

    def correlation_slope(self, q: Scalars, c: Scalars) -> Float64[Tensor, "*shape"]:
        """C'(c) = (q/V(q)) [s² + a²σ_w² d E φ(u)φ(v)/dk]: E φ'(u)φ'(v) without jumps, and their densities with them."""
        values, rho = torch.as_tensor(q, dtype=torch.float64), torch.as_tensor(c, dtype=torch.float64)
        if self.norm == "batch":
            return torch.zeros_like(rho)
        seen = torch.ones_like(values) if self.norm else values
        inner = (
            self.branch**2
            * self.sigma_w2
            * activations.covariance_slope(self.phi, seen, seen, rho)
            * seen
            / values
        )
        return (self.skip**2 + inner) * values / self.variance(values)

    def curvature(self, q: Scalars) -> Float64[Tensor, "*shape"]:
        r"""C''(1) = a²σ_w² q² E φ''(√q G)²/V(q), infinite where φ' jumps.

        Without kinks by the Hermite series: E φ''² = Σ k(k−1) a_k²/q²; else by quadrature of φ''². The curvature sets
        the power law on the edge of chaos, 1 − c ≈ 2/(C''(1)·l).
        """
        from firstlight import gauss

        values = torch.as_tensor(q, dtype=torch.float64)
        if self.phi.bends:
            return torch.full_like(values, math.inf)
        seen = torch.ones_like(values) if self.norm else values
        if self.phi.kinks:
            turn = replace(self.phi, function=self.phi.derivative, slope=None, parity=None, degree=None)
            second = gauss.expect(lambda x: turn.difference(x) ** 2, 0.0, seen.sqrt(), kinks=self.phi.kinks)
            return self._in * seen**2 * second / self.variance(values)
        order = 200
        while True:
            a2 = gauss.hermite_coefficients(self.phi, seen, order) ** 2
            k = torch.arange(order + 1, dtype=torch.float64)
            terms = a2 * k * (k - 1)
            total = terms.sum(-1)
            if order >= 3200 or bool((terms[..., -8:].sum(-1) <= 1e-12 * total + 1e-300).all()):
                return self._in * total / self.variance(values)
            order *= 2
