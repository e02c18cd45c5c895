"""Short training of copies: whether a fix learns where the model as it came learnt, and which copy learns best."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from firstlight.clean_room import outside
from firstlight.errors import AuditError, DomainError
from firstlight.fixing.remedies import Course
from firstlight.probe import Protocol
from firstlight.probe.guard import fresh, untouched
from firstlight.probe.trace.calling import call

# what candidates are trained with: two rates each, as people begin with
PLANS: Mapping[str, tuple[float, ...]] = {"sgd": (0.01, 0.1), "adam": (0.001, 0.01)}
# the trial of every fix: a few steps on the batch, at careful rates
_CAREFUL = {"sgd": (0.01, 0.05), "adam": (0.001,)}
_FEW = 6
# measured on the starts of the bench: copies whose loss falls by less than a quarter in the trial learn slowly
_FALLS = 0.25
# a trial that ends lower by this share is clearly better
_CLEARLY = 0.1
# two short trainings of equally good starts may differ by this share
_ALIKE = 0.05
# and a start whose loss falls less than half as far learns more slowly
_HALF, _LEAST = 0.5, 1e-3
_RISE = 3.0  # a loss that becomes four times larger over a few steps diverges; a smaller rise may be a first swing
_FIRST = 2.0  # how much larger than before a first loss may be

Batches = Sequence[tuple[Any, Any]]


def batches_of(batch: object, protocol: Protocol, train: Iterable[Any] | None, steps: int) -> Batches:
    """What is trained on: pairs of a batch and its targets, as many as the steps need.

    Raises
    ------
    DomainError
        If an item of the training data is not a pair of inputs and targets, or there is none.
    """
    if train is None:
        return [(batch, protocol.targets)]
    found = list(itertools.islice(train, steps))
    if not found or not all(isinstance(item, tuple | list) and len(item) == 2 for item in found):
        got = type(found[0]).__name__ if found else "nothing"
        raise DomainError(
            f"while fixing a model: expected training data that gives pairs of inputs and targets, got {got}; pass a "
            "DataLoader of pairs, or leave train out to train on the batch"
        )
    return [(item[0], item[1]) for item in found]


def trainable(model: nn.Module, batch: object, protocol: Protocol) -> bool:
    """Whether the protocol has a loss that training may lower: targets, a loss, or the model's own."""
    if protocol.targets is not None or protocol.loss is not None:
        return True
    clone = copy.deepcopy(model)
    try:
        with untouched(clone, training=None, seed=protocol.seed, parameters=False), torch.no_grad():
            with outside():
                output = call(clone, fresh(batch))
            _, what = protocol.objective(output)
    except (AuditError, RuntimeError):
        return False
    return what == "the model's own loss"


def courses(
    model: nn.Module, batches: Batches, protocol: Protocol, steps: int, plans: Mapping[str, tuple[float, ...]]
) -> tuple[Course, ...]:
    """A training of a fresh copy for each optimiser and rate, all on the same batches from the same seed."""
    return tuple(
        _course(copy.deepcopy(model), batches, protocol, steps, name, rate)
        for name, rates in plans.items()
        for rate in rates
    )


def _course(
    model: nn.Module, batches: Batches, protocol: Protocol, steps: int, name: str, rate: float
) -> Course:
    others: dict[str, object] = {"the batches": batches, "the loss": protocol.loss}
    with untouched(
        model, training=protocol.training, seed=protocol.seed, others=others, parameters=False
    ) as held:
        return held.shield.run(partial(_trained, model, batches, protocol, steps, name, rate))


