"""Remedies for residual networks: branches that are small beside their stream."""

from __future__ import annotations

import math

import torch
from torch import nn

from firstlight.clean_room import clean
from firstlight.fixing.remedies.sites import sites
from firstlight.profile import Profile


@clean
@torch.no_grad()
def scaled_branches(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    """Multiply the last weight or normaliser of each residual branch by 1/√L, L being the number of branches.

    Of the rows between two sums, the deepest one ends the branch; a projection on the stream is less deep.
    With branches of size 1/√L the stream grows by (1 + 1/L)^L ≤ e over the whole depth.

    References
    ----------
    Zhang, Dauphin & Ma, "Fixup Initialization", ICLR 2019; De & Smith, NeurIPS 2020; Hayou et al., "Stable
    ResNet", AISTATS 2021.
    """
    del generator
    if sites(model, profile).trained:
        return []
    kinds, depth = profile["kind"].astype(str), profile["depth"]
    modules = dict(model.named_modules())
    sums = [i for i, kind in enumerate(kinds) if kind == "residual"]
    changes: list[str] = []
    written: set[int] = set()
    start = 0
    for at in sums:
        inside = [i for i in range(start, at) if kinds[i] in ("weight", "norm")]
        start = at + 1
        if not inside:
            continue
        deepest = max(depth[i] for i in inside)
        end = [i for i in inside if depth[i] == deepest][-1]
        module = modules.get(str(profile["name"][end]).split("#")[0])
        weight = None if module is None else module._parameters.get("weight")
        if weight is None or not weight.requires_grad or id(weight) in written:
            continue
        written.add(id(weight))
        factor = 1.0 / math.sqrt(len(sums))
        weight.mul_(factor)
        bias = module._parameters.get("bias") if module is not None else None
        if bias is not None:
            bias.mul_(factor)
        changes.append(f"{profile['name'][end]}: times 1/√{len(sums)} = {factor:.3g}")
    return changes
