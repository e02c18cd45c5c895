"""Ledger: what is known of a forward pass so far: its rows, where tensors came from, and what is running."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.clean_room import apart
from firstlight.probe.graph._expression import Expression
from firstlight.probe.graph._site import NEAREST, Origin, Site
from firstlight.probe.guard.nodes import Node, written_in_python
from firstlight.probe.read._samples import Samples
from firstlight.probe.read._whole import carries, shape_of, whole
from firstlight.probe.read.reader import Reader
from firstlight.probe.trace._backward import Backward
from firstlight.probe.trace._loops import Loops
from firstlight.probe.trace._origins import Origins, Picks, of_parameter, upstream
from firstlight.probe.trace._time import Recurrent

# Index of the first tensor that is measured without a row: beyond every row.
BASES = 1 << 40


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


def tensors_in(*values: object) -> Iterator[Tensor]:
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
    call: int = 1
    opaque: list[Site] = field(default_factory=list)

    @property
    def leaf(self) -> bool:
        """Whether no module lies inside this one."""
        return bool(self.path) and next(self.module.children(), None) is None


class Ledger:
    """The rows of one forward pass in the making.

    Attributes
    ----------
    sites
        What was measured, in the order of execution.
    bases
        Tensors that are no rows and on which an activation begins: sums, products, concatenations.
    recurrent, loops, picks, samples
        Recurrent calls that can run again, layers that are called again, what integers chose, where samples are.
    outputs
        The nearest rows behind what the model returns.
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
    nodes
        The same by node of the autograd graph, for tensors that come out of code nobody can follow.
    made
        The tensors of nodes that are functions of a site and have no row yet.
    module_calls
        How often each module was called, by path.
    dropouts, unmeasured
        Rows behind which a share of so many entries is dropped; operations that gave no row, by path of the module.
    """

    def __init__(self, model: nn.Module, reader: Reader, backward: Backward) -> None:
        self.reader, self.backward = reader, backward
        self._given = dict(model.named_parameters())
        self.parameters = dict(self._given)
        self.parameter_names = {id(p): name for name, p in self.parameters.items()}
        self.sites, self.bases = list[Site](), list[Site]()
        self.recurrent: list[Recurrent] = []
        self.loops, self.picks, self.samples = Loops(), Picks(), Samples()
        self.outputs: list[Site] = []
        self.used: set[str] = set()
        self.leaves: list[Tensor] = []
        self.frames = [Frame("", model, 0, None, None)]
        self.place = ""
        self.origins = Origins()
        self.nodes: dict[Node, Origin] = {}
        self.made: dict[Node, weakref.ref[Tensor]] = {}
        self.module_calls: dict[str, int] = {}
        self.dropouts: list[tuple[Site, float, int]] = []
        self.unmeasured: dict[str, set[str]] = {}
        self.grads = torch.is_grad_enabled()
        self._calls: dict[str, int] = {}
        self._labels: set[str] = set()

    @apart
    def value(self, name: str) -> Tensor:
        """The entries of a parameter; those of the model's own where a stand-in has given its memory back."""
        parameter = self.parameters[name].detach()
        if not hasattr(parameter, "full_tensor") and parameter.untyped_storage().size() == 0:
            parameter = self._given[name].detach()
        return whole(parameter)

    def adopt(self, path: str, module: nn.Module) -> None:
        """Know the tensors that stand in for a module's parameters during its call, as sharding puts them there."""
        for key, parameter in module._parameters.items():
            if parameter is not None and id(parameter) not in self.parameter_names:
                name = f"{path}.{key}" if path else key
                self.parameter_names[id(parameter)] = name
                self.parameters[name] = parameter

    def origin(self, tensor: Tensor) -> Origin | None:
        """Where a tensor came from; a parameter comes from itself."""
        name = self.parameter_names.get(id(tensor))
        if name is not None:
            return of_parameter(name)
        known = self.origins.get(tensor)
        if known is None:
            return self._from_graph(tensor) if tensor.requires_grad else None
        return self._emerged(tensor, known) if known.blind and tensor.requires_grad else known

    def _from_graph(self, tensor: Tensor) -> Origin | None:
        """The origin of a tensor that came out of unseen code, from the autograd graph that the code left."""
        root = tensor.grad_fn
        if root is None:
            return None
        sites, names, met = upstream(root, self.nodes, self.parameter_names)
        for node in met:  # an activation that unseen code read has not got its row yet
            made = self.made[node]() if node in self.made else None
            if made is not None:
                self.realise([(made, self.origins.get(made) or self.nodes[node])])
        if not sites and not names:
            return None
        origin = Origin(ancestors=sites[-NEAREST:], arrangement=object())
        held = [self.parameter_names.get(id(getattr(n, "variable", None))) for n, _ in root.next_functions]
        own = tuple(dict.fromkeys(name for name in held if name is not None))
        if not sites:
            origin = Origin(parameters=names)
        elif own and written_in_python(root):
            self.used.update(own)
            kind = "weight" if any(self.parameters[n].dim() > 1 for n in own) else "affine"
            label, op = self.holder(own, ""), type(root).__name__.removesuffix("Backward")
            site, _ = self.site(tensor, label, kind, op, -1, origin, weighs=kind == "weight", leaf=False)
            site.learned = own
            return self.origins.get(tensor)
        self.mark(tensor, origin)
        return origin

    def _emerged(self, tensor: Tensor, origin: Origin) -> Origin:
        """The origin of what was made without gradient, inside a custom function that then gave it one."""
        origin = replace(origin, blind=False)
        if origin.site is not None and origin.plain and tensor.numel() == origin.site.entries:
            if not origin.site.watched:
                self._watch(origin.site, tensor, origin)
        elif origin.site is not None and not origin.expression.linear:
            name = type(tensor.grad_fn).__name__.removesuffix("Backward")
            origin = replace(origin, expression=origin.expression.with_own_backward(name), label=name)
        self.origins.put(tensor, origin)
        return origin

    def enter_input(self, tensor: Tensor, name: str) -> None:
        """Measure an input of the model and follow it."""
        self.site(tensor, name, "input", "input", 1 - tensor.dim() if tensor.dim() >= 4 else -1)

    def leave_output(self, output: object) -> None:
        """Measure what the model returns, where it is a function of a measured site."""
        found = [(t, self.origin(t)) for t in tensors_in(output)]
        self.realise([(t, o) for t, o in found if o is not None])
        self.outputs = [s for _, o in found if o is not None for s in o.sites]

    def end(self, output: Tensor | None) -> Site | None:
        """The row that a tensor is, rearranged at most, or None."""
        origin = self.origin(output) if output is not None else None
        if origin is None:
            return None
        return origin.row or (origin.site if origin.plain else None)

    def path(self, op: str) -> str:
        """A name for what the innermost module does now: its own path for a leaf, else with the operation."""
        frame = self.frames[-1]
        if frame.leaf and op:
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

    def holder(self, names: Sequence[str], op: str) -> str:
        """A name for a learned scale or shift: the leaf module that runs, if the parameter is its own."""
        frame = self.frames[-1]
        if frame.leaf and names and names[0].rpartition(".")[0] == frame.path:
            return frame.path if len(frame.module._parameters) == 1 else owner(names)
        return owner(names) or self.path(op)

    def like(self, origin: Origin, expression: Expression, label: str, path: str) -> Origin:
        """The origin of another function of the same site, in the same arrangement."""
        call = self.frames[-1].call if path == self.frames[-1].path else 0
        return Origin(
            origin.site,
            expression,
            (),
            origin.unit,
            origin.arrangement,
            path,
            label,
            call=call or origin.call,
            batch=origin.batch,
        )

    def express(self, out: Tensor, origin: Origin) -> None:
        """Note a tensor that is a function of a site, by its node too."""
        self.mark(out, origin)
        if out.grad_fn is not None and not origin.expression.scaled:
            self.nodes[out.grad_fn] = origin
            self.made[out.grad_fn] = weakref.ref(out)

    def mark(self, out: object, origin: Origin) -> object:
        """Note the origin of every tensor of a result."""
        if self.grads and not torch.is_grad_enabled():
            origin = replace(origin, blind=True)
        for tensor in tensors_in(out):
            self.origins.put(tensor, origin)
        return out

    def retract(self, count: int) -> None:
        """Take back the rows from ``count`` on: they were steps inside something that is one row as a whole."""
        for site in self.sites[count:]:
            for link in site.inputs:
                link.source.consumers.remove(link)
            self._labels.discard(site.name)
            self._calls[site.name.split("#")[0]] = self._calls.get(site.name.split("#")[0], 1) - 1
        self.reader.drop(self.sites[count:])
        del self.sites[count:]

    def use_opaquely(self, origin: Origin) -> None:
        """Note a use that theory cannot follow."""
        if origin.site is not None:
            target = origin.row if origin.row is not None else origin.site
            target.opaque += 1
            self.frames[-1].opaque.append(target)

    def realise(self, flowing: list[Any]) -> None:
        """Give a tensor that is a bent or learned function of a site a row of its own, before it is used.

        A constant multiple of the site says nothing that the site's own row does not. The list is given the origins
        with their new rows, so that what is computed from the tensors is linked to them.
        """
        for place, (tensor, origin) in enumerate(flowing):
            expression = origin.expression
            if (
                origin.site is None
                or origin.row is not None
                or (expression.scaled and not expression.learned)
            ):
                continue
            if not carries(tensor):
                continue
            kind = "affine" if expression.scaled or expression.factored else "activation"
            site, _ = self.site(
                tensor, origin.path, kind, origin.label, origin.unit, origin, call=origin.call, echo=True
            )
            site.learned = expression.learned
            site.values |= {"learned": 1.0} if expression.learned else {}
            flowing[place] = (tensor, replace(origin, row=site))
            self.mark(*flowing[place])

    def base(self, tensor: Tensor, origin: Origin) -> Origin:
        """Measure, without a row, a tensor on which an activation begins, so that theory has its law."""
        parents = tuple(dict.fromkeys(origin.nearest))
        depth = max((s.depth for s in parents), default=0)
        index = BASES + len(self.bases)
        site = Site(index, "", "base", "", shape_of(tensor), origin.unit, depth, parents)
        site.rooted, site.retracted = origin.rooted, True  # no law of its entries is kept to draw
        self.bases.append(site)
        self.reader.read(site, tensor)
        based = Origin(site, unit=site.unit, arrangement=object(), path=origin.path, label=origin.label)
        self.mark(tensor, based)
        return based

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
        call: int = 0,
        echo: bool = False,
    ) -> tuple[Site, Tensor]:
        """Open a row for a tensor, link it to where it came from, measure it, and watch its gradient.

        Returns the tensor to go on with: a new leaf where nothing upstream takes a gradient, so that frozen
        networks are measured too (unless ``leaf`` is off, for tensors that cannot be exchanged any more).
        """
        known = [o for o in origins if o is not None]
        parents = tuple(dict.fromkeys(s for o in known for s in o.nearest))
        depth = max((s.depth for s in parents), default=0) + int(weighs)
        label = self._label(name or op, op, call)
        site = Site(len(self.sites), label, kind, op, shape_of(out), unit, depth, parents)
        if known and all(o.rooted for o in known):
            site.rooted = tuple(dict.fromkeys(p for o in known for p in o.rooted))
        for origin in known:
            if origin.site is not None:
                site.join(origin.site, origin.expression, origin.row)
        self.sites.append(site)
        self.reader.read(site, out)
        if echo:
            site.echo = True
            if out.requires_grad:
                self.backward.watch(site, out)
            return site, out
        origin = Origin(site, unit=site.unit, arrangement=object(), path=name, label=op)
        if kind != "input":
            out = self._watched(site, out, leaf, origin)
        self.mark(out, origin)
        self.loops.note(site, out)
        return site, out

    def _label(self, name: str, op: str, call: int) -> str:
        """The name of a row: ``name#k`` in the k-th call of a module, with the operation for its further rows."""
        frame = self.frames[-1]
        call = call or (frame.call if name == frame.path else 0)
        if call:
            label = name if call == 1 else f"{name}#{call}"
            if label not in self._labels:
                self._calls[name] = max(self._calls.get(name, 0), call)
                self._labels.add(label)
                return label
            name = f"{name}.{op}"
        while True:
            count = self._calls[name] = self._calls.get(name, 0) + 1
            label = name if count == 1 else f"{name}#{count}"
            if label not in self._labels:
                self._labels.add(label)
                return label

    def _watched(self, site: Site, out: Tensor, leaf: bool, origin: Origin) -> Tensor:
        if leaf and not out.requires_grad and torch.is_grad_enabled() and carries(out):
            out = out.detach().requires_grad_()
            self.leaves.append(out)
            out = out.clone()
        if out.requires_grad:
            self._watch(site, out, origin)
        return out

    def _watch(self, site: Site, out: Tensor, origin: Origin) -> None:
        self.backward.watch(site, out)
        site.watched = True
        if out.grad_fn is not None:
            self.nodes[out.grad_fn] = origin
