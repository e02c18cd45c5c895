r"""One input and any law with a density: the next layer from its characteristic function, without weights.

Given activations h, the units of the next layer are independent with log-characteristic function
Σ_j log ψ_W(t a_j), a_j = σ_w h_j/√n. On an interval where log ψ_W(t) = Σ_m c_m t^{2m} this is a polynomial in t
whose coefficients are power sums of the a_j: O(n) work for the whole layer instead of n weights per unit. The few
a_j beyond that interval enter by a table of ψ_W. The cdf follows by the Gil-Pelaez integral, and the map from a normal
variable to a unit by Halley's method on the normal score of the cdf, which is nearly linear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.ensemble.samplers._characteristic import log_characteristic, table
from firstlight.ensemble.samplers.base import Sampler, normals
from firstlight.ensemble.samplers.streamed import StreamedWeights
from firstlight.weights import WeightLaw

SMALLEST = 64  # below this fan-in drawing the weights is as fast
_STEP = 0.3  # midpoint rule: its period 2π/0.3 holds more than twice the range of a standardised unit
_T = (torch.arange(24, dtype=torch.float64) + 0.5) * _STEP  # e^{−t²/2} is below 2e-11 from the last one on
_USED = 0.9  # share of the polynomial's interval that is used
_NODES = torch.linspace(0.3, 5.4, 10, dtype=torch.float64)
_CHECKS = torch.tensor([0.6, 1.3, 2.1, 3.2], dtype=torch.float64)
_DEGREE = 6
_NEGLIGIBLE = 1e-9
TOLERANCE = 1e-6  # largest error of a unit's cdf; where it is exceeded the weights are drawn


@dataclass(frozen=True)
class InvertedWeights(Sampler):
    """Weights of ``law`` for one input; with more inputs, gradients or few units the weights are drawn.

    So they are for networks where the map from a normal variable to a unit is not found to ``TOLERANCE``, as
    where one activation outweighs all others.
    """

    law: WeightLaw
    sigma_w: float = 1.0
    sigma_b: float = 0.0

    def forward(
        self,
        h: Float[Tensor, "nets fan_in inputs"],
        fan_out: int,
        generator: torch.Generator,
        *,
        keep: bool = False,
    ) -> tuple[Float[Tensor, "nets fan_out inputs"], Any]:
        """Pre-activations, and what ``backward`` needs (None unless ``keep``)."""
        nets, fan_in, inputs = h.shape
        streamed = StreamedWeights(self.law, self.sigma_w, self.sigma_b)
        if keep or inputs > 1 or fan_in < SMALLEST or not nets:
            return streamed.forward(h, fan_out, generator, keep=keep)
        psi, scale = self._characteristic(h[..., 0])
        if psi is None:
            return streamed.forward(h, fan_out, generator)
        c, error = _map(psi)
        found = error <= TOLERANCE
        c = torch.where(found[:, None], c * scale[:, None], 0.0).to(h.dtype)
        unit = normals((nets, fan_out), h, generator)
        square = unit.square()
        z = (square * c[:, -1:]).add_(c[:, -2:-1])
        for m in range(_DEGREE - 3, -1, -1):
            z.mul_(square).add_(c[:, m : m + 1])
        z = z.mul_(unit)[..., None]
        if not bool(found.all()):
            missing = (~found).nonzero()[:, 0]
            z[missing] = streamed.forward(h[missing], fan_out, generator)[0]
        return z, None

    def backward(
        self, memo: object, delta: Float[Tensor, "nets fan_out inputs"], generator: torch.Generator
    ) -> Float[Tensor, "nets fan_in inputs"]:
        """Gradients by ``h`` from gradients by the pre-activations; call once per ``memo``."""
        return StreamedWeights(self.law, self.sigma_w, self.sigma_b).backward(memo, delta, generator)

    def _characteristic(self, h: Float[Tensor, "nets fan_in"]) -> tuple[Tensor | None, Tensor]:
        """ψ of a standardised unit at the nodes ``_T``, (nets, 24), and the unit's standard deviation.

        None where the law has no series, or a network has a dead layer and no bias.
        """
        reach, coefficients, variance = log_characteristic(self.law)
        share = self.sigma_w**2 / h.shape[1]
        base = h.square()
        # a matrix times a vector is the fastest way to sum rows; its float32 rounding moves the scale by 1e-6 at most
        ones = base.new_ones(base.shape[1])
        square = (base @ ones).double() * (share * variance) + self.sigma_b**2
        if reach == 0 or not bool(((square > 0) & (square < math.inf)).all()):
            return None, square
        # in units of the largest square that the polynomial covers: powers of what is kept cannot overflow
        base.mul_((share / (square * (_USED * reach / float(_T[-1])) ** 2)).to(base.dtype)[:, None])
        large = base > 1
        count = int(large.sum(dim=1).max())
        beyond = None
        if count:
            beyond = (base * large).topk(count, dim=1).values.double().sqrt()
            base.masked_fill_(large, 0.0)
        t = _T.to(h.device)
        log_psi = _series(base, ones, coefficients) - (0.5 * self.sigma_b**2) * t.square() / square[:, None]
        psi = log_psi.exp_()
        if beyond is not None:
            angle = beyond[:, :, None] * (t * (_USED * reach / float(_T[-1])))
            psi = psi * table(self.law)(angle).prod(dim=1)
        return psi, square.sqrt()


def _series(base: Tensor, ones: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Σ_j log ψ_W(t a_j) at the nodes, from the power sums of a_j² over the largest one that is covered."""
    shrink = (_USED / float(_T[-1])) ** 2
    sums = [(base @ ones).double()]
    # small entries, a share below 1e-6 of the squares' sum, would only become denormal, which is slow
    power = base = torch.nn.functional.threshold(base, 1e-3 * float(sums[0].min()) / base.shape[1], 0.0)
    for m in range(2, len(coefficients) + 1):
        power = power * base if m == 2 else power.mul_(base)
        sums.append((power @ ones).double())
        # t^{2m} e^{−t²/2} is at most (2m/e)^m: what this term can change in ψ, and later ones change less
        most = abs(coefficients[m - 1]) * (shrink * 2 * m / math.e) ** m
        if float(sums[-1].max()) * most < _NEGLIGIBLE:
            break
    p = torch.stack(sums, dim=1)
    orders = torch.arange(1, p.shape[1] + 1, dtype=torch.float64)
    c = torch.tensor(coefficients[: p.shape[1]], dtype=torch.float64)
    return p @ (c[:, None] * (shrink * _T.square()) ** orders[:, None]).to(p.device)


