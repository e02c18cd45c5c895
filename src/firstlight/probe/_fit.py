"""Fit: whether a loss fits the output that it is given: what it compares, and how low it can fall."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from firstlight.files.plain_data import Record

# Values that a last activation can give, by what its name begins with; the longer names first.
REACH: dict[str, tuple[float, float]] = {
    "cosine": (-1.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "logsigmoid": (-math.inf, 0.0),
    "sigmoid": (0.0, 1.0),
    "hardtanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "softplus": (0.0, math.inf),
    "tanhshrink": (-math.inf, math.inf),
    "tanh": (-1.0, 1.0),
    "erf": (-1.0, 1.0),
    "relu6": (0.0, 6.0),
    "relu": (0.0, math.inf),
    "exp": (0.0, math.inf),
    "square": (0.0, math.inf),
}
# A loss is recognised by its value, to this relative error.
SAME = 1e-3
# Names of losses, as torch and others give them, in small letters without separators; the longer first.
NAMES = {
    "bcewithlogits": "binary cross-entropy",
    "binarycrossentropywithlogits": "binary cross-entropy",
    "binarycrossentropy": "",
    "crossentropy": "cross-entropy",
    "gaussiannll": "",
    "poissonnll": "",
    "nllloss": "negative log-likelihood",
    "kldiv": "divergence",
    "mseloss": "squared error",
    "smoothl1": "smooth absolute error",
    "huber": "smooth absolute error",
    "l1loss": "absolute error",
}
ELEMENTWISE = ("squared error", "absolute error", "smooth absolute error")
# Rounding of float16 in a sum of probabilities.
NEAR = 2e-3


@dataclass(frozen=True)
class LossValue:
    """The value of a loss, and its name, by which one with weights or smoothed labels is known.

    Examples
    --------
    >>> LossValue(2.5, "CrossEntropyLoss").named, LossValue(2.5, "PoissonNLLLoss").named
    ('cross-entropy', '')
    """

    value: float
    name: str = ""

    @property
    def named(self) -> str:
        """The kind of loss that the name tells, or an empty text."""
        name = self.name.lower().replace("_", "").replace(" ", "")
        return next((kind for key, kind in NAMES.items() if key in name), "")

    def by_value(self, losses: dict[str, Tensor]) -> str:
        """The name of the loss whose mean or sum is the value."""
        for name, each in losses.items():
            # of a loss that is nearly gone float32 keeps no digits
            if self.gap(each) <= max(SAME * abs(self.value), 1e-7):
                return name
        return ""

    def gap(self, each: Tensor) -> float:
        """How far the value is from the mean, the sum, the sum over a sample or half of the mean of a loss."""
        mean, total = float(each.mean()), float(each.sum())
        return min(abs(self.value - v) for v in (mean, total, total / max(len(each), 1), mean / 2))

    def among(self, losses: dict[str, Tensor]) -> str:
        """The loss by its value, else by its name."""
        return self.by_value(losses) or (self.named if self.named in losses else "")


def reach(op: str, output: Tensor) -> tuple[float, float]:
    """The lowest and the highest value that a last activation can give; without a bound where none is known.

    Examples
    --------
    >>> reach("Sigmoid", torch.tensor([0.2, 0.7])), reach("linear", torch.zeros(2))
    ((0.0, 1.0), (-inf, inf))
    """
    name = op.lower()
    low, high = next((r for key, r in REACH.items() if name.startswith(key)), (-math.inf, math.inf))
    # a function of the same name may have bounds of its own
    inside = bool(((output >= low) & (output <= high)).all())
    return (low, high) if inside else (-math.inf, math.inf)


def is_law(output: Tensor, axis: int = -1) -> bool:
    """Whether the entries along an axis are probabilities that sum to one."""
    if output.shape[axis] < 2:
        return False
    return bool((output >= 0).all() and ((output.sum(axis) - 1).abs() < NEAR).all())


def is_log_law(output: Tensor, axis: int = -1) -> bool:
    """Whether the entries along an axis are logarithms of probabilities."""
    return bool((output.logsumexp(axis).abs() < NEAR).all())


def classes_misfit(logits: Tensor, labels: Tensor, loss: LossValue, op: str = "") -> Record:
    """What is wrong between scores (samples × classes) and labels, with the loss that the best output has.

    Parameters
    ----------
    logits, labels
        One row and one label for each sample.
    loss
        What is known of the loss.
    op
        The model's last activation.
    """
    count = logits.shape[1]
    entropy = F.cross_entropy(logits, labels, reduction="none")
    picked = -logits.gather(1, labels[:, None])[:, 0]
    kind = loss.among({"cross-entropy": entropy, "negative log-likelihood": picked})
    if not kind:
        return {}
    if len(logits) > 1 and (is_law(logits, 0) or is_log_law(logits, 0)) and not is_log_law(logits):
        return {"misfit": "axis", "misfit_kind": kind}
    if kind == "cross-entropy" and is_law(logits):
        return {"misfit": "softmax", "misfit_kind": kind, "floor": math.log(1 + (count - 1) / math.e)}
    low, high = reach(op, logits)
    if kind == "cross-entropy" and math.isfinite(high - low):
        floor = math.log1p((count - 1) * math.exp(low - high))
        return {"misfit": "cosine" if op == "cosine" else "bounded", "misfit_kind": kind, "floor": floor}
    if kind == "negative log-likelihood" and not is_log_law(logits):
        misfit = "no-logarithm" if is_law(logits) else "unbounded"
        return {"misfit": misfit, "misfit_kind": kind}
    return {}


def laws_misfit(loss: str, given: Tensor, axis: int) -> Record:
    """What is wrong between a loss of classes, by torch's name, and what it is given, with classes along an axis.

    Parameters
    ----------
    loss
        ``"cross_entropy"``, which takes scores, or ``"nll_loss"`` or ``"ctc_loss"``, which take logarithms of laws.
    given
        The first argument of the loss.
    axis
        The axis of the classes.

    Examples
    --------
    >>> laws_misfit("nll_loss", torch.zeros(2, 2), 1)["misfit"], laws_misfit("nll_loss", torch.full((2, 2), -0.6931), 1)
    ('unbounded', {})
    """
    if given.dim() < 2 or given.shape[axis] < 2 or not torch.isfinite(given).any():
        return {}
    count, law = given.shape[axis], is_law(given, axis)
    if loss == "cross_entropy":
        floor = math.log(1 + (count - 1) / math.e)
        known = {"misfit_kind": "cross-entropy", "floor": floor, "guess": math.log(count), "classes": count}
        return {"misfit": "softmax"} | known if law else {}
    if is_log_law(given, axis):
        return {}
    kind = "negative log-likelihood" if loss == "nll_loss" else "CTC loss"
    found: dict[str, object] = {"misfit": "no-logarithm" if law else "unbounded", "misfit_kind": kind}
    others = [
        a
        for a in range(given.dim())
        if a != axis % given.dim() and given.shape[a] > 1 and is_log_law(given, a)
    ]
    return found | ({"misfit_axis": others[0]} if others else {})


def reals_misfit(o: Tensor, t: Tensor, kind: str, op: str, guess: float) -> Record:
    """What is wrong between real outputs and targets of one shape, with the loss that the best output has.

    Parameters
    ----------
    o, t
        Outputs and targets.
    kind
        The name of the loss, where it was recognised.
    op
        The model's last activation.
    guess
        The loss of the best constant output.
    """
    low, high = reach(op, o)
    if kind == "binary cross-entropy":
        best = torch.logit(t.clamp(0.0, 1.0)).clamp(low, high).nan_to_num()
        least = F.binary_cross_entropy_with_logits(torch.logit(t, 1e-9), t)
        floor = float(F.binary_cross_entropy_with_logits(best, t) - least)
        return {"misfit": "bounded", "misfit_kind": kind, "floor": floor, "guess": guess} if floor > 0 else {}
    if kind:
        away = t - t.clamp(low, high)
        floor = float(away.square().mean() if "squared" in kind else away.abs().mean())
        return {"misfit": "reach", "misfit_kind": kind, "floor": floor, "guess": guess} if floor > 0 else {}
    return {}


def divergence_misfit(o: Tensor, t: Tensor, loss: LossValue) -> Record:
    """Whether a divergence between laws is taken of outputs that are no logarithms of a law."""
    if t.shape != o.shape or o.dim() < 2 or bool((t < 0).any()) or is_log_law(o):
        return {}
    if not loss.among({"divergence": t.xlogy(t) - t * o}):
        return {}
    misfit = "no-logarithm" if is_law(o) else "unbounded"
    return {"misfit": misfit, "misfit_kind": "Kullback–Leibler divergence"}


def _each(o: Tensor, t: Tensor) -> dict[str, Tensor]:
    """Losses that are written by hand for one output and one target each."""
    return {
        "squared error": (o - t).square(),
        "absolute error": (o - t).abs(),
        "logistic loss": F.softplus(-o * t),
        "hinge loss": F.relu(1 - o * t),
        "binary cross-entropy": F.softplus(o) - o * t,
    }


def broadcast_misfit(o: Tensor, t: Tensor, loss: LossValue) -> Record:
    """Whether a loss compared every output with every target, because the shapes differ.

    Examples
    --------
    >>> o, t = torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 2.0])
    >>> broadcast_misfit(o, t, LossValue(float((o - t).square().mean())))["misfit"]
    'broadcast'
    """
    if o.shape == t.shape or o.numel() != t.numel():
        return {}
    try:
        shape = torch.broadcast_shapes(o.shape, t.shape)
    except RuntimeError:
        return {}
    if math.prod(shape) <= o.numel() or math.prod(shape) > 1 << 22:
        return {}
    spread, paired = _each(o, t), _each(o.reshape(-1), t.reshape(-1))
    # torch's own losses broadcast what they are given
    kind = loss.by_value(spread) or ("" if loss.named not in ELEMENTWISE else loss.named)
    # at a start the two may lie near each other
    if not kind or (kind in paired and loss.gap(paired[kind]) <= loss.gap(spread[kind])):
        return {}
    return {"misfit": "broadcast", "misfit_kind": kind, "pairs": "×".join(map(str, shape))}
