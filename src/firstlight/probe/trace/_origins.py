"""Origins: where tensors came from, by identity, and by the autograd graph where identity was lost."""

from __future__ import annotations

import weakref
from collections.abc import Mapping

from torch import Tensor
from torch.autograd.graph import Node

from firstlight.probe.graph._site import Origin, Site

# Nodes of the autograd graph that are looked at for where one tensor came from.
_REACH = 1 << 14
# Entries from which on the map is searched for tensors that are gone.
_ROOM = 1 << 10


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