def _map(psi: Float[Tensor, "nets nodes"]) -> tuple[Float[Tensor, "nets degree"], Float[Tensor, " nets"]]:
    """Coefficients c of the map g ↦ Σ c_m g^{2m+1} from a normal variable to a unit, and its cdf's error.

    The error is NaN where the map was not found.
    """
    g = _NODES.to(psi.device)
    at_sine, at_cosine, fit = (part.to(psi.device) for part in _constants())
    weighted = psi * (_STEP / math.pi)
    z = g + _halley(g, g, 0.5 - weighted @ at_sine, weighted @ at_cosine[0], weighted @ at_cosine[1])
    t = _T.to(psi.device)
    over_t, times_t = weighted / t, weighted * t
    for _ in range(3):
        angle = z[..., None] * t
        sine, cosine = torch.sin(angle), torch.cos(angle)
        tail = 0.5 - (sine @ over_t[..., None])[..., 0]
        density = (cosine @ weighted[..., None])[..., 0]
        step = _halley(z, g, tail, density, -(sine @ times_t[..., None])[..., 0])
        z = z + step
        if not bool((step.abs() >= 1e-3).any()):  # the next step would be its cube
            break
    c = (z / g) @ fit.T
    checks = _CHECKS.to(psi.device)
    powers = checks[:, None].square() ** torch.arange(_DEGREE, device=psi.device)
    back = checks * (c @ powers.T)
    tail = 0.5 - (torch.sin(back[..., None] * t) @ over_t[..., None])[..., 0]
    return c, (tail - torch.special.ndtr(-checks)).abs().amax(dim=1)


def _halley(z: Tensor, g: Tensor, tail: Tensor, density: Tensor, slope: Tensor) -> Tensor:
    """The step of Halley's method for G(z) = g, with G = −Φ⁻¹(tail) the normal score of z; NaN where it fails."""
    score = -torch.special.ndtri(tail)
    normal = torch.exp(-0.5 * score.square()) / math.sqrt(2 * math.pi)
    first = density / normal
    second = slope / normal + score * first.square()
    newton = (score - g) / first
    return (newton / (0.5 * newton * second / first - 1)).clamp(-0.7, 0.7)


@lru_cache(maxsize=1)
@clean
def _constants() -> tuple[Tensor, Tensor, Tensor]:
    """sin(gt)/t, then cos(gt) and −t sin(gt) at the nodes; and the matrix from z/g to a polynomial in g²."""
    angle = _T[:, None] * _NODES
    sine = torch.sin(angle)
    powers = _NODES[:, None].square() ** torch.arange(_DEGREE)
    # least squares that favour the middle, where most units are
    weight = torch.exp(-_NODES.square() / 8)[:, None]
    fit = torch.linalg.pinv(powers * weight) * weight.T
    return sine / _T[:, None], torch.stack([torch.cos(angle), -_T[:, None] * sine]), fit
