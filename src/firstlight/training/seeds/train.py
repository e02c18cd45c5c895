"""``train_seeds``: several seeds of one network, by the rules of a protocol, in memory or in a folder."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.render.numbers import counted
from firstlight.training.seeds.folder import TrainingFolder
from firstlight.training.seeds.images import Images, load_images, split
from firstlight.training.seeds.loop import Epochs, Group, judged
from firstlight.training.seeds.networks import Stack, draw_network
from firstlight.training.seeds.plan import TrainingPlan
from firstlight.training.seeds.result import End, SeedEpoch, SeedRun, TrainingResult
from firstlight.training.seeds.state import Standing, State
from firstlight.training.seeds.together import Crew, shares, suggested_groups

_log = logging.getLogger(__name__)


@checked
@clean
def train_seeds(
    plan: TrainingPlan,
    *,
    directory: str | Path | None = None,
    download: bool = False,
    out: str | Path | None = None,
    resume: bool = False,
    groups: int | None = None,
    images: Images | None = None,
    on_epoch: Callable[[int, tuple[SeedRun, ...]], object] | None = None,
) -> TrainingResult:
    """Train all seeds of a plan together, each as if it were alone.

    A seed whose loss or weights are not finite stops, and the others go on. The test part is looked at once, after
    training. The order of samples comes from seed and epoch, so a run that was killed and resumed gives the numbers
    of one that was not, bit for bit; the number of groups has to be the same, and of one group that of threads.

    Parameters
    ----------
    plan
        What to train.
    directory, download
        Where the image sets lie, and whether to fetch a missing one.
    out
        Folder of the run, written after every epoch; needs the package safetensors.
    resume
        Go on with the run in ``out``.
    groups
        How many groups of seeds train at the same time, each on one thread. The default is the number of groups of the
        run in ``out``. A new run has as many groups as torch has threads. It has one group if the networks are so small
        that threads gain nothing, or so large that one network keeps all threads busy.
    images
        The images, where several plans share them; loaded by the plan when absent.
    on_epoch
        Called after every epoch with its number and the seeds, whose test is not known yet.

    Raises
    ------
    LoadError
        The data is missing or damaged; the message says what to fetch.
    DomainError
        Data without classes, a name that is unknown, or fewer than one group.
    RunError
        The folder holds another plan or other groups, belongs to a process at work, or cannot be written; finished
        epochs are kept.

    References
    ----------
    Wolinski & Arbel, "Gaussian Pre-Activations in Neural Networks: Myth or Reality?", TMLR 2025.

    Examples
    --------
    >>> from firstlight.training import TrainingPlan, TrainingRules, train_seeds
    >>> rules = TrainingRules(batch=50, learning_rate=0.01)
    >>> plan = TrainingPlan(depth=2, width=20, data="digits", seeds=(0, 1, 2), epochs=3, rules=rules)
    >>> result = train_seeds(plan)
    >>> result.mean("test_accuracy")[0] > 0.5, [run.end for run in result.runs]
    (True, ['cap', 'cap', 'cap'])
    """
    if groups is not None and groups < 1:
        raise DomainError(
            f"while training {plan.label} in groups of seeds: expected at least 1 group, got {groups}; raise the "
            "number, or leave it out"
        )
    found = load_images(plan, directory=directory, download=download) if images is None else images
    stack = Stack([_drawn(plan, found, seed) for seed in plan.seeds])
    suggested = suggested_groups(plan, stack.start.shape[1])
    with (
        TrainingFolder.opened(out, plan, found, resume=resume, groups=groups, suggested=suggested) as folder,
        Crew(folder.groups) as crew,
    ):
        state = folder.load(State.fresh(plan, stack.start))
        before = state.epoch
        _train(plan, stack, state, found, folder, crew, on_epoch)
        result = TrainingResult(plan, _tested(plan, stack, state, found, crew), before)
        folder.finish(result.to_dict())
    return result


def _drawn(plan: TrainingPlan, images: Images, seed: int) -> nn.Sequential:
    """The network of a seed; a recipe that looks at data sees the first batch of the seed's training part."""
    rows = split(plan, len(images.known.classes), seed)[0][: plan.rules.batch]
    batch = (images.known.images[rows], images.known.classes[rows])
    return draw_network(plan, shape=images.shape, classes=images.count, seed=seed, batch=batch)


