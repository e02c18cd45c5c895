"""The gentlest remedies: write what is out of line, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from firstlight.clean_room import clean
from firstlight.diagnosis import lines_of
from firstlight.fixing.remedies.sites import WeightSite, sites
from firstlight.profile import Profile
from firstlight.recipes.layout.trained import learnt_direction
from firstlight.recipes.scales import critical_scales

_OUT_OF_LINE = math.log(3.0)
# gains of normalisers, and outputs of a readout, this many times off one are no choice
_FAR = 10.0
_NORMS = (_BatchNorm, _InstanceNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
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


@clean
@torch.no_grad()
def unit_gains(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    """Give normalisers whose gains are ten times off one, or zero, gains of one; those that end a branch stay."""
    del generator
    kinds = profile["kind"].astype(str)
    modules = dict(model.named_modules())
    changes: list[str] = []
    for row in np.flatnonzero(kinds == "norm").tolist():
        module = modules.get(str(profile["name"][row]))
        gain = module._parameters.get("weight") if isinstance(module, _NORMS) else None
        if gain is None or not gain.requires_grad or (row + 1 < len(kinds) and kinds[row + 1] == "residual"):
            continue
        size = float(gain.double().square().mean().sqrt())
        if not 1 / _FAR <= size <= _FAR:
            gain.fill_(1.0)
            changes.append(f"{profile['name'][row]}: gains of size {size:.3g} → 1")
    return changes


@clean
@torch.no_grad()
def small_readout(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    """Scale the last weight so that its outputs have size one, if they are ten times larger, and zero a large bias."""
    del generator
    chain = sites(model, profile).found
    if not chain or chain[-1].bare or chain[-1].faulty:
        return []
    site = chain[-1]
    bias = site.bias
    shift = 0.0 if bias is None else float(bias.double().square().mean())
    q = float(profile["q"][site.row])
    if not (math.isfinite(q) and q > _FAR**2):
        return []
    changes = []
    if bias is not None and shift > 0.1 * q:
        bias.zero_()
        changes.append(f"{site.name}: bias zeroed (its size was {math.sqrt(shift):.3g})")
    # what the weight gives, without its bias
    mine = max(q - shift, 0.0)
    if mine > _FAR**2:
        site.write(site.weight / math.sqrt(mine))
        changes.append(f"{site.name}: σ_w {site.sigma_w:.4g} → {site.sigma_w / math.sqrt(mine):.4g}")
    return changes


def _shifts(site: WeightSite) -> bool:
    bias = site.bias
    assert bias is not None
    if not bool(bias.isfinite().all()):
        return True
    return abs(float(bias.double().mean())) > _SHIFT * max(site.sigma_w, 1e-12)


@clean
@torch.no_grad()
def unlike_copies(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    """Give every copy of a parameter but the first one the same entries in a random order; the first one stays.

    So each copy keeps its law and its scale. Constant parameters, such as biases of zeros and gains of ones, and
    parameters that look trained are left.
    """
    del profile
    changes = []
    kept: dict[tuple[int, ...], list[tuple[str, Tensor]]] = {}
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        flat = value.flatten()
        if not parameter.requires_grad or not value.is_floating_point() or bool((flat == flat[:1]).all()):
            continue
        if value.ndim > 1 and learnt_direction(value) > 1.0:
            continue
        before = kept.setdefault(tuple(value.shape), [])
        first = next((other for other, known in before if torch.equal(known, value)), None)
        if first is None:
            before.append((name, value.clone()))
            continue
        order = torch.randperm(len(flat), generator=generator).to(flat.device)
        parameter.copy_(flat[order].view_as(value))
        changes.append(f"{name}: the entries of {first} in a random order")
    return changes


@clean
@torch.no_grad()
def drawn_tables(model: nn.Module, profile: Profile, generator: torch.Generator) -> list[str]:
    """Draw embeddings of zeros that nothing else moves, and bring embeddings that are too small or too large to size 1.

    A table of zeros is drawn where no gradient reaches the table, as with the other factor of a product, or where a
    layer reads nothing else. The entries have variance 1/columns, so that rows have length 1 and products of two rows
    are small. Zeros that are added to something, as to other embeddings, stay.
    """
    low, high = (value for value, _ in lines_of("embedding-scale").warning)
    changes = []
    for name, table, row in _tables(model, profile):
        weight = table.weight
        used = weight.detach()
        if table.padding_idx is not None:
            used = torch.cat([used[: table.padding_idx], used[table.padding_idx + 1 :]])
        size = float(used.double().square().mean().sqrt())
        if math.isfinite(size) and size > 0:
            if not low <= size <= high:
                weight.mul_(1.0 / size)
                changes.append(f"{name}: root mean square {size:.3g} → 1")
            continue
        reached = not math.isinf(float(profile["log_weight_grad"][row]))
        if size == 0 and (used.shape[1] < 2 or (reached and not _read_alone(profile, row))):
            continue
        drawn = torch.randn(weight.shape, generator=generator) / math.sqrt(weight.shape[1])
        if table.padding_idx is not None:
            drawn[table.padding_idx] = 0.0
        weight.copy_(drawn)
        changes.append(f"{name}: drawn, normal with rows of length 1")
    return changes


def _tables(model: nn.Module, profile: Profile) -> Iterator[tuple[str, nn.Embedding | nn.EmbeddingBag, int]]:
    """The tables that are trained and that the audit saw, each with its row."""
    rows = {str(name): row for row, name in reversed(list(enumerate(profile["name"])))}
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.weight.requires_grad:
            row = rows.get(name)
            if row is not None and str(profile["kind"][row]) == "embedding":
                yield name, module, row


def _read_alone(profile: Profile, row: int) -> bool:
    """Whether a layer reads tables that are all zeros, and nothing else: the next row that is no table is a layer."""
    kinds, sizes = profile["kind"].astype(str), profile["q"]
    after = next((i for i in range(row, len(profile)) if kinds[i] != "embedding"), None)
    if after is None or kinds[after] not in ("weight", "recurrent"):
        return False
    return all(sizes[i] == 0.0 for i in range(after) if kinds[i] in ("embedding", "input"))
