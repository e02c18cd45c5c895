"""From a traced pass to its coverage: which of the used parameters a row stands for, and what has none."""

from __future__ import annotations

import torch
from torch import nn

from firstlight.probe.coverage import Coverage, WithoutRow
from firstlight.probe.guard.nodes import nodes
from firstlight.probe.trace._ledger import Ledger, tensors_in


def coverage_of(ledger: Ledger, model: nn.Module, blocked: str, scripted: tuple[str, ...] = ()) -> Coverage:
    """Count parameters with a row and with a gradient among those that the forward used.

    Parameters
    ----------
    ledger
        What is known after the pass.
    model
        The traced model.
    blocked
        Why there was no backward pass at all; empty where one ran.
    scripted
        Paths of the modules that could not be entered.
    """
    used = [name for name in ledger.parameters if name in ledger.used]
    with_row = {name for site in ledger.sites for name in site.learned} & set(used)
    with_gradient = [name for name in used if name in ledger.backward.log_squares]
    gaps = tuple(name for name in used if name not in with_row)

    def entries(names: list[str]) -> int:
        return sum(ledger.parameters[name].numel() for name in names)

    return Coverage(
        used=len(used),
        used_entries=entries(used),
        with_row=len(with_row),
        with_row_entries=entries([name for name in used if name in with_row]),
        with_gradient=len(with_gradient),
        with_gradient_entries=entries(with_gradient),
        gaps=gaps,
        without_row=_without_row(ledger, model, gaps, scripted),
        blocked=blocked,
    )


def _without_row(
    ledger: Ledger, model: nn.Module, gaps: tuple[str, ...], scripted: tuple[str, ...]
) -> tuple[WithoutRow, ...]:
    """Modules that were called and hold a parameter without a row, with the steps that were not measured."""
    found: list[WithoutRow] = []
    for path, module in model.named_modules() if gaps else ():
        calls = ledger.module_calls.get(path, 0)
        own = [f"{path}.{n}" if path else n for n, _ in module.named_parameters(recurse=False)]
        if not calls or not any(name in gaps for name in own):
            continue
        size = sum(p.numel() for p in module.parameters(recurse=False))
        found.append(WithoutRow(path or type(module).__name__, calls, size, _reason(ledger, path, scripted)))
    return tuple(found)


def _reason(ledger: Ledger, path: str, scripted: tuple[str, ...]) -> str:
    if path in scripted:
        return "scripted: its inner calls cannot be followed"
    steps = ledger.unmeasured.get(path)
    if steps:
        return f"its steps ({', '.join(sorted(steps)[:6])}) are followed, but none of them is a row"
    return "no step of it read both a traced signal and a parameter"


def leaves_of(*roots: torch.Tensor) -> list[torch.Tensor]:
    """The leaves of an autograd graph: every tensor whose gradient its backward gives."""
    found = (getattr(node, "variable", None) for node in nodes(*(root.grad_fn for root in roots)))
    return [leaf for leaf in found if leaf is not None]


def unregistered(model: nn.Module, output: object, strangers: list[torch.Tensor]) -> dict[str, bool]:
    """Leaves behind the output that are no parameters of the model, by name; whether each is a parameter of another.

    ``strangers`` are the leaves behind the loss that are neither parameters nor part of the batch. A loss may have
    parameters of its own, so only those behind the output count. A tensor that is no parameter counts where the
    model keeps it: what a forward pass makes for itself, as a point at which to differentiate, is no weight.
    """
    if not strangers:
        return {}
    behind = {id(leaf) for leaf in leaves_of(*tensors_in(output))}
    held = _held(model)
    found: dict[str, bool] = {}
    for leaf in strangers:
        own = isinstance(leaf, nn.Parameter)
        if id(leaf) in behind and (own or id(leaf) in held):
            shape = "×".join(map(str, leaf.shape))
            found[
                held.get(id(leaf), f"a parameter of shape {shape or '()'} that the model does not keep")
            ] = own
    return found


def _held(model: nn.Module) -> dict[int, str]:
    """Names of tensors in the lists, dicts and plain attributes of a model, by identity."""
    plain = set(vars(nn.Module()))
    found: dict[int, str] = {}
    for path, module in model.named_modules():
        stack = [(f"{path}.{k}" if path else k, v, 0) for k, v in vars(module).items() if k not in plain]
        while stack:
            name, value, depth = stack.pop()
            if isinstance(value, torch.Tensor):
                found.setdefault(id(value), name)
            elif isinstance(value, nn.Module):
                found.update({id(p): f"{name}.{n}" for n, p in value.named_parameters()})
            elif isinstance(value, (list, tuple, dict)) and depth < _NESTED:
                items = value.items() if isinstance(value, dict) else enumerate(value)
                stack += [(f"{name}.{k}", v, depth + 1) for k, v in items]
    return found


# Lists inside lists in which the tensors of a model are looked for.
_NESTED = 4
