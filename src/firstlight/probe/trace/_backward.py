"""One backward pass whose gradients never overflow: rescaled where the whole graph narrows to one node."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from firstlight.clean_room import apart
from firstlight.probe.graph._site import Site
from firstlight.probe.guard.nodes import Node
from firstlight.probe.read._whole import whole
from firstlight.probe.trace._cuts import Cuts

# Rescale when the size leaves [2^-16, 2^16]: float16 underflows at 2^-24, float32 at 2^-126.
WINDOW = 16.0
# The loss reads a step whose gradient is this share of the largest step's.
HEARD = 0.01


def narrow_nodes(root: Node) -> list[Node]:
    """The nodes of an autograd graph through which every gradient below them flows.

    Nodes are taken in the order of the engine (latest made, first run). A node is narrow when, at its
    turn, no other node is waiting: everything still to come is reached through it, so its incoming
    gradient may be multiplied by any factor if the factor is remembered. A leaf used more than once
    keeps the graph wide between its uses, since it sums gradients from both.
    """
    uses: dict[Node, int] = {}
    seen, stack = {root}, [root]
    while stack:
        for node, _ in stack.pop().next_functions:
            if node is not None:
                uses[node] = uses.get(node, 0) + 1
                if node not in seen:
                    seen.add(node)
                    stack.append(node)
    narrow: list[Node] = []
    heap = [(-_order(root), 0, root)]
    waiting, left, count = {root}, dict(uses), 0
    shared_leaves = 0
    while heap:
        _, _, node = heapq.heappop(heap)
        waiting.discard(node)
        if not waiting and shared_leaves == 0:
            narrow.append(node)
        for child, _ in node.next_functions:
            if child is None:
                continue
            if _is_leaf(child):
                first = left[child] == uses[child]
                left[child] -= 1
                if uses[child] > 1:
                    shared_leaves += int(first) - int(left[child] == 0)
            elif child not in waiting:
                count += 1
                waiting.add(child)
                heapq.heappush(heap, (-_order(child), count, child))
    return narrow


def _is_leaf(node: Node) -> bool:
    return hasattr(node, "variable")


def _order(node: Node) -> int:
    return int(node._sequence_nr())


@dataclass
class Backward:
    """Collects log gradient norms of sites and parameters during one backward pass.

    ``log_scale`` is the log of the factor by which the gradients now flowing were multiplied. ``suspects`` are
    weights with equal units; ``still_clones`` tells which of them have units that get equal gradients too.
    ``strangers`` are leaves of the loss's graph that are neither parameters nor made of what passed; ``chosen`` are the
    rows whose integers chose what reaches the loss. ``heard`` is the share of a recurrent row's steps that the loss
    reads: their part of ∂L/∂z is a hundredth of the largest step's or more. ``running`` is true in the
    pass that is measured: a model that differentiates inside its own forward sends other gradients through the rows.
    """

    log_scale: float = 0.0
    rescaled: int = 0
    log_squares: dict[str, float] = field(default_factory=dict)
    suspects: dict[str, Tensor] = field(default_factory=dict)
    still_clones: dict[str, bool] = field(default_factory=dict)
    cuts: Cuts = field(default_factory=Cuts)
    strangers: list[Tensor] = field(default_factory=list)
    chosen: list[Site] = field(default_factory=list)
    heard: dict[Site, float] = field(default_factory=dict)
    derivatives: dict[str, str] = field(default_factory=dict)
    lost: list[Site] = field(default_factory=list)
    running: bool = False
    done: bool = False
    task: int = -1

    @apart
    def watch(self, site: Site, output: Tensor) -> None:
        """Record ‖∂L/∂z‖² of this output when its gradient arrives."""

        def hook(gradient: Tensor | None) -> None:
            # a Function may hand nothing on, and several gradients at once belong to a pass inside the model's own
            if self.running and gradient is not None and not _several(gradient):
                site.log_square = self._log_square(gradient)

        output.register_hook(hook)

    def watch_steps(self, site: Site, output: Tensor, axis: int, sizes: list[int]) -> None:
        """Record the share of steps, along an axis, at which the loss reads a recurrent layer's output.

        ``sizes`` are the sequences that each step of packed ones holds, along axis 0; empty where nothing is packed.
        """

        @apart
        def hook(gradient: Tensor) -> None:
            if self.running and not _several(gradient):
                given = gradient.detach().float()
                steps = given.split(sizes) if sizes else given.unbind(axis)
                norms = torch.stack([torch.linalg.vector_norm(step) for step in steps])
                self.heard[site] = float((norms >= HEARD * norms.amax()).float().mean())

        if output.requires_grad:
            output.register_hook(hook)

    def watch_parameter(self, name: str, parameter: Tensor) -> Callable[[], None]:
        """Record ‖∂L/∂W‖² of a parameter; returns what removes the hook."""

        def hook(gradient: Tensor | None) -> Tensor | None:
            if gradient is None:
                return None
            self.log_squares[name] = self._log_square(gradient)
            if name in self.suspects:
                self.still_clones[name] = clones(self.suspects[name], gradient)
            # a backward inside a Function's backward hands the gradient to that Function
            return emptied(gradient) if torch._C._current_graph_task_id() == self.task else None

        return parameter.register_hook(hook).remove

    def begin(self, value: Tensor) -> Callable[[], None]:
        """Note which run of the engine differentiates the value itself; returns what removes the hook."""

        def hook(gradient: Tensor) -> None:
            self.task = torch._C._current_graph_task_id()

        return value.register_hook(hook).remove

    def guard(self, node: Node) -> Callable[[], None]:
        """Bring the gradient that enters a narrow node back to order one; returns what removes the hook."""

        @apart
        def hook(gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...] | None:
            sizes = [_size(g.detach()) for g in gradients if g is not None and g.numel()]
            largest = max(sizes, default=0.0)
            if not (largest > 0.0 and math.isfinite(largest)) or abs(math.log2(largest)) < WINDOW:
                return None
            exponent = -math.floor(math.log2(largest))
            self.log_scale += exponent * math.log(2.0)
            self.rescaled += 1
            # two factors, since one power of two may itself be out of the dtype's range
            half = exponent // 2
            return tuple(None if g is None else g * 2.0**half * 2.0 ** (exponent - half) for g in gradients)

        return node.register_prehook(hook).remove

    @apart
    def _log_square(self, gradient: Tensor) -> float:
        return log_square(gradient) - 2.0 * self.log_scale


def _several(gradient: Tensor) -> bool:
    """Whether ``is_grads_batched`` sends several gradients at once, which no operation of ours can read."""
    return type(gradient) is Tensor and "Batched" in str(torch._C._dispatch_keys(gradient))


def _size(gradient: Tensor) -> float:
    """Root mean square of a gradient; its largest entry in half precision, or where squares leave the range.

    Half precision has no room between the two; elsewhere the norm takes a twentieth of the time.
    """
    gradient = whole(gradient)
    if gradient.dtype.itemsize >= 4:
        norm: float = torch.linalg.vector_norm(gradient).item()
        if 1e-15 < norm < math.inf:
            return norm / math.sqrt(gradient.numel())
    return float(gradient.abs().amax())


def emptied(gradient: Tensor) -> Tensor | None:
    """In the place of a large gradient that nobody reads any more, one number in its shape; else None.

    Gradients of all parameters would lie in memory together until the pass is over.

    Examples
    --------
    >>> stand_in = emptied(torch.ones(64, 64))
    >>> stand_in.shape, stand_in.untyped_storage().nbytes(), emptied(torch.ones(2))
    (torch.Size([64, 64]), 4, None)
    """
    if type(gradient) is not Tensor or gradient.layout != torch.strided or gradient.numel() < 4096:
        return None
    return gradient.new_zeros(()).expand(gradient.shape)


def clones(weight: Tensor, gradient: Tensor) -> bool:
    """Whether two units (rows, or columns, of a weight) that are equal also get the same gradient.

    Copies that are used differently get different gradients, and part on the first step.

    Examples
    --------
    >>> w = torch.ones(3, 2)
    >>> clones(w, torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 3.0]])), clones(w, torch.randn(3, 2))
    (True, False)
    """
    if weight.dim() < 2 or gradient.shape != weight.shape or gradient.layout != torch.strided:
        return False
    w, g = weight.detach().flatten(1), gradient.detach().flatten(1).float()
    size = g.norm(dim=1)
    _, group = w.unique(dim=0, return_inverse=True)
    order = group.argsort(stable=True)
    first, second = order[:-1], order[1:]
    same = (group[first] == group[second]) & (size[first] > 0) & w[first].any(dim=1)
    apart = (g[first] - g[second]).norm(dim=1)
    return bool((same & (apart <= 1e-4 * size[first])).any())


def log_square(gradient: Tensor) -> float:
    """Natural log of the sum of squares, safe for entries whose squares leave the dtype's range."""
    g = gradient.detach()
    # what is not stored of a sparse gradient is zero
    g = g.coalesce().values() if g.layout == torch.sparse_coo else whole(g)
    if g.numel() == 0:
        return -math.inf
    norm = float(torch.linalg.vector_norm(g, dtype=torch.float32 if g.dtype.itemsize < 4 else None))
    if norm > 1e-15 and math.isfinite(norm):
        return 2.0 * math.log(norm)
    largest = float(g.abs().amax())
    if largest == 0.0:
        return -math.inf
    if not math.isfinite(largest):
        return math.inf if math.isinf(largest) else math.nan
    scaled = g.double() if g.device.type != "mps" else g.float()
    return 2.0 * (math.log(largest) + math.log(float(torch.linalg.vector_norm(scaled / largest))))
