"""Outcomes: every start trained by SGD and by Adam at a grid of rates; nothing here knows a verdict."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from firstlight.experiments.verdicts._lines import append, lines, short
from firstlight.experiments.verdicts.networks import Recurrent
from firstlight.experiments.verdicts.starts import Architecture, architecture, build, starts
from firstlight.experiments.verdicts.tasks import Tasks
from firstlight.files.plain_data import Record

RATES: dict[str, tuple[float, ...]] = {"sgd": (0.003, 0.02, 0.1, 0.5), "adam": (0.0003, 0.001, 0.005, 0.02)}
OPTIMISERS = tuple(RATES)
STEPS, BATCH, JUDGED = 100, 32, 256
TRIED = (3, 6, 15)  # steps of a trial after which losses are noted
_ORDERS = 1_000_003  # seeds of batches are this far apart from one order to the next


@dataclass(frozen=True)
class Outcome:
    """What training made of one start.

    Attributes
    ----------
    start
        ``"architecture.start"``.
    first
        Loss at the start, on the samples that the last loss is measured on.
    guess
        Loss of a guess that knows the classes' shares.
    sgd, adam
        Last loss at each rate of `RATES`; infinite where training diverged.
    """

    start: str
    first: float
    guess: float
    sgd: tuple[float, ...]
    adam: tuple[float, ...]

    def best(self, optimiser: str) -> float:
        """The last loss at the best rate."""
        losses: tuple[float, ...] = getattr(self, optimiser)
        return min(losses)


def train(
    one: Architecture, tasks: Tasks, *, steps: int = STEPS, seed: int = 0, order: int = 0
) -> list[Outcome]:
    """Train the starts of an architecture, all starts and rates side by side as one stack of weights.

    Another ``order`` draws other batches, for the same starts.
    """
    inputs, targets, models = stackable(one, tasks, seed)
    judged = (inputs[:JUDGED], targets[:JUDGED])
    guess = guessed(judged[1])
    with torch.no_grad():
        first = [_finite(float(functional.cross_entropy(model(judged[0]), judged[1]))) for model in models]
    g = torch.Generator().manual_seed(one.number + _ORDERS * order)
    rows = [torch.randint(len(inputs), (BATCH,), generator=g) for _ in range(steps)]
    last = {
        name: _by_rate(
            courses(models, (inputs, targets), judged, name, rows=rows, marks=(steps,)), steps, name
        )
        for name in RATES
    }
    return [
        Outcome(start.identity, first[i], guess, last["sgd"][i], last["adam"][i])
        for i, start in enumerate(starts(one, seed=seed))
    ]


def tried(
    one: Architecture, tasks: Tasks, *, count: int, marks: Sequence[int] = TRIED, seed: int = 0
) -> list[dict[str, tuple[float, ...]]]:
    """A trial of the starts of an architecture: a few steps on the samples that an audit reads.

    The samples are taken in turn, `BATCH` at a time. For each start and optimiser: the loss on all of them after each
    of ``marks`` steps at the best of the `RATES`, in guesses; infinite where training diverged at every rate.
    """
    inputs, targets, models = stackable(one, tasks, seed)
    data = inputs[:count], targets[:count]
    rows = [torch.arange(BATCH) + BATCH * (step % (count // BATCH)) for step in range(max(marks))]
    guess = guessed(data[1])
    found: list[dict[str, tuple[float, ...]]] = [{} for _ in models]
    for name in RATES:
        trained = courses(models, data, data, name, rows=rows, marks=marks)
        best = [[min(losses) for losses in _by_rate(trained, mark, name)] for mark in marks]
        for which, each in enumerate(zip(*best, strict=True)):
            found[which][name] = tuple(loss / guess for loss in each)
    return found


def guessed(targets: Tensor) -> float:
    """Loss of a guess that knows the classes' shares."""
    shares = torch.bincount(targets).double() / len(targets)
    return -float((shares * shares.clamp_min(1e-12).log()).sum())


def stackable(one: Architecture, tasks: Tasks, seed: int) -> tuple[Tensor, Tensor, list[nn.Module]]:
    """Inputs, targets and the starts of an architecture, in the form that a stack of weights can run."""
    inputs, targets, features, length = tasks.samples(one)
    models = [build(start, features, length, seed=seed) for start in starts(one, seed=seed)]
    for model in models:
        if isinstance(model, Recurrent):
            model.unrolled = True
    return inputs, targets, models


def _by_rate(trained: Sequence[dict[int, float]], mark: int, optimiser: str) -> list[tuple[float, ...]]:
    """Losses after a number of steps, one tuple of rates for each model."""
    count = len(RATES[optimiser])
    return [tuple(one[mark] for one in trained[i : i + count]) for i in range(0, len(trained), count)]


