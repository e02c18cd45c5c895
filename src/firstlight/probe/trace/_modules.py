"""Modules: follows calls of modules, and recognises those that are one normaliser or one activation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.probe.graph import _operations as ops
from firstlight.probe.graph._expression import Expression, agrees, from_module
from firstlight.probe.graph._site import Origin
from firstlight.probe.read._weight import normaliser
from firstlight.probe.trace._ledger import Frame, Ledger, tensors_in


def add_norm(
    ledger: Ledger,
    out: Tensor,
    origin: Origin,
    op: str,
    path: str,
    facts: dict[str, Any],
    source: Tensor,
    *,
    leaf: bool = True,
) -> Tensor:
    """Open the row of a normaliser."""
    unit = -1 if op not in ops.NORMS or op in ("layer_norm", "rms_norm") else 1 - max(source.dim(), 2)
    site, traced = ledger.site(out, path, "norm", op, unit, origin, leaf=leaf)
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

    def close(self) -> None:
        """Stop listening: checkpointed parts run their forward again during the backward."""
        self.closed = True

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
            if self.paused or self.closed:
                return
            self.ledger.module_calls[path] = self.ledger.module_calls.get(path, 0) + 1
            source = next(tensors_in(args, kwargs), None)
            origin = self.ledger.origins.get(source)
            self.ledger.frames.append(Frame(path, module, len(self.ledger.sites), source, origin))
            self.ledger.place = path or type(module).__name__

        return enter

    def _leaving(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self.paused or self.closed or len(self.ledger.frames) == 1:
            return
        frame = self.ledger.frames.pop()
        self.paused = True  # hooks run inside the traced forward: what they compute is not part of it
        try:
            if not self._recognised(frame, module, output):
                self.ledger.frames[-1].opaque += frame.opaque
        finally:
            self.paused = False

    def _recognised(self, frame: Frame, module: nn.Module, output: Any) -> bool:
        """Take a module whose inside gave no row for what its whole is: a normaliser or an activation."""
        source, origin = frame.source, frame.origin
        inner = self.ledger.sites[frame.sites :]
        if source is None or origin is None or any(site.kind != "activation" for site in inner):
            return False
        if not isinstance(output, Tensor) or output is source or not output.is_floating_point():
            return False
        if output.shape != source.shape:
            return False
        known = self.ledger.origins.get(output)
        name = type(module).__name__
        if "norm" in name.lower():
            self._undo(frame)
            self.ledger.retract(frame.sites)
            add_norm(self.ledger, output, origin, name, frame.path, normaliser(module), source, leaf=False)
            names = (self.ledger.parameter_names.get(id(p)) for p in module.parameters())
            self.ledger.sites[-1].learned = tuple(n for n in names if n is not None)
            return True
        plain = not inner and origin.site is not None and origin.expression.steps == 0
        if not plain or (known is not None and known.site is not None):
            return False
        expression = self._as_function(module)
        if expression is None or not agrees(expression, source, output):
            return False
        self._undo(frame)
        whole = expression.times(origin.expression.gain, origin.expression.noise)
        self.ledger.mark(output, self.ledger.like(origin, whole, name, frame.path))
        return True

    def _as_function(self, module: nn.Module) -> Expression | None:
        if sum(p.numel() for p in module.parameters()) > 16:
            return None
        with torch.random.fork_rng(devices=[]):
            return from_module(module, type(module).__name__)

    def _undo(self, frame: Frame) -> None:
        """A whole module was recognised: its inner steps are no longer uses that theory cannot follow."""
        for site in frame.opaque:
            site.opaque -= 1
