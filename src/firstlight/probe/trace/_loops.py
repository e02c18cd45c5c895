"""Loops: layers that are called again on what they gave, scans of sums, and what the last output owes to each step."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from firstlight.probe.graph._site import Site
from firstlight.probe.guard.nodes import Node, nodes, written_in_python

# Calls of one layer from which they make a path through time.
CALLS = 5


class Loops:
    """The calls of every layer, by its name, and the output of the last call of a layer that is called often.

    Attributes
    ----------
    calls
        The row of every call, with its place in the autograd graph.
    scans
        The places in the autograd graph of sums that read the sum before with no layer in between, by module path:
        states that decay, as h = a h + u.
    cells
        The hidden-to-hidden weight of every recurrent cell, by its name.
    foreign
        Whether the backward may run code that is not torch's own: a hook, or a part that is computed again.
    """

    def __init__(self) -> None:
        self.calls: dict[str, list[tuple[Site, GradientEdge]]] = {}
        self.foreign = False
        self.cells: dict[str, list[Tensor]] = {}
        self.scans: dict[str, list[GradientEdge]] = {}
        self._last: Tensor | None = None
        self._ends: dict[str, Tensor] = {}
        self._states: dict[int, list[GradientEdge]] = {}

    def note(self, site: Site, out: Tensor) -> None:
        """Remember one call; its place in the autograd graph is held, not its tensor."""
        if site.kind not in ("weight", "recurrent") or out.grad_fn is None:
            return
        self.foreign |= _remade()
        calls = self.calls.setdefault(site.name.partition("#")[0], [])
        calls.append((site, get_gradient_edge(out)))
        if len(calls) >= CALLS:
            self._last = out

    def note_state(self, site: Site, state: Tensor) -> None:
        """Remember what else a call hands on to the next one: the cell state of an LSTM, which holds its memory."""
        if state.grad_fn is not None:
            self._states.setdefault(site.index, []).append(get_gradient_edge(state))

    def note_sum(self, path: str, out: Tensor) -> None:
        """Remember a sum in a chain of sums; a sum that does not read the one before begins a new chain."""
        if out.grad_fn is None:
            return
        name = f"{path}.scan".lstrip(".")
        edges = self.scans.setdefault(name, [])
        if edges and not _reads(out.grad_fn, edges[-1].node):
            if len(edges) >= CALLS:
                return
            edges.clear()
        self.foreign |= _remade()
        edges.append(get_gradient_edge(out))
        self._ends[name] = out

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
        if name not in self.calls:
            return []  # a scan has no matrix
        site = self.calls[name][-1][0]
        shape = site.weight.shape if site.weight is not None else ()
        if site.weight is not None and len(shape) == 2 and shape[0] == shape[1]:
            return list(site.weight.parameters)
        return self.cells.get(name, [])

    def repeatable(self) -> bool:
        """Whether the backward of the loops is torch's own: nothing of the model's may run a second time."""
        self.scans = {name: edges for name, edges in self.scans.items() if len(edges) >= CALLS}
        self._ends = {name: self._ends[name] for name in self.scans}
        last = [self._last] if self._last is not None and self.found else []
        ends = [end.grad_fn for end in (*last, *self._ends.values()) if end.grad_fn is not None]
        return bool(ends) and not self.foreign and not any(map(written_in_python, nodes(*ends)))

    def jacobian(self, seed: int) -> dict[str, list[float]]:
        """Ln ‖∂(v·z_T)/∂z_t‖ of every call t, v a random direction and z_T the last output of all loops.

        A loss that reads every step keeps ∂L/∂z_t large; a direction in the last output tells what it remembers.
        The graph must still hold what its backward needs.
        """
        last, groups = self._last, self.found
        ends, self._last, self._ends = self._ends, None, {}
        found: dict[str, list[float]] = {}
        for name, end in ends.items():
            found |= _dependence(end, {name: [[edge] for edge in self.scans[name]]}, seed)
        if last is not None and groups:
            edges = {
                name: [[edge, *self._states.get(site.index, ())] for site, edge in calls]
                for name, calls in groups.items()
            }
            found |= _dependence(last, edges, seed)
        return found


def _dependence(
    last: Tensor, groups: dict[str, list[list[GradientEdge]]], seed: int
) -> dict[str, list[float]]:
    """Ln ‖∂(v·last)/∂z_t‖ at the steps of every group, all edges of a step together; v is a random direction."""
    direction = torch.randn(last.shape, generator=torch.Generator().manual_seed(seed)).to(last)
    edges = [edge for each in groups.values() for step in each for edge in step]
    try:
        gradients = iter(torch.autograd.grad(last, edges, direction, allow_unused=True, retain_graph=True))
    except RuntimeError:
        return {}  # a step without a derivative stands in the loop, and the backward went another way
    result = {}
    for name, each in groups.items():
        logs = [_log([g for g in (next(gradients) for _ in step) if g is not None]) for step in each]
        if sum(not math.isnan(v) for v in logs) >= CALLS:
            result[name] = logs
    return result


# Steps between two sums of one chain, and those that mix units, which are no part of a chain.
_NEAR = 24
_LAYERS = (
    "Mm",
    "Bmm",
    "Addmm",
    "Baddbmm",
    "Addbmm",
    "Mv",
    "Linear",
    "Convolution",
    "ScaledDot",
    "Softmax",
    "Cudnn",
)


def _reads(node: Node, before: Node) -> bool:
    """Whether a step reads an earlier one through few steps, none of which mixes units."""
    seen, level = {node}, [node]
    while level and len(seen) < _NEAR:
        following: list[Node] = []
        for here in level:
            for child, _ in here.next_functions:
                if child is before:
                    return True
                if child is not None and child not in seen and not type(child).__name__.startswith(_LAYERS):
                    seen.add(child)
                    following.append(child)
        level = following
    return False


def _remade() -> bool:
    """Whether what is saved for the backward goes through hooks, as in checkpoints, which run their part again."""
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return top is None or top(True) is not None


def _log(gradients: list[Tensor]) -> float:
    """Log norm of all gradients together; NaN where there is none."""
    norm = math.hypot(*(float(torch.linalg.vector_norm(g.detach().double())) for g in gradients))
    return math.nan if not gradients else math.log(norm) if norm > 0.0 else -math.inf