def _trained(
    model: nn.Module, batches: Batches, protocol: Protocol, steps: int, name: str, rate: float
) -> Course:
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(weights, lr=rate) if name == "adam" else torch.optim.SGD(weights, lr=rate)
    losses: list[float] = []
    for step in range(steps + 1):
        inputs, targets = fresh(batches[step % len(batches)])
        with outside():
            output = call(model, inputs)
        value, _ = replace(protocol, targets=targets).objective(output)
        losses.append(float(value.detach()))
        if not math.isfinite(losses[-1]):
            return Course(name, rate, losses[0], math.inf)
        if step < steps:
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
    tail = losses[-max(steps // 5, 1) :]
    return Course(name, rate, losses[0], math.fsum(tail) / len(tail))


def trial(model: nn.Module, batch: object, protocol: Protocol) -> tuple[Course, ...]:
    """A few careful steps of plain gradient descent and of Adam on the batch; empty where they cannot be made."""
    try:
        return courses(model, [(batch, protocol.targets)], protocol, _FEW, _CAREFUL)
    except (RuntimeError, AuditError):  # the model has no gradient, or no room for a second backward
        return ()


def harm(before: Sequence[Course], after: Sequence[Course]) -> str:
    """Why plain gradient descent trains a copy worse than the model as it came; empty without a reason."""
    for old, new in zip(before, after, strict=False):
        if math.isfinite(old.first) and old.first > 0 and not new.first <= _FIRST * old.first:
            return f"its first loss is {new.first:.3g}, and was {old.first:.3g}"
        if new.optimiser == "sgd" and new.fall < -_RISE and old.fall > -_RISE:
            at = f"plain gradient descent at a rate of {new.rate:g} diverges"
            return f"{at}: its loss goes from {new.first:.3g} to {new.last:.3g}"
    return ""


def learns(new: Sequence[Course], old: Sequence[Course]) -> bool:
    """Whether a trial says that a copy will do: its loss falls by a quarter with each optimiser.

    The fall is counted from the copy's own first loss, or from that of the model as it came if that is lower: a copy
    that begins above a guess and comes back to the guess has learnt nothing.
    """
    firsts = [max((course.first for course in one), default=0.0) for one in (new, old)]
    begin = min((first for first in firsts if math.isfinite(first)), default=0.0)
    return all(last <= (1 - _FALLS) * begin for last in best(new).values())


def learns_no_worse(new: Sequence[Course], old: Sequence[Course]) -> bool:
    """Whether a trial ends no higher than that of the model as it came, and falls half as far, with each optimiser."""
    ours, theirs = best(new), best(old)
    first, was = (max((course.first for course in one), default=0.0) for one in (new, old))
    # what the model as it came does not lose by training, since it diverges or has no finite loss, is no measure
    fell = {name: was - last if math.isfinite(was - last) else 0.0 for name, last in theirs.items()}
    return all(
        ours[name] <= (1 + _ALIKE) * theirs[name] and first - ours[name] >= _HALF * fell[name] - _LEAST
        for name in ours
    )


def learns_clearly_better(new: Sequence[Course], old: Sequence[Course]) -> bool:
    """Whether a trial ends lower by a tenth with the optimisers together, and with none of them higher."""
    return bool(new and old) and _lower(new, old, share=1 - _CLEARLY)


def best(trained: Sequence[Course]) -> dict[str, float]:
    """The last loss of each optimiser at its better rate."""
    found: dict[str, float] = {}
    for course in trained:
        found[course.optimiser] = min(found.get(course.optimiser, math.inf), course.last)
    return found


def diverging(trained: Sequence[Course]) -> tuple[str, ...]:
    """The optimisers with which training diverges at every rate."""
    return tuple(name for name, last in best(trained).items() if not math.isfinite(last))


def learns_better(new: Sequence[Course], old: Sequence[Course]) -> bool:
    """Whether the losses, summed over the optimisers, are lower, and no optimiser's is clearly higher."""
    return _lower(new, old, share=1.0)


def _lower(new: Sequence[Course], old: Sequence[Course], *, share: float) -> bool:
    """Whether fewer optimisers diverge, or the sum over those that do not is below a share of the old one."""
    ours, theirs = best(new), best(old)
    if any(ours[name] > (1 + _ALIKE) * theirs[name] + 1e-3 for name in ours if math.isfinite(theirs[name])):
        return False
    if diverging(new) != diverging(old):
        return True
    steady = [name for name in ours if math.isfinite(ours[name])]
    return sum(ours[name] for name in steady) < share * sum(theirs[name] for name in steady)


def suited(new: Sequence[Course], old: Sequence[Course]) -> tuple[str, ...]:
    """The optimisers whose loss is lower than the model's as it came."""
    ours, theirs = best(new), best(old)
    return tuple(name for name in ours if ours[name] < theirs[name])
