"""The gentlest remedies: write what is out of line, and nothing else."""

from __future__ import annotations

import math
from statistics import median

import torch
from torch import nn

from firstlight.clean_room import clean
from firstlight.fixing.remedies.sites import WeightSite, sites
from firstlight.profile import Profile
from firstlight.recipes.scales import critical_scales

_OUT_OF_LINE = math.log(3.0)
# a bias this large beside its pre-activations decides the sign or the slope for every sample
_SHIFT = 1.0


@clean
@torch.no_grad()
def in_line(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    """Bring weights whose scale is 3 times off the others' to the scale of the others; the others stay.

    Scales are compared beside the edge of chaos of the activation that each weight reads; the common scale is the
    median of at least three weights. Weights with a fault, the first one and the last one are left: the first reads
    the inputs' scale, and a readout is small on purpose.
    """
    del generator
    chain = [s for s in sites(model, profile).found if s.sigma_w > 0 and math.isfinite(s.sigma_w)]
    inner = [s for s in chain[:-1] if not s.faulty and s.reads != "input"]
    if len(inner) < 3:
        return []
    beside = {s.name: math.log(s.sigma_w / critical_scales(s.phi, len(chain))[0]) for s in inner}
    common = median(beside.values())
    changes = []
    for site in inner:
        off = beside[site.name] - common
        if abs(off) > _OUT_OF_LINE:
            site.write(site.weight * math.exp(-off))
            changes.append(f"{site.name}: σ_w {site.sigma_w:.4g} → {site.sigma_w * math.exp(-off):.4g}")
    return changes


@clean
@torch.no_grad()
def without_shift(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    """Zero the biases whose mean shifts the pre-activations of a layer by σ_w or more; the weights stay."""
    del generator
    changes = []
    for site in sites(model, profile).found:
        if site.bias is None or site.bias.numel() < 2 or not _shifts(site):
            continue
        shift = float(site.bias.mean())
        site.bias.zero_()
        changes.append(f"{site.name}: bias zeroed (its mean was {shift:.3g})")
    return changes


def _shifts(site: WeightSite) -> bool:
    bias = site.bias
    assert bias is not None
    if not bool(bias.isfinite().all()):
        return True
    return abs(float(bias.double().mean())) > _SHIFT * max(site.sigma_w, 1e-12)
