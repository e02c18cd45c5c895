"""Modules: follows calls of modules, and recognises those that are one normaliser or one activation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from firstlight.probe.graph import _operations as ops
from firstlight.probe.graph._expression import agrees, follows, from_module, says_its_activation
from firstlight.probe.graph._site import Origin
from firstlight.probe.read._weight import DIVISIVE, normaliser
from firstlight.probe.read._whole import form, shape_of
from firstlight.probe.trace._ledger import Frame, Ledger, tensors_in


def add_norm(
    ledger: Ledger,
    out: Tensor,
    origin: Origin,
    op: str,
    path: str,
    facts: dict[str, object],
    source: Tensor,
    *,
    leaf: bool = True,
    call: int = 0,
) -> Tensor:
    """Open the row of a normaliser."""
    unit = -1 if op not in ops.NORMS or op in ("layer_norm", "rms_norm") else 1 - max(source.dim(), 2)
    site, traced = ledger.site(out, path, "norm", op, unit, origin, leaf=leaf, call=call)
    site.values |= facts
    ledger.reader.norm_gain(site, source, out, facts)
    return traced


class Modules:
    """Hooks on every module of a model, live until ``close``.

    ``paused`` is set while the hooks compute for themselves, so that nothing of that is recorded.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.paused = False
        self.closed = False
        self._paths: dict[int, str] = {}

    def close(self) -> None:
        """Stop opening rows: checkpointed parts run their forward again during the backward."""
        self.closed = True

    def hook(self, model: nn.Module) -> list[str]:
        """Follow calls of every module; returns the paths of those that do not let themselves be followed."""
        refused = []
        for path, module in model.named_modules():
            self._paths[id(module)] = path
            try:
                module.register_forward_pre_hook(self._entering(path), with_kwargs=True)
                module.register_forward_hook(self._leaving, with_kwargs=True, always_call=True)
            except RuntimeError:  # scripted modules take no such hooks
                refused.append(path)
        return refused

    def _entering(self, path: str) -> Callable[..., None]:
        def enter(module: nn.Module, args: object, kwargs: object) -> None:
            if self.paused or self.closed:
                return
            ledger = self.ledger
            ledger.adopt(path, module)
            call = ledger.module_calls[path] = ledger.module_calls.get(path, 0) + 1
            source = next(tensors_in(args, kwargs), None)
            self.paused = True  # what unseen code left behind may be measured now
            origin = ledger.origin(source) if source is not None else None
            self.paused = False
            if origin is not None and origin.quiet:
                origin = None
            ledger.frames.append(Frame(path, module, len(ledger.sites), source, origin, call))
            ledger.place = path or type(module).__name__

        return enter

    def _leaving(self, module: nn.Module, args: object, kwargs: object, output: object) -> None:
        if self.closed:
            self._again(module, output)
            return
        if self.paused or len(self.ledger.frames) == 1:
            return
        frame = self.ledger.frames.pop()
        self.paused = True  # hooks run inside the traced forward: what they compute is not part of it
        try:
            if not self._recognised(frame, module, output):
                self.ledger.frames[-1].opaque += frame.opaque
        finally:
            self.paused = False

    def _again(self, module: nn.Module, output: object) -> None:
        """Watch the gradients of a part that ran without any and runs again in the backward, the last call first."""
        path = self._paths.get(id(module))
        if path is None or not isinstance(output, Tensor) or not output.requires_grad:
            return
        for site in reversed(self.ledger.sites):
            if site.name.partition("#")[0] == path and not site.watched and shape_of(output) == site.shape:
                site.watched = True
                self.ledger.backward.watch(site, output)
                return

    def _recognised(self, frame: Frame, module: nn.Module, output: object) -> bool:
        """Take a module whose inside gave no row for what its whole is: a normaliser or an activation."""
        source, origin = frame.source, frame.origin
        inner = self.ledger.sites[frame.sites :]
        if source is None or origin is None:
            return False
        name = type(module).__name__
        # a pool over units is no layer that mixes signals, whatever product makes it
        whole = frame.leaf and (name in DIVISIVE or says_its_activation(module))
        if not whole and any(s.kind not in ("activation", "affine") for s in inner):
            return False
        if not isinstance(output, Tensor) or output is source or not output.is_floating_point():
            return False
        if form(output) != form(source):
            return False
        known = self.ledger.origin(output)
        if "norm" in name.lower() or name in DIVISIVE:
            return self._as_norm(frame, module, output, origin)
        if inner and whole:
            return self._as_activation(frame, module, output, origin)
        if inner or (known is not None and known.site is not None) or origin.parameters:
            return False
        return frame.leaf and self._as_activation(frame, module, output, origin)

    def _as_norm(self, frame: Frame, module: nn.Module, output: Tensor, origin: Origin) -> bool:
        assert frame.source is not None
        self._undo(frame)
        self.ledger.retract(frame.sites)
        facts, name = normaliser(module), type(module).__name__
        add_norm(
            self.ledger, output, origin, name, frame.path, facts, frame.source, leaf=False, call=frame.call
        )
        self.ledger.sites[-1].learned = self._learned(module)
        return True

    def _as_activation(self, frame: Frame, module: nn.Module, output: Tensor, origin: Origin) -> bool:
        """Take a leaf module for an activation: by its function where the module is known, else by its result."""
        source, name = frame.source, type(module).__name__
        assert source is not None
        if sum(p.numel() for p in module.parameters()) > 16:
            return False
        if origin.site is not None and origin.expression.steps == 0:
            expression = from_module(module, name)
            if expression is not None and agrees(expression, source, output):
                self._undo(frame)
                self.ledger.retract(frame.sites)  # of a formula in its parameters each step had a row
                whole = expression.times(origin.expression.gain, origin.expression.noise)
                whole = replace(whole, learned=self._learned(module))
                like = self.ledger.like(origin, whole, name, frame.path)
                self.ledger.mark(output, replace(like, call=frame.call))
                return True
        if len(self.ledger.sites) > frame.sites or not follows(source, output):
            return False
        unit = origin.unit if origin.unit >= -output.dim() else -1
        site, _ = self.ledger.site(
            output,
            frame.path,
            "activation",
            name,
            unit,
            Origin(ancestors=origin.sites),
            leaf=False,
            call=frame.call,
        )
        site.learned = self._learned(module)
        return True

    def _learned(self, module: nn.Module) -> tuple[str, ...]:
        names = (self.ledger.parameter_names.get(id(p)) for p in module.parameters())
        return tuple(n for n in names if n is not None)

    def _undo(self, frame: Frame) -> None:
        """A whole module was recognised: its inner steps are no longer uses that theory cannot follow."""
        for site in frame.opaque:
            site.opaque -= 1
