"""Blueprint: what stands where in a model: what each weight reads and feeds, residual branches, and the depth."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace

from torch import nn

from firstlight.activations import Activation
from firstlight.probe import Structure, structure
from firstlight.profile import Profile
from firstlight.recipes.layout.reading import of_function, of_module
from firstlight.recipes.layout.slots import NORMS, Left, Slot, inventory


@dataclass(frozen=True)
class Branch:
    """A residual branch: what is computed beside the stream and then added to it.

    Attributes
    ----------
    weights
        Names of its weights in the order of execution.
    ends
        Names of its last weights.
    scalars, norms
        Names of the learned factors and of the normalisers in it.
    ends_with_norm
        Whether a normaliser stands between the last weight and the sum.
    row, end
        Numbers of the sum's row, and of the row at the end of the branch; −1 where they are not known.
    inside
        Numbers of the rows in it.
    """

    weights: tuple[str, ...]
    ends: tuple[str, ...]
    scalars: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    ends_with_norm: bool = False
    row: int = -1
    end: int = -1
    inside: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Blueprint:
    """A model as a recipe sees it.

    Attributes
    ----------
    model, slots, left
        The model, the weights that may be written in the order of execution, and what is left.
    branches
        Residual branches in the order of execution.
    depth
        Weights on the longest path.
    known
        Whether it is known what each weight reads; without a batch only a chain of torch's containers shows this.
    kinds
        Kinds of the rows that were seen.
    structure
        The trace, where there was a batch.
    """

    model: nn.Module
    slots: tuple[Slot, ...]
    left: tuple[Left, ...]
    branches: tuple[Branch, ...] = ()
    depth: int = 1
    known: bool = False
    kinds: frozenset[str] = frozenset()
    structure: Structure | None = None

    def slot(self, name: str) -> Slot:
        """The slot with this name."""
        return next(slot for slot in self.slots if slot.name == name)

    @property
    def chain(self) -> bool:
        """Whether only weights and activations, one after another, set the size of a signal."""
        plain = {"input", "activation", "weight"}
        return self.known and not self.branches and self.kinds <= plain


def blueprint(model: nn.Module, batch: object = None) -> Blueprint:
    """The blueprint of a model: from one traced forward pass on the batch, or from its containers without one."""
    slots, left = inventory(model)
    if batch is None:
        sheet = _from_containers(model, slots, left)
        reason = "no layer holds it: with batch=… one forward pass shows how it is used"
    else:
        sheet = _from_trace(model, slots, left, structure(model, batch))
        reason = "no layer holds it, and no matrix product uses it"
    # a token or a position that is added to a signal is no weight
    loose = [slot for slot in sheet.slots if slot.kind == "bare" and slot.row < 0 and not slot.reads]
    kept = tuple(slot for slot in sheet.slots if slot not in loose)
    return replace(sheet, slots=kept, left=(*sheet.left, *(Left(slot.name, reason) for slot in loose)))


def _from_containers(model: nn.Module, slots: tuple[Slot, ...], left: tuple[Left, ...]) -> Blueprint:
    by_module = {id(slot.module): i for i, slot in enumerate(slots)}
    leaves = list(_leaves(model, by_module))
    if None in leaves:
        return Blueprint(model, slots, left, depth=len(slots))
    found = list(slots)
    reads, phi, before = "input", None, -1
    kinds = {"input"}
    for module in leaves:
        assert module is not None
        if id(module) in by_module and len({id(s.module) for s in slots}) == len(slots):
            at = by_module[id(module)]
            found[at] = replace(found[at], reads=reads, phi=phi)
            if before >= 0 and reads != "activation":
                found[before] = replace(found[before], feeds=reads if reads != "weight" else "weight")
            reads, phi, before = "weight", None, at
            kinds.add("weight")
        elif isinstance(module, NORMS):
            reads, phi = "norm", None
            kinds.add("norm")
        elif not any(True for _ in module.parameters()) or isinstance(module, nn.PReLU):
            known = of_module(module)
            if known is not None and known.name != "linear":
                reads, phi = "activation", known
                kinds.add("activation")
                if before >= 0:
                    found[before] = replace(found[before], feeds="activation", next_phi=known)
        else:
            return Blueprint(model, slots, left, depth=len(slots))
    if found:
        last = max(by_module.values())
        found[last] = replace(found[last], readout=True)
    return Blueprint(model, tuple(found), left, (), len(found), known=True, kinds=frozenset(kinds))


def _leaves(model: nn.Module, weights: Container[int]) -> Iterator[nn.Module | None]:
    """The modules of a chain in order; None for a container that chooses its own order."""
    if id(model) in weights or not any(True for _ in model.children()):
        yield model
    elif type(model) is not nn.Sequential:
        yield None
    else:
        for child in model.children():
            yield from _leaves(child, weights)


class _Rows:
    """The rows of a trace with their parents and children."""

    def __init__(self, model: nn.Module, seen: Structure) -> None:
        profile = seen.profile
        self.seen = seen
        self.modules = dict(model.named_modules())
        self.names = [str(n) for n in profile["name"]]
        self.kinds = [str(k) for k in profile["kind"]]
        self.ops = [str(o) for o in profile["op"]]
        self.depth = [float(d) for d in profile["depth"]]
        self.units = _column(profile, "units")
        self.q, self.read_q = _column(profile, "q"), _column(profile, "read_q")
        self.read_mean, self.fan_in = _column(profile, "read_mean"), _column(profile, "fan_in")
        self.parents = seen.links
        self.children: list[list[int]] = [[] for _ in self.names]
        for row, parents in enumerate(self.parents):
            for parent in parents:
                self.children[parent].append(row)
        self.above: list[frozenset[int]] = []
        for row, parents in enumerate(self.parents):
            self.above.append(frozenset({row}.union(*(self.above[p] for p in parents if p < row))))

    def phi(self, row: int) -> Activation | None:
        """φ of an activation row: the module where there is one, else the function that was traced."""
        module = self.modules.get(self.names[row].split("#")[0])
        found = of_module(module) if module is not None else None
        if found is None and row in self.seen.functions:
            found = of_function(self.seen.functions[row], self.ops[row])
        return found

    def inner_scale(self, row: int) -> float:
        """The constant inside the activation that a row is read through; 1 for an activation that is a module."""
        acts = {self.through(p) for p in self.parents[row]} & set(self.seen.scales)
        names = {p: self.names[p].split("#")[0] for p in acts}
        plain = [p for p in acts if names[p] not in self.modules or of_module(self.modules[names[p]]) is None]
        return self.seen.scales[plain[0]] if len(acts) == len(plain) == 1 else 1.0

    def through(self, row: int) -> int:
        """The row that a learned factor was applied to."""
        while self.kinds[row] == "affine" and self.parents[row]:
            row = self.parents[row][0]
        return row

    def reading(self, row: int, inputs: int) -> tuple[str, Activation | None]:
        """What a weight reads, and the activation in it."""
        parents = list(dict.fromkeys(self.through(p) for p in self.parents[row]))
        if not parents:
            return "input", None
        kinds = [self.kinds[p] for p in parents]
        acts = [p for p in parents if self.kinds[p] == "activation"]
        if len(parents) > 1 and "residual" not in kinds and all(self.units[p] == inputs for p in parents):
            acts = acts or [c for p in parents for c in self.children[p] if self.kinds[c] == "activation"]
            return "gate", self.phi(acts[0]) if acts else None
        if acts and len(acts) == len(parents):
            return "activation", self.phi(acts[0])
        return kinds[0], None


def _column(profile: Profile, name: str) -> list[float]:
    try:
        return [float(x) for x in profile[name]]
    except (KeyError, ValueError):
        return [math.nan] * len(profile)


def _from_trace(
    model: nn.Module, slots: tuple[Slot, ...], left: tuple[Left, ...], seen: Structure
) -> Blueprint:
    rows = _Rows(model, seen)
    at: dict[str, int] = {}
    for row, name in enumerate(rows.names):
        if rows.kinds[row] in ("weight", "embedding", "recurrent"):
            at.setdefault(name.split("#")[0], row)
    weights = [row for row, kind in enumerate(rows.kinds) if kind in ("weight", "recurrent")]
    read = frozenset().union(*(rows.above[row] - {row} for row in weights)) if weights else frozenset()
    placed = [_placed(slot, _row_of(slot, at), rows, read) for slot in slots]
    branches = _branches(rows, placed)
    for number, branch in enumerate(branches):
        for i, slot in enumerate(placed):
            # the innermost of nested branches is the one with the fewest weights
            inner = slot.branch < 0 or len(branch.weights) < len(branches[slot.branch].weights)
            if slot.name in branch.weights and inner:
                placed[i] = replace(slot, branch=number, ends_branch=slot.name in branch.ends)
    placed = _borrowed(placed)
    placed.sort(key=lambda slot: slot.row if slot.row >= 0 else len(rows.names))
    depth = max(int(max(rows.depth, default=1)), 1)
    kinds = frozenset(rows.kinds)
    return Blueprint(model, tuple(placed), left, branches, depth, known=True, kinds=kinds, structure=seen)


def _row_of(slot: Slot, at: dict[str, int]) -> int:
    candidates = [slot.layer, slot.name.removesuffix("_weight"), slot.name, *slot.tied]
    if slot.kind == "bare":
        candidates.insert(0, slot.name)
    candidates += [name.rpartition(".")[0] for name in slot.tied]
    if slot.kind == "linear" and slot.tied:  # an embedding that is a head as well: the head's row
        candidates.reverse()
    return next((at[name] for name in candidates if name in at), -1)


def _placed(slot: Slot, row: int, rows: _Rows, read: frozenset[int]) -> Slot:
    if row < 0:
        return slot
    if slot.kind == "bare" and math.isfinite(rows.fan_in[row]):
        slot = replace(slot, fan_in=max(round(rows.fan_in[row]), 1))
    inputs = slot.fan_in
    if slot.kind == "conv":
        inputs = slot.weight.shape[1] * slot.groups
    elif slot.kind == "conv-transposed":
        inputs = slot.weight.shape[0]
    reads, phi = rows.reading(row, inputs)
    children = rows.children[row]
    acts = [c for c in children if rows.kinds[c] == "activation"]
    feeds = "activation" if acts else rows.kinds[children[0]] if children else ""
    blocks = slot.blocks
    ratio = slot.fan_out / max(slot.fan_in, 1)
    if slot.kind == "linear" and feeds == "attention" and blocks == 1 and ratio == 3:
        blocks = 3  # queries, keys and values of one layer
        slot = replace(slot, fan_out=slot.fan_out // 3)
    q = rows.read_q[row]
    if not math.isfinite(q) and rows.parents[row]:
        q = rows.q[rows.parents[row][0]]
    return replace(
        slot,
        row=row,
        reads=reads,
        phi=phi,
        phi_scale=rows.inner_scale(row),
        feeds=feeds,
        next_phi=rows.phi(acts[0]) if acts else None,
        q_in=q,
        mean_in=rows.read_mean[row],
        blocks=blocks,
        readout=row not in read,
    )


def _branches(rows: _Rows, slots: Sequence[Slot]) -> tuple[Branch, ...]:
    found = []
    by_row: dict[int, list[Slot]] = {}
    for slot in slots:
        by_row.setdefault(slot.row, []).append(slot)
    for row, kind in enumerate(rows.kinds):
        parents = rows.parents[row]
        if kind != "residual" or len(parents) < 2:
            continue
        end = max(parents, key=lambda p: (rows.depth[p], p))
        stream = frozenset().union(*(rows.above[p] for p in parents if p != end))
        inside = sorted(rows.above[end] - stream)
        weights = [r for r in inside if r in by_row and rows.kinds[r] != "embedding"]
        if not weights:
            continue
        deepest = max(rows.depth[r] for r in weights)
        ends = [r for r in weights if rows.depth[r] == deepest]
        behind = frozenset(inside) - frozenset().union(*(rows.above[r] for r in ends))
        found.append(
            Branch(
                tuple(slot.name for r in weights for slot in by_row[r]),
                tuple(slot.name for r in ends for slot in by_row[r]),
                tuple(rows.names[r] for r in inside if rows.kinds[r] == "affine"),
                tuple(rows.names[r].split("#")[0] for r in inside if rows.kinds[r] == "norm"),
                any(rows.kinds[r] == "norm" for r in behind),
                row,
                end,
                tuple(inside),
            )
        )
    return tuple(found)


def _borrowed(slots: list[Slot]) -> list[Slot]:
    """Weights that took no part in this forward pass, such as idle experts, get the place of a weight like them."""
    patterns: dict[tuple[str, int], Slot] = {}
    for slot in slots:
        if slot.row >= 0:
            patterns.setdefault((re.sub(r"\d+", "#", slot.name), slot.fan_in), slot)
    found = []
    for slot in slots:
        like = patterns.get((re.sub(r"\d+", "#", slot.name), slot.fan_in))
        if slot.row < 0 and like is not None:
            slot = replace(
                like, name=slot.name, module=slot.module, key=slot.key, bias=slot.bias, tied=slot.tied, row=-1
            )
        found.append(slot)
    return found
