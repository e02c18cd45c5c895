"""Cuts: where a gradient becomes exactly zero on its way back, and whether what makes the zero will move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from firstlight.probe.guard.nodes import Node, nodes
from firstlight.probe.read._whole import whole

# Steps whose result is a product of their operands; the number is the operand that is only added.
_PRODUCTS: dict[str, int | None] = {
    **dict.fromkeys(("Mul", "Div", "Mm", "Bmm", "Mv", "Dot", "Prod"), None),
    **dict.fromkeys(("Addmm", "Baddbmm", "Addmv", "Addbmm", "Addcmul", "Addcdiv"), 0),
    **dict.fromkeys(("Convolution", "ConvolutionOverrideable", "MkldnnConvolution", "CudnnConvolution"), 2),
    **dict.fromkeys(("NativeLayerNorm", "NativeBatchNorm", "CudnnBatchNorm", "NativeGroupNorm"), 2),
    **dict.fromkeys(("FusedRmsNorm", "Linear", "ScaledDotProductFlashAttentionForCpu"), None),
}
_STEPS = frozenset("Sign Sgn Round Floor Ceil Trunc Heaviside FloorDivide Fix Bernoulli".split())
_SOFTMAX = frozenset({"Softmax", "LogSoftmax", "SafeSoftmax"})
_SHAPES = frozenset(
    "View UnsafeView Expand Clone Reshape ReshapeAlias Transpose Permute Squeeze Unsqueeze Mul".split()
)
_FLAT = frozenset(
    """Relu Relu6 Threshold Hardtanh Clamp ClampMin ClampMax Hardswish Hardsigmoid Hardshrink Softshrink
    Maximum Minimum Where Tanh Sigmoid Elu LeakyRelu Gelu Silu Exp Softplus Erf""".split()
)

# Entries up to which looking at all costs no more than looking at one.
_FEW = 4096


def steps_of(root: Node) -> list[Node]:
    """Every node of an autograd graph but the leaves."""
    return [node for node in nodes(root) if not hasattr(node, "variable")]


def kind_of(node: Node) -> str:
    """The name of a step without the marks that autograd gives it.

    Examples
    --------
    >>> kind_of((torch.ones(2, requires_grad=True) * 2).grad_fn)
    'Mul'
    """
    return type(node).__name__.rstrip("0123456789").removesuffix("Backward")


def is_zero(value: Tensor) -> bool:
    """Whether every entry is exactly zero; one look settles nearly every large tensor that is not."""
    t = whole(value.detach())
    if t.numel() <= _FEW:
        return not bool(t.any())
    if bool(t[tuple(size // 2 for size in t.shape)] != 0):
        return False
    return not bool((t.abs().amax() != 0).item())


def tiny(gradients: Iterable[Tensor | None]) -> bool:
    """Whether gradients are so small that their products leave the range of their dtype."""
    return all(
        g is None
        or not g.numel()
        or g.layout != torch.strided
        or g.is_nested
        or float(g.detach().abs().amax()) < 1e6 * torch.finfo(g.dtype).tiny
        for g in gradients
    )


def cuts_by_itself(node: Node) -> str:
    """The cause of a zero that a step gives for every input: a step function, or a softmax over one unit."""
    kind = kind_of(node)
    if kind in _STEPS:
        return "step"
    if kind in _SOFTMAX:
        result, dim = getattr(node, "_saved_result", None), getattr(node, "_saved_dim", None)
        if isinstance(result, Tensor) and isinstance(dim, int) and result.dim():
            # autograd keeps the axis as an unsigned number
            axis = dim if dim < result.dim() else dim - 2**64
            return "softmax" if result.shape[axis] == 1 else ""
    return ""


def _unasked(node: Node) -> bool:
    """Whether queries and keys of a fused attention are both zero, so that neither gets a gradient from the other."""
    if not kind_of(node).startswith("ScaledDotProduct"):
        return False
    both = [getattr(node, name, None) for name in ("_saved_query", "_saved_key")]
    return all(isinstance(t, Tensor) and is_zero(t) for t in both)


def _keys(node: Node) -> int:
    """How many entries a product of matrices sums over; 1 where neither factor was kept."""
    left, right = (getattr(node, name, None) for name in ("_saved_self", "_saved_mat2"))
    if isinstance(right, Tensor):
        return int(right.shape[-2])
    return int(left.shape[-1]) if isinstance(left, Tensor) else 1


@dataclass(eq=False)
class Cuts:
    """Follows zeros through one backward pass.

    ``cut`` tells for a step which of its edges got exactly zero although it was given something, and which got
    more; ``dead`` holds the steps that were given exactly zero, ``unasked`` the fused attentions whose queries and keys
    are both zero.
    """

    cut: dict[Node, tuple[list[int], list[int]]] = field(default_factory=dict)
    dead: set[Node] = field(default_factory=set)
    causes: dict[Node, str] = field(default_factory=dict)
    watching: bool = False
    weighing: dict[Node, Node] = field(default_factory=dict)
    summed: dict[Node, tuple[int, ...]] = field(default_factory=dict)
    unasked: set[Node] = field(default_factory=set)
    shapes: dict[Node, tuple[int, ...]] = field(default_factory=dict)

    def watch(self, steps: list[Node]) -> list[Callable[[], None]]:
        """Look at what enters and leaves every step; returns what removes the hooks."""
        self.watching = True
        # what a step saved is gone once the backward has passed
        self.unasked = {node for node in steps if _unasked(node)}
        saved = {n: getattr(n, "_saved_result", None) for n in steps if kind_of(n) in _SOFTMAX}
        self.shapes = {n: tuple(t.shape) for n, t in saved.items() if isinstance(t, Tensor)}
        for node in steps:
            children = [child for child, _ in node.next_functions if child is not None]
            kind = kind_of(node)
            if (
                kind in ("Sum", "Mean")
                and children
                and isinstance(dims := getattr(node, "_saved_dim", None), tuple)
            ):
                self.summed[children[0]] = dims
            # a mean over several tokens with weights of one entry each is no attention to one key
            if (kind == "Bmm" and _keys(node) < 2) or (kind == "Mul" and len(children) > 1):
                self.weighing.update(dict.fromkeys(children, node))
        return [node.register_hook(self._hook(node)).remove for node in steps]

    def _hook(self, node: Node) -> Callable[..., None]:
        def hook(leaving: tuple[Tensor | None, ...], entering: tuple[Tensor | None, ...]) -> None:
            if all(g is None or is_zero(g) for g in entering):
                self.dead.add(node)
                return
            known = [(i, is_zero(g)) for i, g in enumerate(leaving) if g is not None]
            none = [i for i, zero in known if zero]
            if none:
                self.cut[node] = (none, [i for i, zero in known if not zero])
                self.causes[node] = "underflow" if tiny(entering) else cuts_by_itself(node)

        return hook

    def explain(self, names: Mapping[int, str], moving: set[str]) -> dict[str, str]:
        """For every parameter behind a cut the cause of its zero.

        Parameters
        ----------
        names
            Names of parameters by their identity.
        moving
            Names of the parameters whose gradient is not zero.

        Returns
        -------
        dict
            ``"meant"`` where the zero factor gets a gradient and so moves on the first step; ``"two-zeros"``
            where both factors of a product are zero; ``"constant"`` where a factor is zero that no training step
            changes; ``"flat"``, ``"step"``, ``"softmax"``, ``"underflow"``; ``"one-key"`` where the softmax
            over one unit weighs something else, such as the values of an attention; else the name of the step.
        """
        found: dict[str, str] = {}
        for node, (none, live) in self.cut.items():
            cause = self._cause(node, none, live, names, moving)
            for name in self._behind(node, none, names):
                # what is behind a cut for good stays there, whatever else stands before it
                if name not in found or found[name] == "meant":
                    found[name] = cause
        return found

    def _cause(
        self, node: Node, none: list[int], live: list[int], names: Mapping[int, str], moving: set[str]
    ) -> str:
        if self.causes[node] == "softmax" and any(
            self._only_shapes(top, node) and not self._pools(product, node)
            for top, product in self.weighing.items()
        ):
            return "one-key"
        if self.causes[node]:
            return self.causes[node]
        kind = kind_of(node)
        # the backward of a step, in a derivative of a derivative, multiplies a slope by a gradient
        if kind not in _PRODUCTS and not kind.endswith("Backward"):
            return "flat" if kind in _FLAT else kind
        if node in self.unasked and {0, 1} <= set(none):
            return "two-zeros"
        factors = [i for i in live if i != _PRODUCTS.get(kind)]
        if any(self._moves(node, i, names, moving) for i in factors):
            return "meant"
        taken = [i for i, (child, _) in enumerate(node.next_functions) if child is not None]
        zero = [i for i in none if i in taken and i != _PRODUCTS.get(kind)]
        return "two-zeros" if len(zero) > 1 else "constant"

    def _pools(self, product: Node, softmax: Node) -> bool:
        """Whether what a softmax weighs is summed over an axis along which the weights have several entries."""
        shape = self.shapes.get(softmax, ())
        dims = [d if d < 2**63 else d - 2**64 for d in self.summed.get(product, ())]
        return any(shape[d] > 1 for d in dims if -len(shape) <= d < len(shape))

    def _only_shapes(self, top: Node, bottom: Node) -> bool:
        """Whether only changes of shape or dropout stand between two steps."""
        for _ in range(6):
            if top is bottom:
                return True
            if kind_of(top) not in _SHAPES or top.next_functions[0][0] is None:
                return False
            top = top.next_functions[0][0]
        return False

    def _moves(self, node: Node, edge: int, names: Mapping[int, str], moving: set[str]) -> bool:
        """Whether a parameter that moves stands behind an edge, on a way along which the gradient is not zero."""
        start = node.next_functions[edge][0]
        if start is None:
            return False
        seen, stack = {start}, [start]
        while stack:
            here = stack.pop()
            if hasattr(here, "variable"):
                if names.get(id(here.variable)) in moving:
                    return True
                continue
            if here in self.dead:
                continue
            closed = self.cut.get(here, ([], []))[0]
            for i, (child, _) in enumerate(here.next_functions):
                if child is not None and i not in closed and child not in seen:
                    seen.add(child)
                    stack.append(child)
        return False

    def _behind(self, node: Node, none: list[int], names: Mapping[int, str]) -> list[str]:
        """Names of the parameters that the closed edges of a step lead to, through dead steps alone."""
        found: list[str] = []
        stack = [child for i in none if (child := node.next_functions[i][0]) is not None]
        seen = set(stack)
        while stack:
            here = stack.pop()
            if hasattr(here, "variable"):
                if (name := names.get(id(here.variable))) is not None:
                    found.append(name)
            elif here in self.dead:
                for child, _ in here.next_functions:
                    if child is not None and child not in seen:
                        seen.add(child)
                        stack.append(child)
        return found
