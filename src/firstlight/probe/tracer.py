"""Tracer: watches one forward pass, operation by operation, and turns it into linked sites."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from firstlight.probe import operations as ops
from firstlight.probe.backward import Backward
from firstlight.probe.expression import Expression, compose, from_module, scalar
from firstlight.probe.guard import Guard
from firstlight.probe.reader import Reader
from firstlight.probe.site import Origin, Site, meet
from firstlight.probe.weight import normaliser, read_weight

_MARK = "_firstlight_origin"


def origin_of(value: Any) -> Origin | None:
    """What the tracer knows of a tensor."""
    return getattr(value, _MARK, None)


def owner(parameters: Sequence[str]) -> str:
    """The name of the layer that a parameter belongs to: ``fc1.weight`` → fc1, ``attn.in_proj_weight`` → attn.in_proj.

    Examples
    --------
    >>> owner(["fc1.weight", "fc1.bias"]), owner(["attn.in_proj_weight"]), owner(["w.0"])
    ('fc1', 'attn.in_proj', 'w.0')
    """
    name = parameters[0] if parameters else ""
    path, _, last = name.rpartition(".")
    if last == "weight" or last.startswith(("weight_", "original")):
        return path
    return name.removesuffix("_weight")


def tensors_in(*values: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists and dicts."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from tensors_in(*value)
        elif isinstance(value, dict):
            yield from tensors_in(*value.values())


@dataclass
class Frame:
    """A module call in progress."""

    path: str
    module: nn.Module
    sites: int
    source: Tensor | None
    origin: Origin | None
    opaque: list[Site] = field(default_factory=list)


class Tracer(TorchFunctionMode):
    """Intercepts every torch function of a forward pass.

    Attributes
    ----------
    sites
        What was measured, in the order of execution.
    used
        Names of parameters that took part.
    place
        Path and operation now running, for error messages.
    """

    def __init__(self, model: nn.Module, reader: Reader, backward: Backward, guard: Guard) -> None:
        super().__init__()
        self.reader, self.backward, self.guard = reader, backward, guard
        self.parameter_names = {id(p): name for name, p in model.named_parameters()}
        self.sites: list[Site] = []
        self.used: set[str] = set()
        self.place = ""
        self.leaves: list[Tensor] = []
        self._frames = [Frame("", model, 0, None, None)]
        self._calls: dict[str, int] = {}
        self._paused = False

    # --- modules ---------------------------------------------------------------------------------

    def hook(self, model: nn.Module) -> list[str]:
        """Follow calls of every module; returns the paths of those that do not let themselves be followed."""
        refused = []
        for path, module in model.named_modules():
            try:
                module.register_forward_pre_hook(self._entering(path), with_kwargs=True)
                module.register_forward_hook(self._leaving, with_kwargs=True, always_call=True)
            except RuntimeError:  # scripted modules take no such hooks
                refused.append(path)
        return refused

    def _entering(self, path: str) -> Callable[..., None]:
        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            source = next(tensors_in(args, kwargs), None)
            self._frames.append(Frame(path, module, len(self.sites), source, origin_of(source)))
            self.place = path or type(module).__name__

        return enter

    def _leaving(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._paused or len(self._frames) == 1:
            return
        frame = self._frames.pop()
        if not self._recognised(frame, module, output):
            self._frames[-1].opaque += frame.opaque

    def _recognised(self, frame: Frame, module: nn.Module, output: Any) -> bool:
        """Take a module whose inside gave no row for what its whole is: a normaliser or an activation."""
        source, origin = frame.source, frame.origin
        if len(self.sites) != frame.sites or source is None or origin is None:
            return False
        if not isinstance(output, Tensor) or output is source or not output.is_floating_point():
            return False
        if output.shape != source.shape:
            return False
        known = origin_of(output)
        name = type(module).__name__
        if "norm" in name.lower():
            self._undo(frame)
            self._norm(output, origin, name, frame.path, normaliser(module), source, leaf=False)
            return True
        plain = origin.site is not None and origin.expression.steps == 0
        if not plain or (known is not None and known.site is not None):
            return False
        expression = self._as_function(module)
        if expression is None:
            return False
        self._undo(frame)
        whole = expression.times(origin.expression.gain, origin.expression.noise)
        self._mark(output, self._like(origin, whole, name, frame.path))
        return True

    def _as_function(self, module: nn.Module) -> Expression | None:
        if sum(p.numel() for p in module.parameters()) > 16:
            return None
        self._paused = True
        try:
            with torch.random.fork_rng(devices=[]):
                return from_module(module, type(module).__name__)
        finally:
            self._paused = False

    def _undo(self, frame: Frame) -> None:
        """A whole module was recognised: its inner steps are no longer uses that theory cannot follow."""
        for site in frame.opaque:
            site.opaque -= 1

    # --- functions -------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = ops.plain_name(func)
        if name.startswith("get_"):
            if name == "get_data":
                self.guard.before_write(args[0])
            if name not in ("get_T", "get_mT", "get_data"):
                return func(*args, **kwargs)
            name = name[4:]
        if self._paused or name in ops.IGNORED:
            return func(*args, **kwargs)
        if args and isinstance(args[0], nn.Parameter):
            self.guard.before_write(args[0]) if func.__name__.rstrip("_") != func.__name__ else None
        if name == "multi_head_attention_forward":
            with self:
                return _opened_attention(*args, **kwargs)
        return self._handle(func, name, args, kwargs)

    def _handle(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        origins = [(t, self._origin(t)) for t in tensors_in(args, kwargs)]
        for _, origin in origins:
            if origin is not None:
                self.used.update(origin.parameters)
        flowing = [(t, o) for t, o in origins if o is not None and not o.parameters]
        if not flowing and name not in ops.EMBEDDINGS:
            out = func(*args, **kwargs)
            derived = tuple(dict.fromkeys(p for _, o in origins if o is not None for p in o.parameters))
            if derived:
                for tensor in tensors_in(out):
                    self._mark(tensor, Origin(parameters=derived))
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
            self._realise(flowing)
            out = func(*args, **kwargs)
            facts = normaliser(self._frames[-1].module, name, args, kwargs)
            return self._norm(out, flowing[0][1], name, self._path(name), facts, flowing[0][0])
        kind = {
            **dict.fromkeys(ops.EMBEDDINGS, "embedding"),
            **dict.fromkeys(ops.RECURRENT, "recurrent"),
        }.get(name, "attention" if name in ops.ATTENTION else "")
        if kind:
            return self._other(func, name, kind, args, kwargs, origins)
        return self._opaque(func, args, kwargs, flowing)

    def _origin(self, tensor: Tensor) -> Origin | None:
        name = self.parameter_names.get(id(tensor))
        return Origin(parameters=(name,)) if name is not None else origin_of(tensor)

    def _weighted(self, func: Any, name: str, args: Any, kwargs: Any, origins: list[Any]) -> Any:
        found = read_weight(name, args, kwargs, self._origin, self.parameter_names)
        flowing = [(t, o) for t, o in origins if o is not None and not o.parameters]
        if found is None:
            return self._opaque(func, args, kwargs, flowing)
        source, weight, unit = found
        self._realise(flowing)
        origin = self._origin(source)
        square, mean = self.reader.input_moments(source, origin)
        out = func(*args, **kwargs)
        label = owner(weight.names) or self._path(name)
        site, out = self._site(out, label, "weight", name, unit, origin, weighs=True)
        site.weight, site.input_square, site.input_mean = weight, square, mean
        self.reader.coverage(site, source, name, args, kwargs)
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
            expression = compose(
                func, name, self._symbolic(args), dict(zip(kwargs, self._symbolic(tuple(kwargs.values()))))
            )
            if expression is not None:
                out = func(*args, **kwargs)
                return self._mark(out, self._like(base, expression, name, self._path(name)))
        if (
            name in ("mul", "multiply", "rmul")
            and base is not None
            and len(flowing) == 1
            and learned == foreign
        ):
            gain = float(learned[0].detach().float().square().mean())
            out = func(*args, **kwargs)
            if out.shape == flowing[0][0].shape:
                return self._mark(out, self._like(base, base.expression.times(gain), name, base.path))
            return out
        if name in ops.SUMS and len(flowing) == 2 and flowing[0][0].shape == flowing[1][0].shape:
            return self._sum(func, name, args, kwargs, flowing)
        return self._opaque(func, args, kwargs, flowing)

    def _symbolic(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Traced tensors as the expressions they are, one-element tensors as numbers."""
        result: list[Any] = []
        for value in values:
            origin = self._origin(value) if isinstance(value, Tensor) else None
            if origin is not None and origin.site is not None:
                result.append(origin.expression)
            elif isinstance(value, Tensor) and value.is_floating_point() and not origin_of(value):
                # torch functions that insist on tensors (prelu, where) still get one
                result.append(torch.as_tensor(scalar(value), dtype=torch.float64).reshape(value.shape))
            else:
                result.append(value)
        return tuple(result)

    def _sum(self, func: Any, name: str, args: Any, kwargs: Any, flowing: list[Any]) -> Any:
        """A sum of two paths from one place is a residual sum: the shorter path is the stream."""
        if not meet(flowing[0][1].sites, flowing[1][1].sites):
            return self._opaque(func, args, kwargs, flowing)
        (a, stream), (b, branch) = sorted(flowing, key=lambda pair: max(s.depth for s in pair[1].sites))
        self._realise(flowing)
        stream_square, _ = self.reader.input_moments(a, stream)
        branch_square, _ = self.reader.input_moments(b, branch)
        out = func(*args, **kwargs)
        site, out = self._site(out, self._path("add"), "residual", "add", stream.unit, stream, branch)
        site.values |= {"stream_q": stream_square, "branch_q": branch_square}
        return out

    def _view(self, func: Any, name: str, args: Any, kwargs: Any, flowing: list[Any]) -> Any:
        source, origin = flowing[0]
        if len(flowing) > 1 and name not in (
            "view_as",
            "reshape_as",
            "to",
            "type_as",
            "getitem",
            "index_select",
        ):
            return self._opaque(func, args, kwargs, flowing)
        out = func(*args, **kwargs)
        for tensor in tensors_in(out):
            if tensor is source or not tensor.is_floating_point():
                continue
            arrangement = (
                origin.arrangement if tensor.shape == source.shape and name in _SAME_ORDER else object()
            )
            unit = self.reader.follow_axis(source, tensor, name, args, origin.unit)
            keep_row = origin.row if name not in ops.PARTS else None
            self._mark(tensor, replace(origin, unit=unit, arrangement=arrangement, row=keep_row))
        return out

    def _dropout(self, func: Any, args: Any, kwargs: Any, origin: Origin) -> Any:
        out = func(*args, **kwargs)
        p = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
        training = kwargs.get("training", args[2] if len(args) > 2 else True)
        if not training or p == 0.0 or origin.site is None:
            return self._mark(out, origin) if out is not args[0] else out
        gained = origin.expression.times(noise=1.0 / (1.0 - p) if p < 1.0 else 0.0)
        return self._mark(out, self._like(origin, gained, origin.label, origin.path))

    def _norm(
        self,
        out: Tensor,
        origin: Origin,
        op: str,
        path: str,
        facts: dict[str, Any],
        source: Tensor,
        *,
        leaf: bool = True,
    ) -> Tensor:
        unit = -1 if op not in ops.NORMS or op in ("layer_norm", "rms_norm") else 1 - max(source.dim(), 2)
        site, out = self._site(out, path, "norm", op, unit, origin, leaf=leaf)
        site.values |= facts
        self.reader.norm_gain(site, source, facts)
        return out

    def _other(self, func: Any, name: str, kind: str, args: Any, kwargs: Any, origins: list[Any]) -> Any:
        flowing = [(t, o) for t, o in origins if o is not None and not o.parameters]
        self._realise(flowing)
        for _, origin in flowing:
            self._use_opaquely(origin)
        out = func(*args, **kwargs)
        first = out if isinstance(out, Tensor) else out[0]
        label = owner([p for _, o in origins if o is not None for p in o.parameters]) or self._path(name)
        sources = [o for _, o in flowing]
        site, traced = self._site(first, label, kind, name, -1, *sources, weighs=kind != "attention")
        rest = Origin(ancestors=(site,))
        for tensor in tensors_in(out):
            if tensor is not first and tensor.is_floating_point():
                self._mark(tensor, rest)
        return traced if isinstance(out, Tensor) else (traced, *out[1:])

    def _opaque(self, func: Any, args: Any, kwargs: Any, flowing: list[Any]) -> Any:
        self._realise(flowing)
        out = func(*args, **kwargs)
        results = [t for t in tensors_in(out) if t.is_floating_point()]
        if not results:
            return out
        ancestors: dict[int, Site] = {}
        for _, origin in flowing:
            self._use_opaquely(origin)
            ancestors.update({s.index: s for s in origin.sites})
        latest = tuple(ancestors[i] for i in sorted(ancestors)[-8:])
        for tensor in results:
            unit = 1 - tensor.dim() if tensor.dim() >= 4 else -1
            self._mark(tensor, Origin(ancestors=latest, unit=unit, arrangement=object()))
        return out

    # --- sites -----------------------------------------------------------------------------------

    def enter_input(self, tensor: Tensor, name: str) -> None:
        """Measure an input of the model and follow it."""
        unit = 1 - tensor.dim() if tensor.dim() >= 4 else -1
        self._site(tensor, name, "input", "input", unit)

    def leave_output(self, output: Any) -> None:
        """Measure what the model returns, where it is a function of a measured site."""
        found = [(t, self._origin(t)) for t in tensors_in(output)]
        self._realise([(t, o) for t, o in found if o is not None])

    def _path(self, op: str) -> str:
        frame = self._frames[-1]
        leaf = next(frame.module.children(), None) is None and len(self._frames) > 1
        if leaf and op:
            return frame.path
        return f"{frame.path}.{op}" if frame.path else op

    def _like(self, origin: Origin, expression: Expression, label: str, path: str) -> Origin:
        return Origin(origin.site, expression, (), origin.unit, origin.arrangement, path, label)

    def _mark(self, out: Any, origin: Origin) -> Any:
        for tensor in tensors_in(out):
            setattr(tensor, _MARK, origin)
        return out

    def _use_opaquely(self, origin: Origin) -> None:
        if origin.site is not None:
            target = origin.row if origin.row is not None else origin.site
            target.opaque += 1
            self._frames[-1].opaque.append(target)

    def _realise(self, flowing: list[Any]) -> None:
        """Give a tensor that is a non-linear function of a site a row of its own, before it is used."""
        for tensor, origin in flowing:
            if origin.site is None or origin.expression.linear or origin.row is not None:
                continue
            if not tensor.is_floating_point():
                continue
            site, _ = self._site(tensor, origin.path, "activation", origin.label, origin.unit, origin)
            self._mark(tensor, replace(origin, row=site))

    def _site(
        self,
        out: Tensor,
        name: str,
        kind: str,
        op: str,
        unit: int,
        *origins: Origin | None,
        weighs: bool = False,
        leaf: bool = True,
    ) -> tuple[Site, Tensor]:
        """Open a row for a tensor, link it to where it came from, measure it, and watch its gradient.

        Returns the tensor to go on with: a new leaf where nothing upstream takes a gradient, so that frozen
        networks are measured too (unless ``leaf`` is off, for tensors that cannot be exchanged any more).
        """
        known = [o for o in origins if o is not None]
        parents = tuple(dict.fromkeys(s for o in known for s in ((o.row,) if o.row is not None else o.sites)))
        depth = max((s.depth for s in parents), default=0) + int(weighs)
        count = self._calls[name] = self._calls.get(name, 0) + 1
        label = (name or op) if count == 1 else f"{name or op}#{count}"
        site = Site(len(self.sites), label, kind, op, tuple(out.shape), unit, depth, parents)
        for origin in known:
            if origin.site is not None:
                site.join(origin.site, origin.expression, origin.row)
        self.sites.append(site)
        self.reader.read(site, out)
        if kind == "activation":
            if out.requires_grad:
                self.backward.watch(site, out)
            return site, out
        if kind != "input":
            out = self._watched(site, out, leaf)
        self._mark(out, Origin(site, unit=site.unit, arrangement=object(), path=name, label=op))
        return site, out

    def _watched(self, site: Site, out: Tensor, leaf: bool) -> Tensor:
        if leaf and not out.requires_grad and torch.is_grad_enabled() and out.is_floating_point():
            out = out.detach().requires_grad_()
            self.leaves.append(out)
            out = out.clone()
        if out.requires_grad:
            self.backward.watch(site, out)
        return out


_SAME_ORDER = frozenset(
    {
        "clone",
        "contiguous",
        "to",
        "float",
        "half",
        "bfloat16",
        "double",
        "type",
        "type_as",
        "alias",
        "view_as",
    }
)

_attention = F.multi_head_attention_forward
# The functional stops at its own override check; with the check answering no, its steps reach the tracer.
_opened_attention = FunctionType(
    _attention.__code__,
    {**vars(F), "has_torch_function": lambda tensors: False},
    _attention.__name__,
    _attention.__defaults__,
)
_opened_attention.__kwdefaults__ = _attention.__kwdefaults__
