"""Written: what a recipe wrote into a model, what was left and why, and the way back."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.errors import DomainError
from firstlight.files import plain
from firstlight.files.plain_data import Record
from firstlight.probe.trace.calling import unwrap
from firstlight.recipes.layout.slots import Left
from firstlight.recipes.recipe import Draft
from firstlight.render import Document

_PIECE = 1 << 15  # entries exchanged at once: a piece stays in the second-level cache
_SHOWN = 12  # lines of text for what was written, and as many for what was left


@dataclass(frozen=True)
class Line:
    """One parameter that was written.

    Attributes
    ----------
    name
        Name of the parameter.
    why
        The law and the scale, and what the scale comes from.
    before, after
        Root mean square of its entries.
    """

    name: str
    why: str
    before: float
    after: float


@dataclass(frozen=True, eq=False)
class Written(Document):
    """What `firstlight.initialise_` wrote.

    Attributes
    ----------
    recipe
        The recipe, as text.
    model
        Class of the model.
    lines
        What was written, in the order of execution.
    left
        What was not written, and why.
    rates
        Factors on the learning rate by name of the parameter, for recipes that have them.
    """

    recipe: str
    model: str
    lines: tuple[Line, ...]
    left: tuple[Left, ...]
    rates: dict[str, float]
    _old: tuple[tuple[Tensor, Tensor], ...] = field(repr=False)
    _numbers: tuple[tuple[nn.Module, str, float], ...] = field(default=(), repr=False)

    def revert_(self) -> None:
        """Put every entry and every number back that was there before, bit for bit."""
        _put_back(self._old)
        _set_back(self._numbers)

    def parameter_groups(self, model: nn.Module, rate: float) -> list[dict[str, Any]]:
        """Groups of parameters for a torch optimiser, with the learning rates that the recipe asks for.

        Parameters
        ----------
        model
            The model that was written.
        rate
            The learning rate of parameters without a factor.

        Examples
        --------
        >>> import torch, firstlight
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4))
        >>> done = firstlight.initialise_(net, "he")
        >>> [group["lr"] for group in done.parameter_groups(net, 0.1)]
        [0.1]
        """
        groups: dict[float, list[Tensor]] = {}
        for name, parameter in unwrap(model).named_parameters():
            groups.setdefault(self.rates.get(name, 1.0), []).append(parameter)
        return [{"params": held, "lr": rate * factor} for factor, held in groups.items()]

    def to_dict(self) -> Record:
        """A plain dict."""
        found = {
            "format": "firstlight-written/1",
            "recipe": self.recipe,
            "model": self.model,
            "written": [vars(line) for line in self.lines],
            "left": [vars(left) for left in self.left],
            "rates": self.rates,
        }
        return dict(plain(found))

    def _page(self) -> str:
        from firstlight.recipes._page import written_page

        return written_page(self)

    def to_text(self) -> str:
        """How many parameters were written, and one line for the first ones and the last; the page has all of them."""
        from firstlight.render.brief import shortened

        lines = [f"{self.recipe} on {self.model}: wrote {len(self.lines)} parameters, left {len(self.left)}"]
        wrote = [f"wrote {n.name}: {n.why} (rms {n.before:.3g} → {n.after:.3g})" for n in self.lines]
        left = [f"left {one.name}: {one.reason}" for one in self.left]
        lines += shortened(wrote, _SHOWN) + shortened(left, _SHOWN)
        factors = sorted(set(self.rates.values()) - {1.0})
        if factors:
            lines.append("learning rates: " + ", ".join(f"× {factor:.4g}" for factor in factors))
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        from firstlight.render.brief import one_line

        return one_line(
            "Written", recipe=self.recipe, model=self.model, wrote=len(self.lines), left=len(self.left)
        )

    def _repr_html_(self) -> str:
        from firstlight.recipes._page import written_fragment

        return written_fragment(self)


def commit(draft: Draft, recipe: str) -> Written:
    """Check every value of a draft, then copy all of them; nothing is changed where one cannot be written.

    Raises
    ------
    DomainError
        A draft without values, or a value of another shape than its parameter or that is not finite.
    """
    model = draft.blueprint.model
    pairs: list[tuple[str, str, nn.Parameter, Tensor]] = []
    for value in draft.values.values():
        for name, tensor in value.tensors:
            parameter = model.get_parameter(name)
            _check(name, parameter, tensor)
            # a tensor that a recipe keeps, or that belongs to the model, must not change while others are written
            held = tensor.detach() if value.owned else tensor.detach().clone()
            pairs.append((name, value.why, parameter, held))
    if not pairs:
        reasons = (
            "; ".join(f"{left.name}: {left.reason}" for left in draft.left[:4]) or "it has no parameters"
        )
        raise DomainError(
            f"while initialising {type(model).__name__} with {recipe}: expected a weight to write, got none "
            f"({reasons}); "
            "unfreeze it, or pass the module that holds the layers"
        )
    before = [_rms(parameter) for _, _, parameter, _ in pairs]
    old: list[tuple[Tensor, Tensor]] = []
    numbers: list[tuple[nn.Module, str, float]] = []
    try:
        for _, _, parameter, tensor in pairs:
            old.append((parameter, exchange(parameter, tensor)))
        for constant, (number, _) in draft.numbers.items():
            module = model.get_submodule(constant.path)
            numbers.append((module, constant.name, getattr(module, constant.name)))
            setattr(module, constant.name, number)
    except BaseException:
        _put_back(old)
        _set_back(numbers)
        raise
    lines = [
        Line(name, why, rms, _rms(parameter))
        for (name, why, parameter, _), rms in zip(pairs, before, strict=True)
    ]
    for (constant, (number, why)), (_, _, was) in zip(draft.numbers.items(), numbers, strict=True):
        lines.append(Line(constant.spelling, f"{number:.6g}, {why}", abs(was), abs(number)))
    left = (*draft.left, *_kept(model, {name for name, _, _, _ in pairs}, draft.left))
    return Written(
        recipe, type(model).__name__, tuple(lines), left, dict(draft.rates), tuple(old), tuple(numbers)
    )


def _kept(model: nn.Module, written: Container[str], left: Sequence[Left]) -> list[Left]:
    """Every parameter that was neither written nor named, so that the report names all of them."""
    named = {line.name for line in left}
    found = []
    for name, parameter in model.named_parameters():
        # a computed weight has its own name, and that name covers all parameters of its module
        plain_name = name.replace("parametrizations.", "")
        known = any(plain_name == n or plain_name.startswith((f"{n}.", f"{n}_")) for n in named)
        if name in written or known:
            continue
        layer = f"{name.rpartition('.')[0]}.weight".lstrip(".")
        reason = "the recipe has no value for it"
        if not parameter.requires_grad:
            reason = "it is frozen"
        elif layer in named:
            reason = "the weight of its layer is left"
        found.append(Left(name, reason))
    return found


def _set_back(numbers: Sequence[tuple[nn.Module, str, float]]) -> None:
    for module, name, value in reversed(numbers):
        setattr(module, name, value)


@torch.no_grad()
def _put_back(old: Sequence[tuple[Tensor, Tensor]]) -> None:
    for parameter, value in reversed(old):
        parameter.copy_(value)


def _check(name: str, parameter: nn.Parameter, tensor: Tensor) -> None:
    if tensor.shape != parameter.shape:
        raise DomainError(
            f"while writing {name}: expected a value of shape {tuple(parameter.shape)}, got {tuple(tensor.shape)}; "
            "nothing was written"
        )
    low, high = (float(x) for x in tensor.aminmax()) if tensor.numel() else (0.0, 0.0)
    limit = torch.finfo(parameter.dtype).max
    if not (-limit <= low and high <= limit):
        raise DomainError(
            f"while writing {name}: expected finite values within {limit:.3g} ({parameter.dtype}), got {low} to "
            f"{high}; nothing was written"
        )


@torch.no_grad()
def exchange(parameter: Tensor, value: Tensor) -> Tensor:
    """Write a value into a parameter and give back what was there, in the value's own memory where that fits.

    Examples
    --------
    >>> import torch
    >>> from firstlight.recipes.written import exchange
    >>> parameter = torch.zeros(2)
    >>> exchange(parameter, torch.ones(2)), parameter
    (tensor([0., 0.]), tensor([1., 1.]))
    """
    fits = value.dtype == parameter.dtype and value.device == parameter.device
    dense = (
        value.is_contiguous()
        and parameter.is_contiguous()
        and value.untyped_storage().nbytes() == value.nbytes
    )
    if not (fits and dense and parameter.device.type == "cpu"):
        old = parameter.detach().clone()
        parameter.copy_(value)
        return old
    here, there = parameter.detach().view(-1), value.detach().view(-1)
    spare = torch.empty(min(_PIECE, len(here)), dtype=value.dtype)
    for start in range(0, len(here), _PIECE):
        mine, new = here[start : start + _PIECE], there[start : start + _PIECE]
        kept = spare[: len(mine)]
        kept.copy_(mine)
        mine.copy_(new)
        new.copy_(kept)
    return value


def _rms(tensor: Tensor) -> float:
    """Root mean square of up to 4096 entries, spread over the tensor."""
    flat = tensor.detach().reshape(-1)
    flat = flat[:: max(1, len(flat) // 4096)]
    return float(flat.double().square().mean().sqrt()) if len(flat) else 0.0
