"""Origins: where tensors came from, by identity or by the autograd graph, and what integers made of signals chose."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from firstlight.probe.graph._operations import MATMULS, WEIGHT_OPERATIONS
from firstlight.probe.graph._site import Origin, Site
from firstlight.probe.guard.nodes import Node, nodes, written_in_python
from firstlight.probe.read._whole import carries

if TYPE_CHECKING:
    from firstlight.probe.trace._ledger import Ledger

LAYERS = MATMULS | set(WEIGHT_OPERATIONS)
# What puts the entries of one tensor into another.
WRITES = frozenset({"copy", "set"})
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
    tensor, until a step gives it one. ``numbers`` are the rows that Python numbers were made of, by their index, and
    ``told`` those whose numbers the loss reads.
    """

    def __init__(self) -> None:
        self._nodes: list[tuple[Node, tuple[Site, ...]]] = []
        self._tensors = Origins()
        self.numbers: dict[int, Site] = {}
        self.told: set[int] = set()
        # rows that were written into parameters
        self.written: set[int] = set()
        self.derivatives = Derivatives()

    @cached_property
    def lost(self) -> Picks:
        """The same of what loses its graph inside the loss."""
        return Picks()

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


class Derivatives:
    """Derivatives by the points of a forward that teach nothing, from where they are taken to the loss.

    Such a derivative has no graph, because it was taken without ``create_graph=True``, or it is zero everywhere and no
    parameter changes that, as the second derivative of ReLU. A derivative that a layer reads is left alone: it is a
    step towards another point, as in sampling.
    """

    def __init__(self) -> None:
        self._tensors = Origins()
        self._nodes: list[tuple[Node, str]] = []

    def take(
        self, place: str, outputs: object, inputs: object, results: object, learned: list[Tensor]
    ) -> None:
        """Look at derivatives of outputs by inputs; those by parameters, or by what is made of them, are no points."""
        mine = {id(p) for p in learned}
        if any(p.grad_fn is not None or id(p) in mine for p in tensors_of(inputs)):
            return
        below = nodes(*(t.grad_fn for t in tensors_of(outputs)))
        leaves = {id(node.variable) for node in below if hasattr(node, "variable")} & mine
        for result in tensors_of(results) if leaves else ():
            if not result.any():
                if not _moves(result, [p for p in learned if id(p) in leaves]):
                    self._put(result, f"{place}|zero")
            elif not result.requires_grad:
                self._put(result, f"{place}|graph")

    def _put(self, tensor: Tensor, what: str) -> None:
        if tensor.grad_fn is not None:
            self._nodes.append((tensor.grad_fn, what))
        else:
            self._tensors.put(tensor, Origin(path=what))

    def follow(self, read: Iterable[Tensor], results: Iterable[Tensor]) -> None:
        """Go with derivatives through a step that is no layer."""
        what = next((o.path for t in read if (o := self._tensors.get(t)) is not None), "")
        for tensor in results if what else ():
            self._put(tensor, what)

    def __len__(self) -> int:
        return len(self._tensors)

    def reaching(self, steps: Collection[Node]) -> dict[str, str]:
        """The derivatives on which the loss depends, by place: ``"graph"`` or ``"zero"``."""
        return dict(what.split("|") for node, what in self._nodes if node in steps)


def heed(
    ledger: Ledger,
    name: str,
    args: tuple[Any, ...],
    known: list[tuple[Tensor, Origin | None]],
    out: object,
) -> None:
    """Note what a step of the forward or the loss does to derivatives, to parameters, and with constants.

    ``known`` are the tensors that the step read, with what was known of each before the step.
    """
    found, read = ledger.picks.derivatives, [t for t, _ in known]
    if name == "grad" and len(args) > 1:
        found.take(ledger.place, args[0], args[1], out, list(ledger.parameters.values()))
    elif len(found):
        layer = name in LAYERS and any(id(t) in ledger.parameter_names for t in read)
        found.follow([] if layer else read, tensors_of(out))
    if name in WRITES and len(read) == 2:
        _written(ledger, *known)
    elif name == "add" and len(read) == 2 and read[0].dim() > 2 and read[1].dim() > 1:
        _added(ledger, *read)


def _written(
    ledger: Ledger, target: tuple[Tensor, Origin | None], source: tuple[Tensor, Origin | None]
) -> None:
    """Signals that are written into a parameter: its next gradient is its own, and theirs is lost."""
    if target[1] is not None and len(target[1].parameters) == 1 and source[1] is not None:
        ledger.picks.written.update(site.index for site in source[1].nearest)


def _added(ledger: Ledger, signal: Tensor, table: Tensor) -> None:
    """A constant that is added to tokens: how large it is, and whether it holds rows of a table by the sample."""
    origin, samples = ledger.origin(signal), ledger.samples
    if origin is None or origin.site is None or origin.batch != 0 or signal.shape[0] != samples.count:
        return
    held = ledger.origin(table)
    if held is not None and not held.parameters:
        return
    by_sample = table.dim() == signal.dim() and table.shape[0] == samples.count != signal.shape[1]
    if by_sample and table.shape[1] == 1 and signal.shape[1] > 1 and _of_a_table(ledger, table):
        samples.placed.setdefault(ledger.place, (tuple(signal.shape), tuple(table.shape)))
    elif held is None and origin.plain and (table.dim() < signal.dim() or table.shape[0] == 1):
        samples.beside[origin.site.index] = float(table.detach().float().square().mean().sqrt())


def _of_a_table(ledger: Ledger, table: Tensor) -> bool:
    """Whether a tensor is a part of a longer table that the model keeps, with rows that differ."""
    base, model = table._base, ledger.frames[0].module
    kept = base is not None and any(base is t for t in (*model.buffers(), *model.parameters()))
    return bool(kept and base is not None and len(base) > len(table) and (table[0] != table[-1]).any())


def tensors_of(value: object) -> list[Tensor]:
    """The tensors of a tensor, a tuple or a list.

    Examples
    --------
    >>> len(tensors_of((torch.ones(1), None, torch.ones(2))))
    2
    """
    values = value if isinstance(value, (tuple, list)) else (value,)
    return [v for v in values if isinstance(v, Tensor)]


def _moves(result: Tensor, learned: list[Tensor]) -> bool:
    """Whether a derivative that is zero changes with some parameter; code of the caller's does not run for it."""
    if result.grad_fn is None:
        return False
    if any(map(written_in_python, nodes(result.grad_fn))):
        return True
    found = torch.autograd.grad(
        result, learned, torch.ones_like(result), retain_graph=True, allow_unused=True
    )
    return any(g is not None and bool(g.any()) for g in found)


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
