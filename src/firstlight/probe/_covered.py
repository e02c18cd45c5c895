"""From a traced pass to its coverage: which of the used parameters a row stands for, and what has none."""

from __future__ import annotations

import torch
from torch import nn

from firstlight.probe.coverage import Coverage, WithoutRow
from firstlight.probe.trace._ledger import Ledger


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
    found = []
    for path, module in model.named_modules():
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


def used_in_graph(root: torch.Tensor, names: dict[int, str]) -> set[str]:
    """Names of the parameters that an autograd graph ends in: a second way to know what was used."""
    seen, stack = set(), [root.grad_fn]
    found: set[str] = set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        name = names.get(id(getattr(node, "variable", None)))
        if name is not None:
            found.add(name)
        stack += [child for child, _ in node.next_functions]
    return found