def courses(
    models: Sequence[nn.Module],
    data: tuple[Tensor, Tensor],
    judged: tuple[Tensor, Tensor],
    optimiser: str,
    *,
    rows: Sequence[Tensor],
    marks: Sequence[int],
    rates: Sequence[float] = (),
) -> list[dict[int, float]]:
    """Train every model at every rate, all side by side as one stack of weights.

    Parameters
    ----------
    models
        Modules of one architecture.
    data, judged
        Inputs and targets to train on, and those that losses are measured on.
    optimiser
        ``"sgd"`` or ``"adam"``.
    rows
        For each step, the rows of its batch.
    marks
        Numbers of steps after which losses are measured.
    rates
        The rates, those of `RATES` by default.

    Returns
    -------
    list[dict[int, float]]
        For each model, for each rate: the loss after each of the marks; infinite where it is not finite.
    """
    rates = rates or RATES[optimiser]
    weights, _ = stack_module_state([model for model in models for _ in rates])
    weights = {name: value.detach().clone().requires_grad_() for name, value in weights.items()}
    rate = torch.tensor(rates).repeat(len(models))
    moments = {name: (torch.zeros_like(w), torch.zeros_like(w)) for name, w in weights.items()}
    found: list[dict[int, float]] = [{} for _ in rate]

    def losses(inputs: Tensor, targets: Tensor) -> Tensor:
        def one(values: dict[str, Tensor]) -> Tensor:
            return functional.cross_entropy(functional_call(models[0], values, (inputs,)), targets)

        return torch.vmap(one)(weights)

    with sdpa_kernel(SDPBackend.MATH):  # the kernel for the CPU cannot run a stack of weights
        for step, chosen in enumerate(rows, start=1):
            value = losses(data[0][chosen], data[1][chosen])
            gradients = torch.autograd.grad(value.sum(), list(weights.values()))
            with torch.no_grad():
                for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
                    each = rate.view(-1, *[1] * (weight.ndim - 1))
                    if optimiser == "adam":
                        gradient = _adam(moments[name], gradient, step)
                    weight.sub_(each * gradient)
                if step in marks:
                    for one, loss in zip(found, losses(*judged).tolist(), strict=True):
                        one[step] = _finite(loss)
    return found


def _adam(moments: tuple[Tensor, Tensor], gradient: Tensor, step: int) -> Tensor:
    """What Adam subtracts at a rate of 1; the moments are updated."""
    mean, square = moments
    mean.lerp_(gradient, 0.1)
    square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
    size = (square / (1 - 0.999**step)).sqrt_().add_(1e-8)
    return mean / (1 - 0.9**step) / size


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def run(
    path: str | Path,
    *,
    numbers: Iterable[int],
    tasks: Tasks,
    steps: int = STEPS,
    seed: int = 0,
    order: int = 0,
) -> Iterator[tuple[Architecture, list[Outcome]]]:
    """Train what the file does not hold yet, one line an architecture, and give each as it is done.

    A run that was stopped goes on where it was; a line that was cut is trained again.
    """
    target = Path(path)
    done = {line["architecture"] for line in lines(target) if line.get("order", 0) == order}
    for number in numbers:
        if number in done:
            continue
        one, start = architecture(number, seed=seed), time.perf_counter()
        found = train(one, tasks, steps=steps, seed=seed, order=order)
        seconds = round(time.perf_counter() - start, 2)
        record = {"architecture": number, "seconds": seconds, "outcomes": [_plain(o) for o in found]}
        record |= {"order": order} if order else {}
        append(target, record)
        yield one, found


def read(path: str | Path, *, order: int = 0) -> list[Outcome]:
    """The outcomes in a file that `run` wrote, of one order of the batches, sorted by architecture."""
    known = (line for line in lines(Path(path)) if line.get("order", 0) == order)
    found = sorted(known, key=lambda line: int(line["architecture"]))
    return [_outcome(one) for line in found for one in line["outcomes"]]


def _plain(outcome: Outcome) -> Record:
    return {
        "start": outcome.start,
        "first": short(outcome.first),
        "guess": short(outcome.guess),
        "sgd": [short(v) for v in outcome.sgd],
        "adam": [short(v) for v in outcome.adam],
    }


def _outcome(data: Record) -> Outcome:
    sgd, adam = (tuple(float(v) for v in data[name]) for name in RATES)
    return Outcome(data["start"], float(data["first"]), float(data["guess"]), sgd, adam)
