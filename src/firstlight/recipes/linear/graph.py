"""What DKS and TAT need of a network: its rows, what stands around each activation, and the second moments of sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from torch import nn

from firstlight.activations import Activation
from firstlight.recipes.layout.slots import NORMS, Slot
from firstlight.recipes.linear.chains import chain_of
from firstlight.recipes.recipe import Draft

_KINDS = {"input", "weight", "activation", "residual", "norm"}


@dataclass(frozen=True, eq=False)
class Graph:
    """A network of weights, activations, normalisers and sums, whose activations all have second moment 1.

    Attributes
    ----------
    kinds, links
        Kinds of the rows, and for every row the rows that it was computed from.
    slots
        Its weights, each with the number of its row.
    phis
        The activation of every such row.
    norms
        Path of every normaliser that has a gain and a shift, by its row.
    factors
        Constants by which rows are multiplied where another row reads them.
    """

    kinds: tuple[str, ...]
    links: tuple[tuple[int, ...], ...]
    slots: tuple[Slot, ...]
    phis: Mapping[int, Activation]
    norms: Mapping[int, str]
    factors: Mapping[int, Mapping[int, float]]

    def before(self, row: int) -> Activation | None:
        """The activation that a row reads."""
        return next((self.phis[p] for p in self.links[row] if p in self.phis), None)

    def after(self, row: int) -> Activation | None:
        """The activation that reads a row."""
        return next((self.phis[child] for child in self.children[row] if child in self.phis), None)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """For every row the rows that read it."""
        found: list[list[int]] = [[] for _ in self.links]
        for child, parents in enumerate(self.links):
            for parent in dict.fromkeys(parents):
                found[parent].append(child)
        return tuple(map(tuple, found))

    @cached_property
    def moments(self) -> list[float]:
        """Second moment behind every row: 1, and a sum adds those of its parts."""
        q: list[float] = []
        for row, kind in enumerate(self.kinds):
            q.append(sum(self._parts(row, q)) if kind == "residual" else 1.0)
        return q

    def read_moment(self, row: int) -> float:
        """Second moment of what a row reads."""
        return sum(self._parts(row, self.moments))

    def _parts(self, row: int, q: list[float]) -> list[float]:
        own = self.factors.get(row, {})
        return [own.get(p, 1.0) ** 2 * q[p] for p in self.links[row]]

    @cached_property
    def shares(self) -> dict[int, tuple[float, ...]]:
        """For every sum the shares of its parts in the second moment."""
        found = {}
        for row, kind in enumerate(self.kinds):
            if kind == "residual":
                parts = self._parts(row, self.moments)
                found[row] = tuple(part / sum(parts) for part in parts)
        return found


def graph_of(draft: Draft) -> Graph:
    """The graph of a model whose activations can be shaped in the weights and normalisers around them.

    Raises
    ------
    DomainError
        A model with other parts, or an activation whose α and β, or γ and δ, no parameter can hold.
    """
    sheet = draft.blueprint
    if sheet.structure is None or sheet.chain:
        return _chain(draft)
    profile = sheet.structure.profile
    kinds, links = tuple(map(str, profile["kind"])), tuple(map(tuple, sheet.structure.links))
    others = sorted(set(kinds) - _KINDS)
    at = {slot.row: slot for slot in sheet.slots}
    bare = [slot.name for slot in sheet.slots if slot.row < 0 or slot.kind in ("bare", "embedding")]
    lost = [str(profile["name"][row]) for row, kind in enumerate(kinds) if kind == "weight" and row not in at]
    if others or bare or lost or len(at) < 3:
        got = f"{', '.join(others)} rows" if others else f"{', '.join((*bare, *lost)[:3]) or len(at)}"
        draft.refuse(
            "at least three weights with activations, sums and normalisers between", got, "use critical"
        )
    phis = _phis(draft, kinds, links, at)
    norms = _norms(draft, kinds)
    graph = Graph(kinds, links, tuple(at[row] for row in sorted(at)), phis, norms, sheet.structure.factors)
    _check(draft, graph)
    return graph


def _chain(draft: Draft) -> Graph:
    slots = chain_of(draft)
    kinds: list[str] = ["input"]
    placed: list[Slot] = []
    phis: dict[int, Activation] = {}
    for slot in slots:
        if slot.phi is not None:
            phis[len(kinds)] = slot.phi
            kinds.append("activation")
        elif placed:
            draft.refuse(
                "a known activation in front of every weight", f"none before {slot.name}", "use lsuv"
            )
        placed.append(replace(slot, row=len(kinds)))
        kinds.append("weight")
    links = tuple((row - 1,) if row else () for row in range(len(kinds)))
    return Graph(tuple(kinds), links, tuple(placed), phis, {}, {})


def _phis(
    draft: Draft, kinds: tuple[str, ...], links: tuple[tuple[int, ...], ...], at: Mapping[int, Slot]
) -> dict[int, Activation]:
    found: dict[int, Activation] = {}
    for row, slot in at.items():
        for parent in links[row]:
            if kinds[parent] == "activation" and slot.phi is not None:
                found[parent] = slot.phi
    for row, kind in enumerate(kinds):
        if kind == "activation" and row not in found:
            name = draft.blueprint.structure.profile["name"][row] if draft.blueprint.structure else row
            draft.refuse("activations that weights read", f"{name}, which none does", "use critical")
    return found


def _norms(draft: Draft, kinds: tuple[str, ...]) -> dict[int, str]:
    structure = draft.blueprint.structure
    assert structure is not None
    modules, found = dict(draft.blueprint.model.named_modules()), {}
    for row, kind in enumerate(kinds):
        path = str(structure.profile["name"][row]).split("#")[0]
        module = modules.get(path)
        affine = isinstance(module, NORMS) and all(
            isinstance(module._parameters.get(name), nn.Parameter) for name in ("weight", "bias")
        )
        if kind == "norm" and affine:
            found[row] = path
    return found


def _check(draft: Draft, graph: Graph) -> None:
    """Refuse an activation around which no parameter holds its shape."""
    holders = {slot.row for slot in graph.slots} | set(graph.norms)
    for row, phi in graph.phis.items():
        parents = graph.links[row]
        reader = parents[0] if len(parents) == 1 else -1
        if reader >= 0 and graph.kinds[reader] == "residual":
            draft.refuse(
                "a weight or a normaliser with gain and shift between each sum and the activation that reads the sum",
                f"{phi.name} directly behind a sum",
                "the scale and shift of a shaped activation are parameters in front of it; a stream has none: put a "
                "normaliser with gain and shift there, or use fixup, skipinit or normaliser-free",
            )
        if reader not in holders or any(child not in graph.phis for child in graph.children[reader]):
            draft.refuse(
                "a weight or a normaliser with gain and shift that each activation alone reads",
                f"none of them in front of {phi.name}",
                "use critical",
            )
        if any(graph.kinds[child] != "weight" for child in graph.children[row]):
            others = {graph.kinds[child] for child in graph.children[row]} - {"weight"}
            draft.refuse(
                "activations that weights alone read",
                f"{phi.name} read by {', '.join(sorted(others))}",
                "use critical",
            )
