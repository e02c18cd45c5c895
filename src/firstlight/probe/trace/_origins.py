"""Origins: where tensors came from, by identity or by the autograd graph, and what integers made of signals chose."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Mapping
from functools import lru_cache

from torch import Tensor

from firstlight.probe.graph._site import Origin, Site
from firstlight.probe.guard.nodes import Node
from firstlight.probe.read._whole import carries

# Nodes of the autograd graph that are looked at for where one tensor came from.
_REACH = 1 << 14
# Entries from which on the map is searched for tensors that are gone.
_ROOM = 1 << 10


@lru_cache(maxsize=1024)
def of_parameter(name: str) -> Origin:
    """Where a parameter came from: itself."""
    return Origin(parameters=(name,))


class Origins:
    """Where tensors came from, beside the tensors: nothing is written on a tensor, and nothing keeps one alive.

    Entries are held by identity together with a weak reference: a new tensor at an old address is unknown. Entries
    of tensors that are gone are dropped whenever the map has doubled. (A callback of the reference would drop
    each at once, but Python loses an interrupt that arrives inside such a callback.)

    Examples
    --------
    >>> import torch
    >>> origins, x = Origins(), torch.zeros(2)
    >>> origins.put(x, Origin(label="x"))
    >>> origins.get(x).label, origins.get(torch.zeros(2)), vars(x)
    ('x', None, {})
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Tensor], Origin]] = {}
        self._room = _ROOM

    def __len__(self) -> int:
        return len(self._known)

    def get(self, value: object) -> Origin | None:
        """What is known of where a tensor came from."""
        found = self._known.get(id(value))
        return found[1] if found is not None and found[0]() is value else None

    def put(self, tensor: Tensor, origin: Origin) -> None:
        """Note where a tensor came from, in place of what was known."""
        self._known[id(tensor)] = (weakref.ref(tensor), origin)
        if len(self._known) > self._room:
            self._known = {key: held for key, held in self._known.items() if held[0]() is not None}
            self._room = max(_ROOM, 2 * len(self._known))

    def clear(self) -> None:
        """Forget all tensors."""
        self._known.clear()


class Picks:
    """What was chosen by integers that were made of signals, and the rows that the integers were made of.

    What is chosen is known by its node of the autograd graph; where the chosen thing takes no gradient itself, by its
    tensor, until a step gives it one. ``numbers`` are the rows that Python numbers were made of, by their index.
    """

    def __init__(self) -> None:
        self._nodes: list[tuple[Node, tuple[Site, ...]]] = []
        self._tensors = Origins()
        self.numbers: dict[int, Site] = {}

    def choosing(self, read: list[tuple[Tensor, Origin | None]]) -> tuple[Site, ...]:
        """The rows that made the integers among what a call reads."""
        found = [o for t, o in read if o is not None and o.quiet and o.ancestors and not carries(t)]
        if len(self._tensors):
            found += [o for t, _ in read if (o := self._tensors.get(t)) is not None]
        return tuple({site.index: site for o in found for site in o.ancestors}.values())

    def note(self, results: list[Tensor], sites: tuple[Site, ...]) -> None:
        """Remember that these rows chose these results."""
        for tensor in results:
            if tensor.grad_fn is not None:
                self._nodes.append((tensor.grad_fn, sites))
            else:
                self._tensors.put(tensor, Origin(ancestors=sites))

    def reaching(self, steps: Collection[Node]) -> list[Site]:
        """The rows that chose something on which the loss depends, by the steps of the loss's graph."""
        found = {site.index: site for node, sites in self._nodes if node in steps for site in sites}
        return list(found.values())


def upstream(
    root: Node, nodes: Mapping[Node, Origin], names: Mapping[int, str]
) -> tuple[tuple[Site, ...], tuple[str, ...], list[Node]]:
    """The nearest measured sites below a node of the autograd graph, the parameters before them, and their nodes."""
    sites: dict[int, Site] = {}
    found: dict[str, None] = {}
    met: list[Node] = []
    seen, stack = {root}, [root]
    while stack and len(seen) < _REACH:
        node = stack.pop()
        known = nodes.get(node)
        if known is not None:
            sites.update({site.index: site for site in known.sites})
            met.append(node)
            continue
        name = names.get(id(getattr(node, "variable", None)))
        if name is not None:
            found[name] = None
        for child, _ in node.next_functions:
            if child is not None and child not in seen:
                seen.add(child)
                stack.append(child)
    return tuple(sites[i] for i in sorted(sites)), tuple(found), met
