"""Remedies that give weights a scale: drawn again, on the edge of chaos, orthogonal, or as measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import nn

from firstlight import activations
from firstlight.activations import Activation
from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.fixing.remedies._writing import write_bias, write_normal, write_orthogonal
from firstlight.fixing.remedies.sites import WeightSite, sites
from firstlight.profile import Profile
from firstlight.theory import edge_of_chaos

# inputs whose second moment is a hundred times off 1 want scaling; no weight makes up for them
_USUAL = 100.0
_HALF_WIDTH = math.log(1.02)  # a scale within 2 % of the wanted one is left as it is


@clean
def critical_scales(phi: Activation | None, depth: int = 1) -> tuple[float, float, float]:
    """(σ_w, σ_b, q) on the edge of chaos of φ, at a stable q of about 3/depth where the edge is a curve.

    On the edge 1 − c falls as κ/ℓ with the depth ℓ, and κ is larger the smaller q is: a deep network starts
    closer to linear. Where no point is stable, σ_w = 1/√E φ'² at q = 1; where φ jumps and there is no edge,
    the gain that keeps the second moment.

    Examples
    --------
    >>> from firstlight import activations
    >>> from firstlight.fixing.remedies import critical_scales
    >>> round(critical_scales(activations.get("relu"))[0] ** 2, 6)
    2.0
    """
    return (1.0, 0.0, 1.0) if phi is None else _critical(_Shape(phi), depth)


class _Shape:
    """An activation that equals another one with the same values, as the copies of a module in a network have."""

    def __init__(self, phi: Activation) -> None:
        self.phi = phi
        grid = torch.linspace(-6, 6, 193, dtype=torch.float64)
        self.values = phi(grid).numpy().tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shape) and self.values == other.values

    def __hash__(self) -> int:
        return hash(self.values)


@lru_cache(maxsize=256)
@clean
def _critical(shape: _Shape, depth: int) -> tuple[float, float, float]:
    phi = shape.phi
    try:
        edge = edge_of_chaos(phi)
    except DomainError:  # a jump
        return float(activations.gain(phi)), 0.0, 1.0
    target = min(1.0, 3.0 / max(depth, 1))
    known = [i for i in range(len(edge.q)) if edge.stable[i] and edge.q[i] > 0]
    if not known:
        return 1.0 / math.sqrt(float(activations.moments(phi, 1.0).slope)), 0.0, 1.0
    best = min(known, key=lambda i: abs(math.log(edge.q[i] / target)))
    # any q is stationary for a homogeneous activation
    q = float(edge.q[best]) if edge.kind == "curve" else 1.0
    return float(edge.sigma_w[best]), float(edge.sigma_b[best]), q


@clean
@torch.no_grad()
def redraw(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    """Draw every faulty weight again, normal on the edge of chaos; zeros that are meant stay.

    A zero weight is meant where a gradient reaches it and it ends a residual branch or the network: the first step
    writes it. Of two zero weights in a row on a branch, which wait for one another, the first one is drawn.
    """
    residual = bool(len(profile.select("residual")))
    flags = profile["weight_flags"]
    changes = []
    chain = sites(model, profile).found
    zero = ["zero" in str(flags[site.row]) for site in chain]
    for index, site in enumerate(chain):
        last = index == len(chain) - 1
        waits = index > 0 and zero[index - 1] and not chain[index - 1].reached
        second = residual and waits and not site.reached
        if not site.faulty or (zero[index] and (second or (site.reached and (residual or last)))):
            continue
        scale, _, _ = critical_scales(site.phi, len(chain))
        write_normal(site, scale, generator)
        changes.append(f"{site.name}: drawn again, normal with σ_w = {scale:.4g}")
        if site.bias is not None and not bool(site.bias.isfinite().all()):
            site.bias.zero_()
            changes.append(f"{site.name}: bias zeroed")
    return changes


@clean
@torch.no_grad()
def critical(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    """Scale every weight to the edge of chaos of the activation it reads; faulty ones are drawn again."""
    changes = []
    chain = sites(model, profile).found
    for site in chain:
        wanted, bias, note = _wanted(site, chain)
        if site.faulty or not site.sigma_w > 0:
            write_normal(site, wanted, generator)
            changes.append(f"{site.name}: drawn again, Gaussian with σ_w = {wanted:.4g}{note}")
        elif abs(math.log(wanted / site.sigma_w)) > _HALF_WIDTH:
            site.write(site.weight * (wanted / site.sigma_w))
            changes.append(f"{site.name}: σ_w {site.sigma_w:.4g} → {wanted:.4g}{note}")
        changes += write_bias(site, bias, generator)
    return changes


@clean
@torch.no_grad()
def orthogonal(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    """Haar-orthogonal weights (delta-orthogonal kernels) at the scale of the edge of chaos."""
    changes = []
    chain = sites(model, profile).found
    for site in chain:
        wanted, bias, note = _wanted(site, chain)
        if site.bare:
            write_normal(site, wanted, generator)
            changes.append(f"{site.name}: normal with σ_w = {wanted:.4g}{note}")
        elif site.groups > 1:  # one orthogonal matrix a group would be one number a channel
            write_normal(site, wanted, generator)
            changes.append(f"{site.name}: Gaussian with σ_w = {wanted:.4g}{note}, for it has groups")
        else:
            write_orthogonal(site, wanted, generator)
            changes.append(f"{site.name}: Haar-orthogonal with σ_w = {wanted:.4g}{note}")
        changes += write_bias(site, bias, generator)
    return changes


@clean
@torch.no_grad()
def measured_slope(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    """Divide every weight by √χ₁ of the layer before it, as the audit measured it; a step towards χ₁ = 1."""
    del generator
    chi = profile["chi"]
    changes = []
    for site in sites(model, profile).found:
        known = [i for i in range(site.row) if math.isfinite(chi[i])]
        if not known or site.reads == "input" or not chi[known[-1]] > 0:
            continue
        factor = 1.0 / math.sqrt(float(chi[known[-1]]))
        if abs(math.log(factor)) > _HALF_WIDTH:
            site.write(site.weight * factor)
            changes.append(f"{site.name}: σ_w {site.sigma_w:.4g} → {site.sigma_w * factor:.4g}")
    return changes


@clean
@torch.no_grad()
def centred(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    """Take the mean of every unit's weights out, and its bias to zero, so that no unit starts with a shift."""
    changes = []
    for site in sites(model, profile).found:
        if site.bare:
            continue
        axes = tuple(range(1, site.weight.ndim))
        mean = site.weight.mean(dim=axes, keepdim=True)
        if site.fan_in < 2 or not bool(mean.isfinite().all()):
            continue
        site.write(site.weight - mean)
        changes += [f"{site.name}: weights centred", *write_bias(site, 0.0, generator)]
    return changes


def input_moment(site: WeightSite) -> float:
    """The second moment of the inputs that a first weight is written for: 1 where the inputs want scaling instead.

    A small weight on large inputs gives the right pre-activations, but a gradient step then moves the pre-activations
    by the inputs' squared size: plain gradient descent diverges at rates at which it learnt before.
    """
    usual = math.isfinite(site.q_in) and 1.0 / _USUAL <= site.q_in <= _USUAL
    return site.q_in if usual else 1.0


def _wanted(site: WeightSite, chain: Sequence[WeightSite]) -> tuple[float, float, str]:
    """σ_w, σ_b and a remark: the first weight brings its input to the q at which the next one is critical."""
    scale, bias, _ = critical_scales(site.phi, len(chain))
    if site.reads == "input":
        later = next((s for s in chain if s.row > site.row and s.phi is not None), None)
        q = critical_scales(later.phi, len(chain))[2] if later is not None else 1.0
        return math.sqrt(q / input_moment(site)), 0.0, f" for inputs with q = {input_moment(site):.3g}"
    return scale, bias, ""
