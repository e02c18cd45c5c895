"""Which parameters of a model stand behind the weight rows of its audit, and what feeds each of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from firstlight.activations import Activation
from firstlight.clean_room import clean
from firstlight.profile import Profile
from firstlight.recipes.layout.reading import of_function, of_module
from firstlight.recipes.layout.trained import learnt_direction

# what carries a signal between two weights; an attention or a sum gives its output an identity in front
_CARRIERS = ("activation", "norm", "residual", "attention", "weight", "input", "embedding", "recurrent")


@dataclass(frozen=True)
class WeightSite:
    """A weight that a remedy may write.

    Attributes
    ----------
    name, row
        Path in the model, and its row in the profile.
    module, key, bias
        Where the weight is kept, a parameter or a parametrised tensor, and the bias; None where there is none.
    groups
        Groups of a convolution.
    phi
        The activation whose output the weight reads; None where it reads something else.
    reads, feeds
        Kinds of the rows before and after it; ``"input"`` and ``""`` at the ends.
    q_in
        Second moment of what an input row gave, for a weight that reads one; else 1.
    sigma_w
        Its scale √(fan-in · E w²) in the audit.
    faulty
        Whether the audit found its entries constant, cloned, zero or not finite.
    reached
        Whether a gradient that is not zero reaches it.
    fan_in
        Weights that reach one output unit.
    bare
        Whether its axes are not (units, inputs, …): a parameter that no layer holds, such as one of a matrix
        product, in which the model decides what the axes are, or a transposed convolution.
    """

    name: str
    row: int
    module: nn.Module
    key: str
    bias: nn.Parameter | None
    groups: int
    phi: Activation | None
    reads: str
    feeds: str
    q_in: float
    sigma_w: float
    faulty: bool
    reached: bool = True
    fan_in: int = 1
    bare: bool = False

    @property
    def weight(self) -> Tensor:
        """The weight as the forward uses it; write it with `write`."""
        weight: Tensor = getattr(self.module, self.key).detach()
        return weight

    @torch.no_grad()
    def write(self, value: Tensor) -> None:
        """Give the weight this value; a parametrisation, such as weight norm, finds its own parameters."""
        current = getattr(self.module, self.key)
        value = value.to(current.dtype).to(current.device)
        if isinstance(current, nn.Parameter):
            current.copy_(value)
        else:
            setattr(self.module, self.key, value)


@dataclass(frozen=True)
class Sites:
    """The writable weights in the order of execution, what is left alone with the reason, and why: training."""

    found: tuple[WeightSite, ...]
    left: tuple[str, ...]
    trained: bool = False


@clean
def sites(model: nn.Module, profile: Profile) -> Sites:
    """The weights of a model that its audit saw and that may be written.

    A row is that of a layer's weight, or of a parameter that the model keeps by itself. Frozen and shared
    weights, weights that are computed and cannot be set (weight norm can) and weights that multiply entry by entry
    are left and named. In a network that looks trained (`learnt_direction` of at least half of the weights) all
    weights except faulty ones are left too.

    Examples
    --------
    >>> import torch, firstlight
    >>> from firstlight.fixing.remedies import sites
    >>> net = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
    >>> [(s.name, s.phi and s.phi.name) for s in sites(net, firstlight.audit(net, torch.randn(16, 8)).profile).found]
    [('0', None), ('2', 'tanh')]
    """
    kinds = profile["kind"].astype(str)
    modules = dict(model.named_modules())
    seen: set[int] = set()
    found: list[WeightSite] = []
    left: list[str] = []
    for row in range(len(profile)):
        name = str(profile["name"][row])
        if "#" in name:  # a later call of a module that is listed already
            continue
        if kinds[row] == "affine" and str(profile["op"][row]) == "mul" and _entrywise(modules, name):
            left.append(
                f"{name}: it multiplies entry by entry, and no remedy knows the scale of such weights"
            )
        if kinds[row] != "weight":
            continue
        owner, key, bare = _place(modules, name)
        reason = _unusable(owner, key, seen, bare=bare)
        if reason or owner is None:
            left.append(f"{name}: {reason}")
            continue
        seen.add(_identity(owner, key))
        transposed = isinstance(owner, _ConvTransposeNd)
        before = next((i for i in range(row - 1, -1, -1) if kinds[i] in _CARRIERS), None)
        reads = "input" if before is None else str(kinds[before])
        found.append(
            WeightSite(
                name,
                row,
                owner,
                key,
                None if bare else owner._parameters.get(key.removesuffix("weight") + "bias"),
                int(getattr(owner, "groups", 1)),
                _activation(modules, profile, before)
                if reads == "activation" and before is not None
                else None,
                reads,
                str(kinds[row + 1]) if row + 1 < len(profile) else "",
                float(profile["q"][before]) if reads == "input" and before is not None else 1.0,
                float(profile["sigma_w"][row]),
                bool(str(profile["weight_flags"][row])),
                not np.isneginf(profile["log_weight_grad"][row]),
                _fan_in(getattr(owner, key), profile, row)
                if bare or transposed
                else getattr(owner, key)[0].numel(),
                bare or transposed,
            )
        )
    return _fresh(found, left)


def _fresh(found: list[WeightSite], left: list[str]) -> Sites:
    """The sites without the sound weights of a trained network, which are named with the reason."""
    ratios = {site.name: 1.0 if site.faulty else learnt_direction(site.weight) for site in found}
    sound = [site for site in found if not site.faulty]
    learnt = [site for site in sound if ratios[site.name] > 1.0]
    if not learnt or 2 * len(learnt) < len(sound):
        return Sites(tuple(found), tuple(left))
    largest = max(ratios.values())
    reason = f"the network looks trained (a singular value {largest:.3g} times that of shuffled entries)"
    kept = tuple(site for site in found if site.faulty)
    return Sites(kept, (*left, *(f"{site.name}: {reason}" for site in sound)), trained=True)


def _place(modules: Mapping[str, nn.Module], name: str) -> tuple[nn.Module | None, str, bool]:
    """The module and the attribute behind a row, and whether it is a parameter that no layer holds.

    The attribute is ``weight`` of the module with the row's name, ``name_weight`` of its parent, or the parameter of
    that name.
    """
    owner = modules.get(name)
    if owner is not None and isinstance(getattr(owner, "weight", None), Tensor):
        return owner, "weight", False
    path, _, key = name.rpartition(".")
    parent = modules.get(path)
    if parent is not None:
        if isinstance(parent._parameters.get(f"{key}_weight"), nn.Parameter):
            return parent, f"{key}_weight", False
        if isinstance(getattr(parent, key, None), Tensor):
            return parent, key, True
    if owner is not None:
        own = [k for k, p in owner._parameters.items() if p is not None and p.ndim >= 2]
        if len(own) == 1:  # a module of one matrix, whatever the matrix is called
            return owner, own[0], True
    return None, "", False


def _entrywise(modules: Mapping[str, nn.Module], name: str) -> bool:
    """Whether a row is a trained parameter of two axes or more, as the base weights of a Kolmogorov–Arnold network."""
    path, _, key = name.rpartition(".")
    parent = modules.get(path)
    weight = parent._parameters.get(key) if parent is not None else None
    return weight is not None and weight.requires_grad and sum(size > 1 for size in weight.shape) > 1


def _fan_in(weight: Tensor, profile: Profile, row: int) -> int:
    """Weights of a bare parameter that reach one output: as measured, else its entries over the axes of the output."""
    measured = float(profile["fan_in"][row])
    if math.isfinite(measured):
        return max(round(measured), 1)
    output = [int(size) for size in str(profile["shape"][row]).split("×")[1:] if size]
    units = 1
    for size in weight.shape:
        if size in output:
            output.remove(size)
            units *= size
    return max(weight.numel() // units, 1)


def _identity(owner: nn.Module, key: str) -> int:
    """What tells a weight that two layers share: the parameter, or the module that computes it."""
    return id(owner._parameters.get(key, owner))


def _unusable(owner: nn.Module | None, key: str, seen: set[int], *, bare: bool) -> str:
    if owner is None:
        return "no parameter of a module with this name"
    if not bare and isinstance(owner, nn.Bilinear):
        return f"{type(owner).__name__} has no fan-in that this remedy knows"
    if _identity(owner, key) in seen:
        return "its weight is shared with a layer before"
    weight = getattr(owner, key)
    if not isinstance(weight, nn.Parameter):
        return "" if _invertible(owner, key, weight) else "its weight is computed, and cannot be set"
    if not weight.requires_grad:
        return "its weight is frozen"
    return "" if weight.ndim >= 2 and weight.is_floating_point() else "its weight is no floating matrix"


def _invertible(owner: nn.Module, key: str, weight: Tensor) -> bool:
    """Whether a parametrised weight takes a value of any scale: orthogonal and spectrally normed ones do not."""
    steps = getattr(owner, "parametrizations", {})
    if key not in steps or not all(p.requires_grad for p in steps[key].parameters()):
        return False
    try:
        trial = copy.deepcopy(owner)
        setattr(trial, key, 2 * weight.detach())
        return torch.allclose(getattr(trial, key), 2 * weight, rtol=1e-3, atol=1e-6)
    except (NotImplementedError, RuntimeError, ValueError):
        return False


def _activation(modules: Mapping[str, nn.Module], profile: Profile, row: int) -> Activation | None:
    """φ of an activation row: the module where there is one, with its own parameters, else the operation by name."""
    module = modules.get(str(profile["name"][row]).split("#")[0])
    found = of_module(module) if module is not None else None
    return found if found is not None else of_function(str(profile["op"][row]))
