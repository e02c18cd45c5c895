"""Loops: layers that are called again and again on what they gave, and how their last output depends on each call."""

from __future__ import annotations

import itertools
import math
from typing import cast

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import GradientEdge, get_gradient_edge

from firstlight.probe.graph._site import Site

# Calls of one layer from which they make a path through time.
CALLS = 5


class Loops:
    """The calls of every layer, by its name, and the output of the last call of a layer that is called often.

    Attributes
    ----------
    calls
        The row of every call, with its place in the autograd graph.
    cells
        The hidden-to-hidden weight of every recurrent cell, by its name.
    foreign
        Whether the backward may run code that is not torch's own: a hook, or a part that is computed again.
    """

    def __init__(self) -> None:
        self.calls: dict[str, list[tuple[Site, GradientEdge]]] = {}
        self.foreign = False
        self.cells: dict[str, list[Tensor]] = {}
        self._last: Tensor | None = None

    def note(self, site: Site, out: Tensor) -> None:
        """Remember one call; its place in the autograd graph is held, not its tensor."""
        if site.kind not in ("weight", "recurrent") or out.grad_fn is None:
            return
        self.foreign |= _remade()
        calls = self.calls.setdefault(site.name.partition("#")[0], [])
        calls.append((site, get_gradient_edge(out)))
        if len(calls) >= CALLS:
            self._last = out

    @property
    def found(self) -> dict[str, list[tuple[Site, GradientEdge]]]:
        """The layers that are called on what came of their own earlier calls."""
        return {
            name: calls
            for name, calls in self.calls.items()
            if len(calls) >= CALLS and all(a.depth < b.depth for (a, _), (b, _) in itertools.pairwise(calls))
        }

    def weights(self, name: str) -> list[Tensor]:
        """The square weight, or the hidden-to-hidden weight of a cell, that a layer applies at every call."""
        site = self.calls[name][-1][0]
        shape = site.weight.shape if site.weight is not None else ()
        if site.weight is not None and len(shape) == 2 and shape[0] == shape[1]:
            return list(site.weight.parameters)
        return self.cells.get(name, [])

    def repeatable(self) -> bool:
        """Whether the backward of the loops is torch's own: nothing of the model's may run a second time."""
        last = None if self._last is None else self._last.grad_fn
        if self.foreign or last is None or not self.found:
            return False
        seen, stack = {last}, [last]
        while stack:
            node = stack.pop()
            if isinstance(cast(object, node), BackwardCFunction):
                return False
            for child, _ in node.next_functions:
                if child is not None and child not in seen:
                    seen.add(child)
                    stack.append(child)
        return True

    def jacobian(self, seed: int) -> dict[str, list[float]]:
        """Ln ‖∂(v·z_T)/∂z_t‖ of every call t, v a random direction and z_T the last output of all loops.

        A loss that reads every step keeps ∂L/∂z_t large; a direction in the last output tells what it remembers.
        The graph must still hold what its backward needs.
        """
        last, groups = self._last, self.found
        self._last = None
        if last is None or not groups:
            return {}
        edges = [edge for calls in groups.values() for _, edge in calls]
        direction = torch.randn(last.shape, generator=torch.Generator().manual_seed(seed)).to(last)
        try:
            gradients = iter(torch.autograd.grad(last, edges, direction, allow_unused=True))
        except RuntimeError:
            return {}  # a step without a derivative stands in the loop, and the backward went another way
        result = {}
        for name, calls in groups.items():
            given = [next(gradients) for _ in calls]
            logs = [math.nan if g is None else _log(g) for g in given]
            if sum(not math.isnan(v) for v in logs) >= CALLS:
                result[name] = logs
        return result


def _remade() -> bool:
    """Whether what is saved for the backward goes through hooks, as in checkpoints, which run their part again."""
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return top is None or top(True) is not None


def _log(gradient: Tensor) -> float:
    norm = float(torch.linalg.vector_norm(gradient.detach().double()))
    return math.log(norm) if norm > 0.0 else -math.inf
