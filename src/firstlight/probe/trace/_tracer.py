"""Tracer: watches one forward pass, operation by operation, and turns it into linked sites."""

from __future__ import annotations

from dataclasses import replace
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from firstlight.probe.graph import _operations as ops
from firstlight.probe.graph._expression import Expression, compose, scalar
from firstlight.probe.graph._site import Origin, Site, meet
from firstlight.probe.read._weight import normaliser, read_weight
from firstlight.probe.trace._ledger import Ledger, owner, tensors_in
from firstlight.probe.trace._modules import Modules, add_norm
from firstlight.probe.trace.guard import Guard


class Tracer(TorchFunctionMode):
    """Intercepts every torch function of a forward pass and writes what it does into a ledger."""

    def __init__(self, ledger: Ledger, modules: Modules, guard: Guard) -> None:
        super().__init__()
        self.ledger, self.modules, self.guard = ledger, modules, guard

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = ops.plain_name(func)
        if name.startswith("get_"):
            if name == "get_data":
                self.guard.before_write(args[0])
            if name not in ("get_T", "get_mT", "get_data"):
                return func(*args, **kwargs)
            name = name[4:]
        if self.modules.paused or name in ops.IGNORED:
            return func(*args, **kwargs)
        if args and isinstance(args[0], nn.Parameter) and ops.writes(func):
            self.guard.before_write(args[0])
        if isinstance(kwargs.get("out"), nn.Parameter):
            self.guard.before_write(kwargs["out"])
        if name == "multi_head_attention_forward":
            with self:
                return _opened_attention(*args, **kwargs)
        return self._handle(func, name, args, kwargs)

    def _handle(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        origins = [(t, self.ledger.origin(t)) for t in tensors_in(args, kwargs)]
        for _, origin in origins:
            if origin is not None:
                self.ledger.used.update(origin.parameters)
        flowing = [(t, o) for t, o in origins if o is not None and not o.parameters]
        if not flowing and name not in ops.EMBEDDINGS:
            out = func(*args, **kwargs)
            derived = tuple(dict.fromkeys(p for _, o in origins if o is not None for p in o.parameters))
            if derived:
                for tensor in tensors_in(out):
                    self.ledger.mark(tensor, Origin(parameters=derived))
            return out
        if name in ops.WEIGHT_OPERATIONS or name in ops.MATMULS:
            return self._weighted(func, name, args, kwargs, origins)
        if name in ops.ELEMENTWISE:
            return self._elementwise(func, name, args, kwargs, origins)
        if name in ops.VIEWS or name in ops.PARTS:
            return self._view(func, name, args, kwargs, flowing)
        if name in ops.DROPOUTS:
            return self._dropout(func, args, kwargs, flowing[0][1])
        if name in ops.NORMS:
            self.ledger.realise(flowing)
            out = func(*args, **kwargs)
            facts = normaliser(self.ledger.frames[-1].module, name, args, kwargs)
            source, origin = flowing[0]
            traced = add_norm(self.ledger, out, origin, name, self.ledger.path(name), facts, source)
            self.ledger.sites[-1].learned = _learned(origins)
            return traced
        kind = ops.OTHER_KINDS.get(name)
        # over classes, without an axis of places, a softmax is a classifier's end and mixes no tokens
        if kind is not None and not (name == "softmax" and flowing and flowing[0][0].dim() < 3):
            return self._other(func, name, kind, args, kwargs, origins)
        self.ledger.unmeasured.setdefault(self.ledger.frames[-1].path, set()).add(name)
        return self._opaque(func, args, kwargs, flowing)

    def _weighted(self, func: Any, name: str, args: Any, kwargs: Any, origins: list[Any]) -> Any:
        found = read_weight(name, args, kwargs, self.ledger.origin, self.ledger.parameter_names)
        flowing = [(t, o) for t, o in origins if o is not None and not o.parameters]
        if found is None:
            return self._opaque(func, args, kwargs, flowing)
        source, matrix, weight, unit = found
        self.ledger.realise(flowing)
        origin = self.ledger.origin(source)
        reads = self.ledger.reader.input_moments(source, origin)
        out = func(*args, **kwargs)
        label = self.ledger.layer(weight.names, weight.parameters, name)
        site, out = self.ledger.site(out, label, "weight", name, unit, origin, weighs=True)
        site.weight, site.reads, site.learned = weight, (reads,), _learned(origins)
        self.ledger.reader.coverage(site, source, name, args, kwargs)
        self.ledger.reader.weigh(site, matrix)
        return out

    def _elementwise(self, func: Any, name: str, args: Any, kwargs: Any, origins: list[Any]) -> Any:
        flowing = [(t, o) for t, o in origins if o is not None and not o.parameters]
        base = next((o for _, o in flowing if o.site is not None), None)
        one = base is not None and all(
            o.site is base.site and o.arrangement is base.arrangement for _, o in flowing
        )
        foreign = [t for t, o in origins if (o is None or o.parameters) and t.numel() != 1]
        learned = [t for t, o in origins if o is not None and o.parameters and t.numel() != 1]
        if name in ("max", "min") and len(origins) < 2:
            return self._opaque(func, args, kwargs, flowing)  # a reduction, not an element-wise choice
        if one and base is not None and not foreign:
            named = dict(zip(kwargs, self._symbolic(tuple(kwargs.values()))))
            expression = compose(func, name, self._symbolic(args), named)
            if expression is not None:
                return self._follow(func, args, kwargs, flowing, expression, name)
        scales = name in ("mul", "multiply", "rmul") and len(flowing) == len(learned) == len(foreign) == 1
        if scales and base is not None:
            gain = float(learned[0].detach().float().square().mean())
            return self._follow(func, args, kwargs, flowing, base.expression.times(gain), base.label)
        if name in ops.SUMS and len(flowing) == 2 and flowing[0][0].shape == flowing[1][0].shape:
            return self._sum(func, name, args, kwargs, flowing)
        return self._opaque(func, args, kwargs, flowing)

    def _follow(
        self, func: Any, args: Any, kwargs: Any, flowing: list[Any], expression: Expression, label: str
    ) -> Any:
        """Run a function that is element-wise in one site, and mark its result as that function of it."""
        source, origin = flowing[0]
        path = self.ledger.path(label) if expression.steps != origin.expression.steps else origin.path
        shape = source.shape
        out = func(*args, **kwargs)
        if isinstance(out, Tensor) and out.shape == shape:
            return self.ledger.mark(out, self.ledger.like(origin, expression, label, path))
        for _, used in flowing:
            self.ledger.use_opaquely(used)
        return self.ledger.mark(out, Origin(ancestors=origin.sites, arrangement=object()))

    def _symbolic(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Traced tensors as the expressions they are, one-element tensors as numbers."""
        result: list[Any] = []
        for value in values:
            origin = self.ledger.origin(value) if isinstance(value, Tensor) else None
            if origin is not None and origin.site is not None:
                result.append(origin.expression)
            elif (
                isinstance(value, Tensor) and value.is_floating_point() and not self.ledger.origins.get(value)
            ):
                # torch functions that insist on tensors (prelu, where) still get one
                result.append(torch.as_tensor(scalar(value), dtype=torch.float64).reshape(value.shape))
            else:
                result.append(value)
        return tuple(result)

    def _sum(self, func: Any, name: str, args: Any, kwargs: Any, flowing: list[Any]) -> Any:
        """A sum of two paths from one place is a residual sum: the shorter path is the stream.

        Two functions of one row with no layer between them are arithmetic, as in rotary positions, gates
        and scans; only where one of them is the row itself is it a stream.
        """
        here, there = flowing[0][1], flowing[1][1]
        apart = not set(here.sites) & set(there.sites)
        if not (apart or here.plain or there.plain) or not meet(here.sites, there.sites):
            return self._opaque(func, args, kwargs, flowing)
        (a, stream), (b, branch) = sorted(flowing, key=lambda pair: max(s.depth for s in pair[1].sites))
        self.ledger.realise(flowing)
        reads = self.ledger.reader.input_moments(a, stream), self.ledger.reader.input_moments(b, branch)
        out = func(*args, **kwargs)
        site, out = self.ledger.site(
            out, self.ledger.path("add"), "residual", "add", stream.unit, stream, branch
        )
        site.reads = reads
        return out

    def _view(self, func: Any, name: str, args: Any, kwargs: Any, flowing: list[Any]) -> Any:
        source, origin = flowing[0]
        if len(flowing) > 1 and name not in _READS_SHAPE:
            return self._opaque(func, args, kwargs, flowing)
        out = func(*args, **kwargs)
        for tensor in tensors_in(out):
            if tensor is source or not tensor.is_floating_point():
                continue
            arrangement = (
                origin.arrangement if tensor.shape == source.shape and name in _SAME_ORDER else object()
            )
            unit = self.ledger.reader.follow_axis(source, tensor, name, args, origin.unit)
            keep_row = origin.row if name not in ops.PARTS else None
            self.ledger.mark(tensor, replace(origin, unit=unit, arrangement=arrangement, row=keep_row))
        return out

    def _dropout(self, func: Any, args: Any, kwargs: Any, origin: Origin) -> Any:
        out = func(*args, **kwargs)
        p = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
        training = kwargs.get("training", args[2] if len(args) > 2 else True)
        if not training or p == 0.0 or origin.site is None:
            return self.ledger.mark(out, origin) if out is not args[0] else out
        gained = origin.expression.times(noise=1.0 / (1.0 - p) if p < 1.0 else 0.0)
        return self.ledger.mark(out, self.ledger.like(origin, gained, origin.label, origin.path))

    def _other(self, func: Any, name: str, kind: str, args: Any, kwargs: Any, origins: list[Any]) -> Any:
        flowing = [(t, o) for t, o in origins if o is not None and not o.parameters]
        self.ledger.realise(flowing)
        for _, origin in flowing:
            self.ledger.use_opaquely(origin)
        out = func(*args, **kwargs)
        first = out if isinstance(out, Tensor) else out[0]
        label = owner([p for _, o in origins if o is not None for p in o.parameters]) or self.ledger.path(
            name
        )
        sources = [o for _, o in flowing]
        site, traced = self.ledger.site(first, label, kind, name, -1, *sources, weighs=kind != "attention")
        site.learned = _learned(origins)
        rest = Origin(ancestors=(site,))
        for tensor in tensors_in(out):
            if tensor is not first and tensor.is_floating_point():
                self.ledger.mark(tensor, rest)
        return traced if isinstance(out, Tensor) else (traced, *out[1:])

    def _opaque(self, func: Any, args: Any, kwargs: Any, flowing: list[Any]) -> Any:
        self.ledger.realise(flowing)
        out = func(*args, **kwargs)
        results = [t for t in tensors_in(out) if t.is_floating_point()]
        if not results:
            return out
        ancestors: dict[int, Site] = {}
        for _, origin in flowing:
            self.ledger.use_opaquely(origin)
            ancestors.update({s.index: s for s in origin.sites})
        latest = tuple(ancestors[i] for i in sorted(ancestors)[-8:])
        for tensor in results:
            unit = 1 - tensor.dim() if tensor.dim() >= 4 else -1
            self.ledger.mark(tensor, Origin(ancestors=latest, unit=unit, arrangement=object()))
        return out


def _learned(origins: list[Any]) -> tuple[str, ...]:
    """Names of the parameters among what an operation reads."""
    return tuple(dict.fromkeys(p for _, o in origins if o is not None for p in o.parameters))


_SAME_ORDER = frozenset("clone contiguous to float half bfloat16 double type type_as alias view_as".split())
_READS_SHAPE = frozenset("view_as reshape_as to type_as getitem index_select".split())

_attention = F.multi_head_attention_forward
# The functional stops at its own override check; with the check answering no, its steps reach the tracer.
_opened_attention = FunctionType(
    _attention.__code__,
    {**vars(F), "has_torch_function": lambda tensors: False},
    _attention.__name__,
    _attention.__defaults__,
)
_opened_attention.__kwdefaults__ = _attention.__kwdefaults__
