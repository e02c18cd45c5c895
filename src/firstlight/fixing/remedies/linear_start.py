"""Chains of layers that start as a linear map: mirrored units, or small signals for smooth activations."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from firstlight.clean_room import clean
from firstlight.fixing.remedies._writing import write_bias, write_orthogonal
from firstlight.fixing.remedies.scales import input_moment
from firstlight.fixing.remedies.sites import WeightSite, sites
from firstlight.profile import Profile
from firstlight.recipes.linear.chains import mirror_scales, small_scales

# kinds of rows of a chain in which only weights set the size of a signal
PLAIN = frozenset({"input", "weight", "activation"})


@clean
@torch.no_grad()
def looks_linear(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    r"""Weights [[A, −A], [−A, A]] with A Haar-orthogonal, in a chain of layers with even widths, as of ReLU.

    With mirrored units (u, −u) the ReLU keeps (u₊, u₋) and the next weight reads u₊ − u₋ = u: at the start the
    network is an exact linear isometry of half its width, which keeps gradients and correlations. In training the
    network is a ReLU network as before. The same holds for every activation with φ(u) − φ(−u) = a u, such as
    LeakyReLU, GELU, SiLU and softplus, with A over a, and where normalisers read the pre-activations: mirrored units
    have opposite means and the same scale. Nothing is changed in a model that is no such chain.

    Returns
    -------
    list of str
        What was changed; empty if the model is no such chain.

    References
    ----------
    Balduzzi et al., "The Shattered Gradients Problem", ICML 2017, section 4, for ReLU.
    """
    chain = sites(model, profile).found
    plain = _mirrors(model, profile) and not any(site.bare for site in chain)
    if len(chain) < 3 or not plain or not _fits(chain):
        return []
    scales = mirror_scales([site.phi for site in chain[1:]], input_moment(chain[0]))
    if scales is None:
        return []
    changes = []
    last = len(chain) - 1
    for index, (site, wanted) in enumerate(zip(chain, scales, strict=True)):
        # a flattened image keeps its mirrored channels in its two halves
        write_orthogonal(site, wanted, generator, mirror_rows=index < last, mirror_columns=index > 0)
        if site.bias is not None:
            site.bias.zero_()
        changes.append(f"{site.name}: {'mirrored, ' if index < last else ''}orthogonal, bias zeroed")
    return changes


@clean
@torch.no_grad()
def small_signals(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    r"""Orthogonal weights over φ'(0), and signals so small that a chain of smooth activations is nearly linear.

    A network of L layers whose signals have q = O(1/L) is one with the shaped activation s φ(x/s), s = √(1/q),
    in all layers: each layer differs from a linear one by O(1/L), and all of them together by O(1). The first weight
    makes the signal small, the last weight brings it back to 1, and biases −W 1 φ(0) remove the activation's own
    offset. The signal's q is the largest of 3/L, 1/L, …, 0.01/L that the variance map keeps within a factor 1.5 over
    all L layers. The gradient of the first weight is 1/√q times that of the others, so plain gradient descent needs a
    smaller rate than an adaptive optimiser. Nothing is changed where normalisers or sums set the signal's size, or
    φ'(0) is 0 or jumps.

    Returns
    -------
    list of str
        What was changed; empty if the model is no such chain.

    References
    ----------
    Martens et al., "Rapid Training of Deep Neural Networks without Skip Connections" (DKS), 2021; Li, Nica &
    Roy, "The Neural Covariance SDE", NeurIPS 2022.
    """
    chain = sites(model, profile).found
    if len(chain) < 3 or not set(profile["kind"].astype(str)) <= PLAIN or any(site.bare for site in chain):
        return []
    plan = small_scales([site.phi for site in chain[1:]], input_moment(chain[0]))
    if plan is None or any(at and site.bias is None for (_, at), site in zip(plan[1], chain, strict=True)):
        return []
    q, scales = plan
    write_orthogonal(chain[0], scales[0][0], generator)
    changes = [f"{chain[0].name}: orthogonal, inputs brought to q = {q:.3g}"]
    changes += write_bias(chain[0], 0.0, generator)
    for site, (scale, value) in zip(chain[1:], scales[1:], strict=True):
        write_orthogonal(site, scale, generator)
        if site.bias is not None:
            site.bias.copy_(-value * site.weight.flatten(1).sum(1))
        changes.append(
            f"{site.name}: orthogonal with σ_w = {scale:.4g}{', offset taken out' if value else ''}"
        )
    return changes


def _mirrors(model: nn.Module, profile: Profile) -> bool:
    """Whether mirrored units stay mirrored: a plain chain, whose normalisers read weights and have equal gains."""
    kinds = profile["kind"].astype(str)
    if not set(kinds) <= PLAIN | {"norm"}:
        return False
    modules = dict(model.named_modules())
    for row in np.flatnonzero(kinds == "norm"):
        module = modules.get(str(profile["name"][row]))
        if module is None or row == 0 or kinds[row - 1] != "weight":
            return False
        if isinstance(module, nn.GroupNorm) and module.num_groups % 2 and module.num_groups > 1:
            return False
        weight, bias = module._parameters.get("weight"), module._parameters.get("bias")
        if weight is not None and bool((weight != weight.flatten()[0]).any()):
            return False
        if bias is not None and bool((bias != 0).any()):
            return False
    return True


def _fits(chain: tuple[WeightSite, ...]) -> bool:
    """Whether the widths are even, and every weight reads whole copies of what the one before it gives."""
    for index, site in enumerate(chain):
        if index and (site.weight.shape[1] % 2 or site.weight.shape[1] % chain[index - 1].weight.shape[0]):
            return False
        if index < len(chain) - 1 and site.weight.shape[0] % 2:
            return False
    return True
