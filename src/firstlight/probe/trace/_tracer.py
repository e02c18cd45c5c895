"""Tracer: watches one forward pass, operation by operation, and turns it into linked sites."""

from __future__ import annotations

import math
from dataclasses import replace
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from firstlight.probe.graph import _operations as ops
from firstlight.probe.graph._site import NEAREST, Origin, Site
from firstlight.probe.read._representation import mark_router
from firstlight.probe.read._samples import RESHAPES
from firstlight.probe.read._weight import normaliser, read_weight
from firstlight.probe.read._whole import carries, form, plain
from firstlight.probe.trace._call import Behind, Call, behind, crossed, weighed
from firstlight.probe.trace._elementwise import Elementwise
from firstlight.probe.trace._ledger import Ledger, owner, tensors_in
from firstlight.probe.trace._modules import Modules, add_norm
from firstlight.probe.trace._origins import heed
from firstlight.probe.trace._time import recurrent


class Tracer(TorchFunctionMode):
    """Intercepts every torch function of a forward pass and writes what it does into a ledger."""

    def __init__(self, ledger: Ledger, modules: Modules) -> None:
        super().__init__()
        self.ledger, self.modules = ledger, modules
        self.elementwise = Elementwise(ledger, self._opaque)
        # what stands behind the wrappers of a transform that runs: a tensor that only torch holds is known no more
        self._held: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = ops.plain_name(func)
        if name.startswith("get_"):
            if name not in ops.GETTERS:
                return func(*args, **kwargs)
            name = name[4:]
        if name in ops.PICKS and not self.modules.paused:
            return self._picking(func, args, kwargs)
        if getattr(func, "__name__", "") in ops.NUMBERS and not self.modules.paused:
            self._told(args)
        if self.modules.paused or name in ops.IGNORED:
            self.ledger.loops.foreign |= name == "register_hook" and not self.modules.paused
            return func(*args, **kwargs)
        if name == "multi_head_attention_forward":
            self._along(args[0])
            with self:
                return _opened_attention(*args, **kwargs)
        if torch._C._functorch.maybe_current_level() is not None:
            return self._transformed(func, name, args, kwargs)
        self._held.clear()
        # of a tensor that gives a shape or a type alone nothing is read
        given = args[:1] if name in _LIKE else (*args, *kwargs.values())
        read = [(t, self.ledger.origin(t)) for t in tensors_in(*given)]
        return self._handle(Call(func, name, args, kwargs, read))

    def _along(self, sequence: object, time: int = 0) -> int | None:
        """Note the axis that a layer takes for time, which may be that of the samples; returns the samples' axis."""
        origin = (
            self.ledger.origin(sequence) if isinstance(sequence, Tensor) and not sequence.is_nested else None
        )
        if isinstance(sequence, Tensor) and origin is not None:
            self.ledger.samples.read_as_time(self.ledger.place, sequence.shape, origin.batch, time)
        return origin.batch if origin is not None else None

    def _picking(self, func: Any, args: Any, kwargs: Any) -> object:
        """The place of the largest or smallest entry: an integer that a signal makes."""
        out = func(*args, **kwargs)
        origin = self.ledger.origin(args[0]) if args and isinstance(args[0], Tensor) else None
        if origin is not None and origin.sites and not origin.quiet:
            self._integers(out, origin.nearest)
        return out

    def _told(self, args: tuple[object, ...]) -> None:
        """A signal that becomes a Python number, through which no gradient passes."""
        origin = self.ledger.origin(args[0]) if args and isinstance(args[0], Tensor) else None
        if origin is not None:
            self.ledger.picks.numbers.update({site.index: site for site in origin.nearest})

    def _handle(self, call: Call) -> object:
        sites = self.ledger.picks.choosing(call.read)
        if call.name in _MULTIPLIES:
            weighed(call)
        out = self._routed(call)
        if sites:
            self.ledger.picks.note(call.results(out), sites)
        heed(self.ledger, call.name, call.args, call.read, out)
        return out

    def _routed(self, call: Call) -> object:
        name = call.name
        self.ledger.used.update(call.parameters)
        if not call.flowing and not self._begins(call):
            return self._constant(call)
        if name in ops.WEIGHT_OPERATIONS or name in ops.MATMULS:
            return self._weighted(call)
        if not call.flowing and name not in ops.NORMS:
            return self._other(call, ops.OTHER_KINDS[name])
        if name in ops.ELEMENTWISE:
            return self.elementwise.handle(call)
        if name == "copy" and form(call.args[0]) == form(call.flowing[0][0]):
            return self._view(call, call.flowing[0])
        if name in ops.VIEWS or name in ops.PARTS:
            return self._view(call, call.flowing[0])
        if name in ops.DROPOUTS:
            return self._dropout(call)
        if name in ops.NORMS:
            return self._normed(call)
        kind = ops.OTHER_KINDS.get(name)
        # over classes, without an axis of places, a softmax is a classifier's end and mixes no tokens
        if kind is not None and not (name == "softmax" and call.flowing[0][0].dim() < 3):
            return self._other(call, kind)
        if name == "softmax":
            return self._choose(call)
        return self.elementwise.unknown(call)

    def _begins(self, call: Call) -> bool:
        """Whether a signal begins here: a layer reads an input of integers, a constant, or a learned query."""
        name, layer = call.name, call.name in ops.WEIGHT_OPERATIONS
        if name in ops.EMBEDDINGS:
            return True
        if not call.learned and name not in ops.NORMS:
            return False
        if name in ops.NORMS:
            norm = "norm" in type(self.ledger.frames[-1].module).__name__.lower() and name != "normalize"
            return (norm and bool(call.read)) and (not call.quiet or self._enter(call))
        if call.quiet and (layer or name in ops.MATMULS or name in ops.PRODUCTS or name in ops.RECURRENT):
            return self._enter(call)
        return layer or name in ops.RECURRENT

    def _enter(self, call: Call) -> bool:
        """Let what was quiet flow: an input gets its row where a layer reads it."""
        for tensor, origin in call.quiet:
            if not carries(tensor):
                continue
            if origin.pending:
                self.ledger.enter_input(tensor, origin.pending)
            else:
                self.ledger.mark(tensor, replace(origin, quiet=False))
        call.read = [(t, self.ledger.origin(t)) for t, _ in call.read]
        call.sort()
        return bool(call.flowing)

    def _constant(self, call: Call) -> object:
        """A step without a signal: its result is made of parameters, is a quiet input, or is nothing to follow."""
        out = call.run()
        if call.parameters:
            origin = Origin(parameters=call.parameters)
        elif call.quiet:
            origin = replace(call.quiet[0][1], site=None)
        else:
            return out
        self.ledger.mark([*tensors_in(out), *call.results(out)], origin)
        return out

    def _weighted(self, call: Call) -> object:
        found = read_weight(
            call.name, call.args, call.kwargs, self.ledger.origin, self.ledger.parameter_names
        )
        if found is None:
            return self._opaque(call) if call.flowing else self._constant(call)
        source, matrix, weight, unit = found
        self.ledger.realise(call.flowing)
        origin = self.ledger.origin(source)
        reads = self.ledger.reader.input_moments(source, origin)
        out = call.run()
        label = self.ledger.layer(weight.names, weight.parameters, call.name)
        site, out = self.ledger.site(
            out, label, "weight", call.name, unit, origin, weighs=True, leaf=not call.in_place
        )
        site.weight, site.reads = weight, (reads,)
        site.learned = tuple(dict.fromkeys((*call.parameters, *weight.names)))
        self.ledger.used.update(site.learned)
        self.ledger.reader.coverage(site, source, call.name, call.args, call.kwargs)
        if site.depth == 1:
            self.ledger.reader.columns(site, source, unit)
        self.ledger.reader.weigh(site, matrix)
        return out

    def _normed(self, call: Call) -> object:
        self.ledger.realise(call.flowing)
        out = call.run()
        facts = normaliser(self.ledger.frames[-1].module, call.name, call.args, call.kwargs)
        source, origin = call.flowing[0] if call.flowing else call.read[0]
        path = self.ledger.path(call.name)
        traced = add_norm(self.ledger, out, origin or Origin(), call.name, path, facts, source)
        self.ledger.sites[-1].learned = call.parameters
        return traced

    def _view(self, call: Call, flow: tuple[Tensor, Origin]) -> object:
        source, origin = flow
        if len(call.flowing) > 1 and call.name not in _READS_INDICES:
            return self._opaque(call)
        out = call.run()
        for tensor in call.results(out):
            if tensor is source:
                continue
            same = form(tensor) == form(source) and call.name in _SAME_ORDER
            arrangement = origin.arrangement if same else object()
            unit = self.ledger.reader.follow_axis(source, tensor, call.name, call.args, origin.unit)
            keep_row = origin.row if call.name not in ops.PARTS else None
            batch = origin.batch if same else self._samples(call, source, tensor, origin)
            moved = replace(origin, unit=unit, arrangement=arrangement, row=keep_row, batch=batch)
            self.ledger.mark(tensor, moved)
        self._integers(out, origin.sites)
        return out

    def _samples(self, call: Call, source: Tensor, result: Tensor, origin: Origin) -> int | None:
        """The axis of samples of a rearranged tensor; a shape that mixes samples is remembered with its place."""
        axis, samples = origin.batch, self.ledger.samples
        if axis is None or not samples.count or source.is_nested or not source.dim():
            return None
        if call.name in RESHAPES:
            return samples.follow(self.ledger.path(call.name), source.shape, result.shape, axis)
        if call.name in _TURNS and source.dim() == result.dim():
            return result.dim() + self.ledger.reader.follow_axis(
                source, result, call.name, call.args, axis - source.dim()
            )
        one = axis == 1 and result.dim() == source.dim() - 1 and source.shape[0] != samples.count
        return 0 if (axis == 0 or one) and result.dim() and result.shape[0] == samples.count else None

    def _integers(self, out: object, sites: tuple[Site, ...]) -> None:
        """Follow signals that are cast to integers: they count as constants until a layer reads them."""
        for tensor in tensors_in(out):
            if not carries(tensor):
                self.ledger.mark(tensor, Origin(ancestors=sites[-NEAREST:], quiet=True))

    def _dropout(self, call: Call) -> object:
        out, origin = call.run(), call.flowing[0][1]
        p = call.kwargs.get("p", call.args[1] if len(call.args) > 1 else 0.5)
        training = call.kwargs.get("training", call.args[2] if len(call.args) > 2 else True)
        if not training or p == 0.0 or origin.site is None:
            return self.ledger.mark(out, origin) if out is not call.args[0] else out
        self.ledger.reader.streams.drop(origin.site, float(p))
        shape = out.shape[1:] if call.name == "dropout" else out.shape[1:2]  # the others drop whole channels
        self.ledger.dropouts.append((origin.site, float(p), math.prod(shape)))
        gained = origin.expression.times(noise=1.0 / (1.0 - p) if p < 1.0 else 0.0)
        return self.ledger.mark(out, self.ledger.like(origin, gained, origin.label, origin.path))

    def _other(self, call: Call, kind: str) -> object:
        self.ledger.realise(call.flowing)
        for _, origin in call.flowing:
            self.ledger.use_opaquely(origin)
        out = call.run()
        first = out if isinstance(out, Tensor) else out[0]
        label = owner(call.parameters) or self.ledger.path(call.name)
        sources = [o for _, o in call.flowing]
        site, traced = self.ledger.site(
            first, label, kind, call.name, -1, *sources, weighs=kind != "attention"
        )
        site.learned = call.parameters
        rest = Origin(ancestors=(site,))
        if kind == "recurrent" and len(call.args) == 9:
            first_axis = int(call.args[8] is True)
            batch = self._along(call.args[0], first_axis)
            # states are layers × samples × units
            rest = replace(rest, batch=1 if batch == 1 - first_axis else None)
            self.ledger.mark(traced, replace(self.ledger.origin(traced) or rest, batch=batch))
        if kind == "recurrent" and (again := recurrent(site, call.func, call.args)) is not None:
            self.ledger.recurrent.append(again)
            sizes = [] if isinstance(call.args[8], bool) and traced.dim() == 3 else call.args[1].tolist()
            self.ledger.backward.watch_steps(site, traced, int(not sizes and call.args[8]), sizes)
        if call.name.endswith("_cell"):
            self.ledger.loops.cells[site.name.partition("#")[0]] = [call.args[3]]
            for state in call.results(out)[1:]:
                self.ledger.loops.note_state(site, state)
        if kind == "attention":
            site.axis = call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else None)
            self.ledger.reader.attend(site, first, call.args, call.kwargs)
            self.ledger.samples.weigh(site.name, first.shape, site.axis)
        for tensor in tensors_in(out):
            if tensor is not first and carries(tensor):
                self.ledger.mark(tensor, rest)
        return traced if isinstance(out, Tensor) else (traced, *out[1:])

    def _choose(self, call: Call) -> object:
        """A softmax over classes, experts or gates."""
        out = self.elementwise.unknown(call)
        axis = call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else None)
        if isinstance(axis, int) and isinstance(out, Tensor):
            self.ledger.reader.choice(self.ledger.path(call.name), out, axis)
            self.ledger.samples.weigh(self.ledger.path(call.name), out.shape, axis)
        return out

    def _opaque(self, call: Call) -> object:
        """A step that theory cannot follow; where it reads a parameter, its result has a row."""
        self.ledger.realise(call.flowing)
        out = call.run()
        results = call.results(out)
        ancestors = {s.index: s for _, origin in call.flowing for s in origin.nearest}
        latest = tuple(ancestors[i] for i in sorted(ancestors)[-NEAREST:])
        self._integers(out, latest)
        if not results:
            return out
        for _, origin in call.flowing:
            self.ledger.use_opaquely(origin)
        if call.name in ops.MATMULS:
            crossed(call)
        if call.name == "topk":
            mark_router(call.flowing[0][1], call.flowing[0][0].shape[-1], out)
        unit = 1 - results[0].dim() if results[0].dim() >= 4 else -1
        if call.parameters:
            out = self._parametric(call, out, results[0], unit)
        else:
            self.ledger.unmeasured.setdefault(self.ledger.frames[-1].path, set()).add(call.name)
            self.ledger.mark(results[0], Origin(ancestors=latest, unit=unit, arrangement=object()))
        for tensor in results[1:]:
            unit = 1 - tensor.dim() if tensor.dim() >= 4 else -1
            self.ledger.mark(tensor, Origin(ancestors=latest, unit=unit, arrangement=object()))
        return out

    def _parametric(self, call: Call, out: object, result: Tensor, unit: int) -> object:
        """The row of a step in which signals meet parameters in a way that is not known."""
        wide = any(sum(size > 1 for size in t.shape) > 1 for t, _ in call.learned)
        mixes = wide and call.name not in ops.ASSEMBLIES and call.name not in ops.ELEMENTWISE
        label = self.ledger.holder(call.parameters, call.name)
        exchange = out is result and not call.in_place
        site, traced = self.ledger.site(
            result,
            label,
            "weight" if mixes else "affine",
            call.name,
            unit,
            Origin(ancestors=tuple(s for _, o in call.flowing for s in o.nearest)),
            weighs=mixes,
            leaf=exchange,
        )
        site.learned = call.parameters
        return traced if exchange else out

    def _transformed(self, func: Any, name: str, args: Any, kwargs: Any) -> object:
        """A step inside vmap or another transform: layers are measured on the tensors behind the wrappers."""
        read = [(plain(t), self.ledger.origin(plain(t))) for t in tensors_in(args, kwargs)]
        same = {id(t) for t in tensors_in(args, kwargs)}
        call = Behind(func, name, behind(args), behind(kwargs), read, given=(args, kwargs))
        self.ledger.used.update(call.parameters)
        known = name in ops.WEIGHT_OPERATIONS or name in ops.ELEMENTWISE
        # weights that vmap runs over are several layers at once
        if known and call.flowing and all(id(t) in same for t, _ in call.learned):
            (self._weighted if name in ops.WEIGHT_OPERATIONS else self.elementwise.handle)(call)
            self._held += call.results(behind(call.out))
            return call.out
        results, out = call.results(call.run()), call.out
        if not results:
            return out
        ancestors = tuple(dict.fromkeys(s for _, o in call.flowing for s in o.sites))[-NEAREST:]
        origin = Origin(ancestors=ancestors, arrangement=object())
        if call.parameters and (call.flowing or name in ops.WEIGHT_OPERATIONS):
            layer = name in ops.WEIGHT_OPERATIONS or name in ops.MATMULS
            label = self.ledger.holder(call.parameters, name)
            if layer:
                label = owner(call.parameters) or label
            site, _ = self.ledger.site(
                results[0], label, "weight" if layer else "affine", name, -1, origin, weighs=layer, leaf=False
            )
            site.learned = call.parameters
        elif call.parameters:
            self.ledger.mark(results, Origin(parameters=call.parameters))
        elif call.flowing:
            self.ledger.mark(results, origin)
        return out


_MULTIPLIES = ops.MATMULS | ops.PRODUCTS
_TURNS = frozenset("permute transpose swapaxes swapdims t T mT".split())
_SAME_ORDER = frozenset(
    "clone contiguous to float half bfloat16 double type type_as alias view_as copy".split()
)
_LIKE = frozenset("view_as reshape_as expand_as to type_as".split())
_READS_INDICES = frozenset("getitem index_select copy".split())

_attention = F.multi_head_attention_forward
# The functional stops at its own override check; with the check answering no, its steps reach the tracer.
_opened_attention = FunctionType(
    _attention.__code__,
    {**vars(F), "has_torch_function": lambda tensors: False},
    _attention.__name__,
    _attention.__defaults__,
)
_opened_attention.__kwdefaults__ = _attention.__kwdefaults__
