"""Layer-sequential scaling: every layer's pre-activations brought to second moment 1 on the batch, in one forward."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from firstlight.clean_room import clean
from firstlight.fixing.remedies.scales import input_moment
from firstlight.fixing.remedies.sites import WeightSite, sites
from firstlight.profile import Profile

Forward = Callable[[nn.Module], object]


@clean
@torch.no_grad()
def layer_sequential(
    model: nn.Module, profile: Profile, generator: torch.Generator, forward: Forward
) -> list[str]:
    """Scale each weight so that what it gives on the batch has second moment 1; the forward is run once.

    For activations and connections that no formula knows. Weights that feed a normaliser are left, since it
    would undo the scale; weights of custom modules without a forward hook's output are left too.

    References
    ----------
    Mishkin & Matas, "All You Need Is a Good Init", ICLR 2016.
    """
    del generator
    changes: list[str] = []
    handles = []
    for site in sites(model, profile).found:
        # a weight among others of its module, as attention's, has no output of its own
        unscaled = site.reads == "input" and input_moment(site) != site.q_in
        if unscaled or site.key != "weight" or site.bare or site.feeds == "norm" or site.faulty:
            continue
        handles.append(site.module.register_forward_hook(_scaler(site, changes)))
    try:
        forward(model)
    finally:
        for handle in handles:
            handle.remove()
    return changes


def _scaler(site: WeightSite, changes: list[str]) -> Callable[..., Tensor | None]:
    done: list[bool] = []

    def scale(module: nn.Module, args: object, output: object) -> Tensor | None:
        if done or not isinstance(output, Tensor):
            return None
        done.append(True)
        if site.bias is not None and bool((site.bias != 0).any()):
            shape = [1] * output.ndim
            shape[-1 if site.weight.ndim == 2 else 1] = -1
            output = output - site.bias.view(shape)
            site.bias.zero_()
        q = float(output.detach().double().square().mean())
        if not (math.isfinite(q) and q > 0):
            return output
        factor = 1.0 / math.sqrt(q)
        site.write(site.weight * factor)
        changes.append(f"{site.name}: q {q:.3g} → 1, σ_w {site.sigma_w:.4g} → {site.sigma_w * factor:.4g}")
        return output * factor

    return scale
