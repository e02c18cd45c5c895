"""Ledger: what is known of a forward pass so far: its rows, where tensors came from, and what is running."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.probe.graph._expression import Expression
from firstlight.probe.graph._site import Origin, Site
from firstlight.probe.read.reader import Reader
from firstlight.probe.trace._backward import Backward


class _Reference(weakref.ref[Tensor]):
    """A weak reference that knows its tensor's identity, also when the tensor is gone."""

    __slots__ = ("key",)
    key: int


class Origins:
    """Where tensors came from, beside the tensors: nothing is written on a tensor, and nothing keeps one alive.

    Entries are held by identity together with a weak reference, and an entry goes when its tensor goes, so that
    a new tensor at an old address is unknown.

    Examples
    --------
    >>> import torch
    >>> origins, x = Origins(), torch.zeros(2)
    >>> origins.put(x, Origin(label="x"))
    >>> origins.get(x).label, origins.get(torch.zeros(2)), vars(x)
    ('x', None, {})
    >>> del x
    >>> len(origins)
    0
    """

    def __init__(self) -> None:
        known: dict[int, tuple[_Reference, Origin]] = {}

        def drop(reference: _Reference) -> None:
            if known.get(reference.key, (None,))[0] is reference:
                del known[reference.key]

        self._known, self._drop = known, drop

    def __len__(self) -> int:
        return len(self._known)

    def get(self, value: Any) -> Origin | None:
        """What is known of where a tensor came from."""
        found = self._known.get(id(value))
        return found[1] if found is not None and found[0]() is value else None

    def put(self, tensor: Tensor, origin: Origin) -> None:
        """Note where a tensor came from, in place of what was known."""
        reference = _Reference(tensor, self._drop)
        reference.key = id(tensor)
        self._known[reference.key] = (reference, origin)

    def clear(self) -> None:
        """Forget all tensors."""
        self._known.clear()


def owner(parameters: Sequence[str]) -> str:
    """The name of the layer that a parameter belongs to: ``fc1.weight`` → fc1, ``attn.in_proj_weight`` → attn.in_proj.

    Examples
    --------
    >>> owner(["fc1.weight", "fc1.bias"]), owner(["attn.in_proj_weight"]), owner(["w.0"])
    ('fc1', 'attn.in_proj', 'w.0')
    >>> owner(["conv.parametrizations.weight.original0", "conv.parametrizations.weight.original1"])
    'conv'
    """
    name = parameters[0] if parameters else ""
    if ".parametrizations." in name:
        name = name.split(".parametrizations.")[0] + ".weight"
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


class Ledger:
    """The rows of one forward pass in the making.

    Attributes
    ----------
    sites
        What was measured, in the order of execution.
    parameters, parameter_names
        The parameters of the model by name, and their names by identity.
    used
        Names of parameters that took part.
    leaves
        Tensors from which gradients are measured where no parameter upstream takes one.
    frames
        The module calls in progress, the innermost last.
    place
        Path of the module entered last, for error messages.
    origins
        Where tensors came from.
    module_calls
        How often each module was called, by path.
    unmeasured
        Operations that read a signal and gave no row, by the path of the module that ran.
    """

    def __init__(self, model: nn.Module, reader: Reader, backward: Backward) -> None:
        self.reader, self.backward = reader, backward
        self.parameters = dict(model.named_parameters())
        self.parameter_names = {id(p): name for name, p in self.parameters.items()}
        self.sites: list[Site] = []
        self.used: set[str] = set()
        self.leaves: list[Tensor] = []
        self.frames = [Frame("", model, 0, None, None)]
        self.place = ""
        self.origins = Origins()
        self.module_calls: dict[str, int] = {}
        self.unmeasured: dict[str, set[str]] = {}
        self._calls: dict[str, int] = {}

    def origin(self, tensor: Tensor) -> Origin | None:
        """Where a tensor came from; a parameter comes from itself."""
        name = self.parameter_names.get(id(tensor))
        return Origin(parameters=(name,)) if name is not None else self.origins.get(tensor)

    def enter_input(self, tensor: Tensor, name: str) -> None:
        """Measure an input of the model and follow it."""
        unit = 1 - tensor.dim() if tensor.dim() >= 4 else -1
        self.site(tensor, name, "input", "input", unit)

    def leave_output(self, output: Any) -> None:
        """Measure what the model returns, where it is a function of a measured site."""
        found = [(t, self.origin(t)) for t in tensors_in(output)]
        self.realise([(t, o) for t, o in found if o is not None])

    def path(self, op: str) -> str:
        """A name for what the innermost module does now: its own path for a leaf, else with the operation."""
        frame = self.frames[-1]
        leaf = next(frame.module.children(), None) is None and len(self.frames) > 1
        if leaf and op:
            return frame.path
        return f"{frame.path}.{op}" if frame.path else op

    def layer(self, names: Sequence[str], parameters: Sequence[Tensor], op: str) -> str:
        """A name for a weight layer: the layer that runs, if the weight is its own, else the weight's owner.

        A tied weight has one name and several layers: the embedding's name would say nothing of the head.
        """
        frame = self.frames[-1]
        own = frame.module._parameters.get("weight")
        if own is not None and frame.path and any(own is parameter for parameter in parameters):
            return frame.path
        return owner(names) or self.path(op)

    def like(self, origin: Origin, expression: Expression, label: str, path: str) -> Origin:
        """The origin of another function of the same site, in the same arrangement."""
        return Origin(origin.site, expression, (), origin.unit, origin.arrangement, path, label)

    def mark(self, out: Any, origin: Origin) -> Any:
        """Note the origin of every tensor of a result."""
        for tensor in tensors_in(out):
            self.origins.put(tensor, origin)
        return out

    def retract(self, count: int) -> None:
        """Take back the rows from ``count`` on: they were steps inside something that is one row as a whole."""
        for site in self.sites[count:]:
            for link in site.inputs:
                link.source.consumers.remove(link)
            self._calls[site.name.split("#")[0]] -= 1
        self.reader.drop(self.sites[count:])
        del self.sites[count:]

    def use_opaquely(self, origin: Origin) -> None:
        """Note a use that theory cannot follow."""
        if origin.site is not None:
            target = origin.row if origin.row is not None else origin.site
            target.opaque += 1
            self.frames[-1].opaque.append(target)

    def realise(self, flowing: list[Any]) -> None:
        """Give a tensor that is a non-linear function of a site a row of its own, before it is used.

        A multiple of the site says nothing that the site's own row does not.
        """
        for tensor, origin in flowing:
            if origin.site is None or origin.expression.scaled or origin.row is not None:
                continue
            if not tensor.is_floating_point():
                continue
            site, _ = self.site(tensor, origin.path, "activation", origin.label, origin.unit, origin)
            self.mark(tensor, replace(origin, row=site))

    def site(
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
        self.mark(out, Origin(site, unit=site.unit, arrangement=object(), path=name, label=op))
        return site, out

    def _watched(self, site: Site, out: Tensor, leaf: bool) -> Tensor:
        if leaf and not out.requires_grad and torch.is_grad_enabled() and out.is_floating_point():
            out = out.detach().requires_grad_()
            self.leaves.append(out)
            out = out.clone()
        if out.requires_grad:
            self.backward.watch(site, out)
        return out
