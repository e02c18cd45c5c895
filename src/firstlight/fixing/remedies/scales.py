"""Remedies that give weights a scale: drawn again, on the edge of chaos, orthogonal, or as measured."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from firstlight.clean_room import clean
from firstlight.fixing.remedies._writing import write_bias, write_normal, write_orthogonal
from firstlight.fixing.remedies.sites import WeightSite, sites
from firstlight.profile import Profile
from firstlight.recipes.scales import critical_scales, usual_moment

_HALF_WIDTH = math.log(1.02)  # a scale within 2 % of the wanted one is left as it is


@clean
@torch.no_grad()
def redraw(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    """Draw every faulty weight again, normal on the edge of chaos; zeros that are meant stay."""
    changes = []
    chain = sites(model, profile).found
    meant = meant_zeros(chain, profile)
    for site in chain:
        if not site.faulty or site.name in meant:
            continue
        scale, _, _ = critical_scales(site.phi, len(chain))
        write_normal(site, scale, generator)
        changes.append(f"{site.name}: drawn again, normal with σ_w = {scale:.4g}")
        if site.bias is not None and not bool(site.bias.isfinite().all()):
            site.bias.zero_()
            changes.append(f"{site.name}: bias zeroed")
    return changes


def meant_zeros(chain: Sequence[WeightSite], profile: Profile) -> frozenset[str]:
    """Names of the weights whose zeros are meant.

    A zero weight is meant where a gradient reaches it and it ends a residual branch or the network: the first step
    writes it. Of two zero weights in a row on a branch, which wait for one another, as LoRA's A and B, the second one
    is meant, and the first one is to be drawn.
    """
    residual = bool(len(profile.select("residual")))
    found: list[str] = []
    waited = False  # whether the weight before is zero, and to be drawn
    for index, site in enumerate(chain):
        zero = "zero" in str(profile["weight_flags"][site.row])
        second = residual and waited and not site.reached
        meant = zero and (second or (site.reached and (residual or index == len(chain) - 1)))
        found += [site.name] if meant else []
        waited = zero and not meant and not site.reached
    return frozenset(found)


@clean
@torch.no_grad()
def critical(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    """Scale every weight to the edge of chaos of the activation it reads; faulty ones are drawn again.

    Zeros that are meant stay.
    """
    changes = []
    chain = sites(model, profile).found
    meant = meant_zeros(chain, profile)
    for site in chain:
        if site.name in meant:
            continue
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
    """Haar-orthogonal weights (delta-orthogonal kernels) at the scale of the edge of chaos; meant zeros stay."""
    changes = []
    chain = sites(model, profile).found
    meant = meant_zeros(chain, profile)
    for site in chain:
        if site.name in meant:
            continue
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
    """The second moment of the inputs that a first weight is written for."""
    return usual_moment(site.q_in)


def _wanted(site: WeightSite, chain: Sequence[WeightSite]) -> tuple[float, float, str]:
    """σ_w, σ_b and a remark: the first weight brings its input to the q at which the next one is critical."""
    scale, bias, _ = critical_scales(site.phi, len(chain))
    if site.reads == "input":
        later = next((s for s in chain if s.row > site.row and s.phi is not None), None)
        q = critical_scales(later.phi, len(chain))[2] if later is not None else 1.0
        return math.sqrt(q / input_moment(site)), 0.0, f" for inputs with q = {input_moment(site):.3g}"
    return scale, bias, ""
