"""Elementwise: steps entry by entry, followed as functions of one site; learned scales and shifts; residual sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from firstlight.probe.graph import _operations as ops
from firstlight.probe.graph._expression import Expression, compose, from_function, scalar
from firstlight.probe.graph._site import Origin, Site, meet
from firstlight.probe.read._whole import carries, form
from firstlight.probe.trace._call import Call
from firstlight.probe.trace._ledger import Ledger


class Elementwise:
    """What the tracer does with functions that treat entries alone; ``opaque`` takes what cannot be followed."""

    def __init__(self, ledger: Ledger, opaque: Callable[[Call], object]) -> None:
        self.ledger, self.opaque = ledger, opaque
        self._mixing: set[str] = set()
        self._bases: dict[int, frozenset[int]] = {}

    def handle(self, call: Call) -> object:
        """Follow a function that is known to be element-wise."""
        name = call.name
        if name in ("max", "min") and len(call.read) < 2:
            return self.opaque(call)  # a reduction, not an element-wise choice
        # an element-wise function of complex numbers mixes their two parts
        real = all(not t.is_complex() for t, _ in call.read)
        foreign = call.foreign
        if not foreign and real:
            expression = self._expression(call)
            if expression is not None:
                return self._follow(call, expression)
        if len(foreign) == len(call.learned) == len(call.flowing) == 1:
            if name in ops.PRODUCTS:
                return self._scale(call)
            if name in ops.SHIFTS:
                return self._shift(call)
        if name in ops.SUMS and len(call.flowing) == 2 and self._equal_shapes(call):
            return self._sum(call)
        if name in ("lerp", "addcmul"):
            return self._scanned(call)
        return self.opaque(call)

    def unknown(self, call: Call) -> object:
        """Follow a torch function that is not known by name, if it turns out to be element-wise."""
        origin = call.flowing[0][1]
        known = type(call.func).__name__ in ("builtin_function_or_method", "method_descriptor")
        known |= getattr(call.func, "__module__", "") == "torch.nn.functional"
        source = call.flowing[0][0]
        alone = (
            len(call.read) == 1
            and not (source.is_complex() or source.is_nested)
            and origin.site is not None
            and call.name not in self._mixing
        )
        if not (known and alone) or any(e != 1.0 for e in (origin.expression.gain, origin.expression.noise)):
            return self.opaque(call)
        expression = from_function(call.func, call.name, self._symbolic(call.args), dict(call.kwargs))
        if expression is None:
            self._mixing.add(call.name)
            return self.opaque(call)
        return self._follow(call, expression)

    def _equal_shapes(self, call: Call) -> bool:
        return form(call.flowing[0][0]) == form(call.flowing[1][0])

    def _expression(self, call: Call) -> Expression | None:
        """The call as a function of one site, which a tensor that is none becomes where an activation begins."""
        (first, origin), tensors = call.flowing[0], {id(t) for t, _ in call.flowing}
        one = origin.site is not None and all(
            o.site is origin.site and o.arrangement is origin.arrangement for _, o in call.flowing
        )
        mixed = any(o.expression.gain != 1.0 or o.expression.noise != 1.0 for _, o in call.flowing)
        if not one or mixed:
            if len(tensors) > 1 or not carries(first) or not self._starts(call, first):
                return None
            self.ledger.realise([(first, origin)])
            origin = self.ledger.origin(first) or origin
            self.ledger.use_opaquely(origin)
            self.ledger.base(first, origin)
        names = tuple(dict.fromkeys(p for _, o in call.learned for p in o.parameters))
        named = dict(zip(call.kwargs, self._symbolic(tuple(call.kwargs.values()))))
        return compose(call.func, call.name, self._symbolic(call.args), named, names)

    def _starts(self, call: Call, first: Tensor) -> bool:
        """Whether an activation begins: by its name, or as the first step of a leaf module on what it was given."""
        if call.name in ops.ACTIVATIONS:
            return True
        frame = self.ledger.frames[-1]
        small = sum(p.numel() for p in frame.module.parameters(recurse=False)) <= 16
        return (
            frame.leaf
            and frame.source is first
            and small
            and "norm" not in type(frame.module).__name__.lower()
        )

    def _symbolic(self, values: tuple[object, ...]) -> tuple[Any, ...]:
        """Traced tensors as the expressions they are, one-element tensors as numbers."""
        result: list[object] = []
        for value in values:
            origin = self.ledger.origin(value) if isinstance(value, Tensor) else None
            if origin is not None and origin.site is not None:
                result.append(origin.expression)
            elif isinstance(value, Tensor) and value.is_floating_point():
                # torch functions that insist on tensors (prelu, where) still get one
                result.append(torch.as_tensor(scalar(value), dtype=torch.float64).reshape(value.shape))
            else:
                result.append(value)
        return tuple(result)

    def _follow(self, call: Call, expression: Expression, path: str = "", label: str = "") -> object:
        """Run a function that is element-wise in one site, and mark its result as that function of it."""
        source = call.flowing[0][0]
        origin = self.ledger.origin(source) or call.flowing[0][1]
        label = label or call.name
        if not path:
            learned = expression.scaled and expression.learned and not origin.expression.learned
            path = self.ledger.holder(expression.learned, label) if learned else self.ledger.path(label)
        shape = form(source)
        out = call.run()
        if isinstance(out, Tensor) and form(out) == shape:
            like = self.ledger.like(origin, expression, label, path)
            self.ledger.express(out, like)
            if call.in_place:
                self.ledger.mark(call.results(out), like)
            return out
        for _, used in call.flowing:
            self.ledger.use_opaquely(used)
        return self.ledger.mark(out, Origin(ancestors=origin.sites, arrangement=object()))

    def _scale(self, call: Call) -> object:
        """A signal times a learned factor per unit: a function of the signal's site, with a row once it is used."""
        (source, origin), (factor, learned) = call.flowing[0], call.learned[0]
        try:
            fits = torch.broadcast_shapes(source.shape, factor.shape) == source.shape
        except RuntimeError:
            fits = False
        if origin.site is None or not fits or source.is_complex() or factor.is_complex() or source.is_nested:
            return self.opaque(call)
        if not origin.expression.scaled:
            self.ledger.realise([(source, origin)])  # the activation before its factor
        gain = float(factor.detach().float().square().mean())
        expression = origin.expression.times(gain, learned=learned.parameters)
        return self._follow(call, expression, self.ledger.holder(learned.parameters, "mul"), call.name)

    def _shift(self, call: Call) -> object:
        """A signal plus a learned vector: a bias by hand, a position embedding; a row of its own."""
        self.ledger.realise(call.flowing)
        (source, _), (vector, learned) = call.flowing[0], call.learned[0]
        origin = self.ledger.origin(source)
        reads = (
            self.ledger.reader.input_moments(source, origin),
            self.ledger.reader.input_moments(vector, None),
        )
        label = self.ledger.holder(learned.parameters, "add")
        unit = origin.unit if origin is not None else -1
        out = call.run()
        site, out = self.ledger.site(out, label, "affine", call.name, unit, origin, leaf=not call.in_place)
        site.reads, site.learned = reads, learned.parameters
        return out

    def _scanned(self, call: Call) -> object:
        """A sum of a state and what comes in, perhaps: it has no row, and its place in time is kept."""
        out = self.opaque(call)
        if isinstance(out, Tensor):
            self.ledger.loops.note_sum(self.ledger.frames[-1].path, out)
        return out

    def _sum(self, call: Call) -> object:
        """A sum of two paths from one place is a residual sum: the shorter path is the stream.

        Two functions of one row with no layer between them are arithmetic, as in rotary positions, gates
        and scans; only where one of them is the row itself is it a stream.
        """
        here, there = call.flowing[0][1], call.flowing[1][1]
        apart = not set(here.sites) & set(there.sites)
        whole = any(o.plain and o.site is not None and t.numel() >= o.site.entries for t, o in call.flowing)
        scans = self._scans(here, there) if apart else not whole
        if scans or not meet(here.sites, there.sites):
            return self._scanned(call)
        (a, stream), (b, branch) = sorted(
            call.flowing, key=lambda pair: max((s.depth for s in pair[1].sites), default=0)
        )
        self.ledger.realise(call.flowing)
        stream, branch = self.ledger.origin(a) or stream, self.ledger.origin(b) or branch
        reads = self.ledger.reader.input_moments(a, stream), self.ledger.reader.input_moments(b, branch)
        # an in-place sum writes over its stream
        reader, before = self.ledger.reader, a.detach().clone() if call.in_place and a.dim() == 3 else a
        out = call.run()
        site, out = self.ledger.site(
            out,
            f"{self.ledger.frames[-1].path}.add".lstrip("."),
            "residual",
            "add",
            stream.unit,
            stream,
            branch,
            leaf=not call.in_place,
        )
        site.reads = reads
        reader.streams.add(site, before, out, reader.token_axis)
        return out

    def _scans(self, here: Origin, there: Origin) -> bool:
        """Whether two summands came of the same layers with no layer in between: a state, and what comes in."""
        one, other = (frozenset().union(*map(self._above, o.sites)) for o in (here, there))
        return 0 < min(len(one), len(other)) <= _MANY and (one <= other or other <= one)

    def _above(self, site: Site) -> frozenset[int]:
        """Numbers of the nearest layers and inputs above a row, itself included; one more than a few where many."""
        waiting = [site]
        while waiting:
            here = waiting[-1]
            missing = [p for p in here.parents if p.index not in self._bases]
            if here.index in self._bases or here.kind in _LAYERS or not missing:
                found = [self._bases[p.index] for p in here.parents if here.kind not in _LAYERS]
                own = frozenset({here.index}) if here.kind in _LAYERS else frozenset().union(*found)
                self._bases.setdefault(here.index, frozenset(sorted(own)[: _MANY + 1]))
                waiting.pop()
            else:
                waiting += missing
        return self._bases[site.index]


# Rows that stand between two sums of a stream; and how many of them are looked at.
_LAYERS, _MANY = ("weight", "recurrent", "attention", "input", "embedding"), 16
