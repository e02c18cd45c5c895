"""Nodes of an autograd graph, and the walk over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch.autograd.graph import Node as Node
else:
    Node = object  # a node of a scripted function is no instance of torch's own class


def nodes(*roots: Node | None) -> Iterator[Node]:
    """Every node of the autograd graphs below some nodes, leaves included; none where there is no graph.

    Examples
    --------
    >>> out = (torch.ones(2, requires_grad=True) * 2).sum()
    >>> [type(node).__name__ for node in nodes(out.grad_fn)]
    ['SumBackward0', 'MulBackward0', 'AccumulateGrad']
    """
    stack = [root for root in roots if root is not None]
    seen = set(stack)
    while stack:
        node = stack.pop()
        yield node
        for child, _ in node.next_functions:
            if child is not None and child not in seen:
                seen.add(child)
                stack.append(child)


def written_in_python(node: object) -> bool:
    """Whether the step behind a node is a custom function of Python's, whose backward is the caller's code."""
    return isinstance(node, torch.autograd.function.BackwardCFunction)