def _train(
    plan: TrainingPlan,
    stack: Stack,
    state: State,
    images: Images,
    folder: TrainingFolder,
    crew: Crew,
    on_epoch: Callable[[int, tuple[SeedRun, ...]], object] | None,
) -> None:
    """Epochs until every seed has ended."""
    known, checked_on = (
        torch.stack(rows)
        for rows in zip(*(split(plan, len(images.known.classes), s) for s in plan.seeds), strict=True)
    )

    def epoch(group: Group) -> tuple[Epochs, tuple[Tensor, Tensor]]:
        orders = torch.stack([_order(known[i], plan.seeds[i], state.epoch) for i in group.active])
        found = group.epoch(images.known, orders, halt=crew.halt)
        return found, judged(stack, group.parameters, images.known, checked_on[group.active])

    began, first = time.monotonic(), state.epoch
    groups: list[Group] = []
    while state.active and state.epoch < plan.epochs:
        start = time.perf_counter()
        if [i for group in groups for i in group.active] != state.active:
            groups = [Group(stack, state, plan.rules, some) for some in shares(state.active, crew.groups)]
        state.epoch += 1
        for group, found in zip(groups, crew.map(epoch, groups), strict=True):
            group.keep(steps=-(-known.shape[1] // plan.rules.batch))
            _note(plan, state, group, *found, time.perf_counter() - start)
        folder.save(state)
        _say(plan, state, (time.monotonic() - began) / (state.epoch - first))
        if on_epoch is not None:
            on_epoch(state.epoch, tuple(_run(one, plan) for one in state.seeds))


def _order(rows: Tensor, seed: int, epoch: int) -> Tensor:
    """The samples in the order of an epoch."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return rows[torch.randperm(len(rows), generator=generator)]


def _note(
    plan: TrainingPlan,
    state: State,
    group: Group,
    found: Epochs,
    validation: tuple[Tensor, Tensor],
    seconds: float,
) -> None:
    """Take an epoch into the state: rates, stops, divergence, the best weights."""
    finite = group.finite() & found.loss.isfinite() & validation[0].isfinite()
    for place, i in enumerate(group.active):
        one = state.seeds[i]
        epoch = SeedEpoch(
            state.epoch, float(found.loss[place]), float(found.accuracy[place]),
            float(validation[0][place]), float(validation[1][place]), one.rate, seconds,
        )  # fmt: skip
        if not finite[place]:
            one.epochs.append(epoch)
            one.end, one.diverged_step = "diverged", int(found.diverged_step[place])
            _log.warning("%s: seed %d diverged in epoch %d", plan.label, one.seed, state.epoch)
            continue
        one.see(epoch, plan.rules)
        if epoch.validation_loss < one.best_loss:
            one.best_loss, one.best_epoch = epoch.validation_loss, state.epoch
            state.best[i] = state.weights[i]


def _tested(
    plan: TrainingPlan, stack: Stack, state: State, images: Images, crew: Crew
) -> tuple[SeedRun, ...]:
    """Every seed with its test, by the weights of its best and of its last epoch."""

    def test(places: list[int]) -> list[list[float]]:
        rows = torch.arange(len(images.test.classes)).expand(len(places), -1)
        found = (judged(stack, weights[places], images.test, rows) for weights in (state.best, state.weights))
        return torch.stack([value for pair in found for value in pair], dim=1).tolist()

    places = shares(range(len(state.seeds)), crew.groups)
    runs = []
    for one, tests in zip(state.seeds, chain(*crew.map(test, places)), strict=True):
        runs.append(_run(one, plan, tests if one.best_epoch else [math.nan, math.nan, *tests[2:]]))
    return tuple(runs)


def _run(one: Standing, plan: TrainingPlan, tests: list[float] | None = None) -> SeedRun:
    end: End = "cap"
    if one.end == "early":
        end = "early"
    elif one.end:
        end = "diverged"
    first, second, third, fourth = tests or [math.nan] * 4
    return SeedRun(
        one.seed, tuple(one.epochs), end, one.best_epoch, first, second, third, fourth, one.diverged_step
    )


def _say(plan: TrainingPlan, state: State, pace: float) -> None:
    """One line of progress, with the time that is left at most."""
    epochs = [one.epochs[-1] for one in state.seeds if not one.end]
    if not epochs:
        return
    loss, checked_on = (sum(getattr(e, n) for e in epochs) / len(epochs) for n in ("loss", "validation_loss"))
    left = pace * (plan.epochs - state.epoch)
    amount = f"{left:.0f} s" if left < 120 else f"{left / 60:.0f} min"
    _log.info(
        "%s: epoch %d of at most %d, %d of %s at work, training loss %.4f, validation loss %.4f, at most %s left",
        plan.label, state.epoch, plan.epochs, len(epochs), counted(len(state.seeds), "seed"), loss, checked_on, amount,
    )  # fmt: skip
