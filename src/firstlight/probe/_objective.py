"""The sizes a loss meets at the start: outputs, targets, the first loss, and the loss of a guess."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from firstlight.files.plain_data import Record
from firstlight.probe._fit import (
    LossValue,
    broadcast_misfit,
    classes_misfit,
    divergence_misfit,
    is_law,
    laws_misfit,
    reals_misfit,
)
from firstlight.probe.graph._operations import NUMBERS, plain_name
from firstlight.probe.trace._ledger import Ledger, tensors_in
from firstlight.probe.trace._origins import heed, tensors_of
from firstlight.probe.trace.calling import primary_output

# Losses of classes, with the axis of the classes.
_OF_CLASSES = {"nll_loss": 1, "ctc_loss": -1, "cross_entropy": 1}


class Heeded(TorchFunctionMode):
    """Listens to a loss: what it turns into numbers, the derivatives it takes, and what the losses in it are given.

    Attributes
    ----------
    misfit
        What is wrong between a loss of classes inside the caller's loss and what it is given; empty where nothing is.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger
        self.misfit: Record = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, first = plain_name(func), args[0] if args else None
        if getattr(func, "__name__", "") in NUMBERS and isinstance(first, Tensor) and first.requires_grad:
            origin = self.ledger.origin(first)
            self.ledger.picks.told |= {site.index for site in origin.nearest} if origin is not None else set()
        if name in _OF_CLASSES and isinstance(first, Tensor) and not self.misfit:
            self.misfit = laws_misfit(name, first.detach().double(), _OF_CLASSES[name])
        out = func(*args, **(kwargs or {}))
        self._losing(args, out)
        heed(self.ledger, name, args, [(t, None) for t in tensors_in(args)], out)
        return out

    def _losing(self, args: Any, out: object) -> None:
        """Follow what loses its graph in the loss, by detach() or a comparison, to where the loss uses it."""
        picks, read, made = self.ledger.picks, list(tensors_in(args)), tensors_of(out)
        sites = picks.lost.choosing([(t, None) for t in read])
        if sites:
            picks.lost.note(made, sites)
        elif any(t.requires_grad for t in read) and torch.is_grad_enabled():
            flat = [t for t in made if not t.requires_grad]
            origins = [
                o for t in read if flat and t.requires_grad and (o := self.ledger.origin(t)) is not None
            ]
            picks.lost.note(flat, tuple({s.index: s for o in origins for s in o.nearest}.values()))


def sizes(output: object, targets: object, value: Tensor, op: str = "", name: str = "") -> Record:
    """What can be said of the first loss where there are targets; empty where there are none.

    ``loss_kind`` names the loss that gives the value. ``loss_mean`` is its mean over entries, and ``guess`` is that
    mean for the best constant output (ln C for C classes). ``logit_std`` is the deviation of the outputs over classes.
    ``target_rms`` and ``output_rms`` are the sizes of real targets and of the output. ``law`` is the number of classes
    whose probabilities a squared error reads. ``misfit`` says what is wrong between the loss and the output, and
    ``floor`` says how low the loss can fall.

    Parameters
    ----------
    output, targets
        Of the model, and what they are compared with.
    value
        The loss.
    op
        The activation that the output comes from.
    name
        The name of the loss.
    """
    main = primary_output(output)
    if main is None or not isinstance(targets, Tensor) or not main.numel() or not targets.numel():
        return {}
    o, t = main.detach().double(), targets.detach().to(main.device)
    loss = LossValue(float(value.detach()), name)
    if not torch.isfinite(o).all():
        return {}
    if not t.is_floating_point():
        return _classes(o, t, loss, op)
    return _reals(o, t.double(), loss, op) if t.numel() == o.numel() else {}


def _classes(o: Tensor, t: Tensor, loss: LossValue, op: str) -> Record:
    """Logits over classes and integer targets."""
    axis = -1 if o.shape[:-1] == t.shape else 1
    if o.dim() != t.dim() + 1 or t.dtype == torch.bool or o.movedim(axis, -1).shape[:-1] != t.shape:
        return {}
    logits = o.movedim(axis, -1).reshape(-1, o.shape[axis])
    if logits.shape[1] < 2:
        return {}
    labels = t.reshape(-1).long()
    kept = (labels >= 0) & (labels < logits.shape[1])
    found: dict[str, object] = {"logit_std": float(logits.std(dim=1, correction=0).mean())}
    if kept.any():
        logits, labels = logits[kept], labels[kept]
        kind = loss.by_value({"cross-entropy": F.cross_entropy(logits, labels, reduction="none")})
        if kind:
            mean = F.cross_entropy(logits, labels)
            found |= {"loss_kind": kind, "loss_mean": float(mean)}
        found |= {"guess": math.log(logits.shape[1]), "classes": logits.shape[1]} | classes_misfit(
            logits, labels, loss, op
        )
    return found


def _reals(o: Tensor, t: Tensor, loss: LossValue, op: str) -> Record:
    """Real outputs and targets: squared, absolute and smooth errors, and logits of probabilities."""
    wrong = broadcast_misfit(o, t, loss)
    if wrong:
        return wrong
    divergence = divergence_misfit(o, t, loss)
    flat = t.reshape(len(t), -1) if t.dim() else t.reshape(1, 1)
    o, t = o.reshape(flat.shape), flat
    rest, far = o - t, t - t.mean(dim=0)
    near = t - t.median(dim=0).values
    found: dict[str, object] = {
        "target_rms": float(t.square().mean().sqrt()),
        "output_rms": float(o.square().mean().sqrt()),
    }
    losses = {
        "squared error": (rest.square(), far.square()),
        "absolute error": (rest.abs(), near.abs()),
        "smooth absolute error": (
            F.smooth_l1_loss(o, t, reduction="none"),
            F.smooth_l1_loss(near, 0 * near, reduction="none"),
        ),
    }
    if bool(((t >= 0) & (t <= 1)).all()):
        share = t.mean(dim=0).clamp(1e-6, 1 - 1e-6).expand_as(t)
        losses["binary cross-entropy"] = (
            F.binary_cross_entropy_with_logits(o, t, reduction="none"),
            F.binary_cross_entropy(share, t, reduction="none"),
        )
    each = {name: losses[name][0] for name in losses}
    kind = loss.by_value(each)
    if kind:
        found |= {
            "loss_kind": kind,
            "guess": float(losses[kind][1].mean()),
            "loss_mean": float(losses[kind][0].mean()),
        }
    if kind == "squared error" and is_law(o):
        found["law"] = o.shape[1]
    known = kind or loss.among(each)
    return found | (reals_misfit(o, t, known, op, float(losses[known][1].mean())) if known else divergence)
