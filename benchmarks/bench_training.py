"""Training by the protocol of pairs: our loop beside a bare PyTorch loop, and seeds together beside one after another.

The bare loop is what a user writes: a sequence of modules, ``torch.optim.Adam`` as it comes, batches by index. All
loops do the same steps on random images of MNIST's size. A loop has one thread; seeds together have one on every core
of the machine where the networks are worth it, so that their throughput is measured by the wall: it needs a machine
that does nothing else, and each row says the load.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from benchmarks.harness import Row, interleaved
from firstlight.training import TrainingPlan
from firstlight.training.seeds.images import Part
from firstlight.training.seeds.loop import Group
from firstlight.training.seeds.networks import Stack, draw_network
from firstlight.training.seeds.state import State
from firstlight.training.seeds.together import Crew, shares, suggested_groups

STEPS, BATCH, SEEDS = 20, 200, 5
# (depth, width), the least throughput of seeds together over one after another, and the activation of each
SIZES = ((3, 10), (10, 10), (30, 10), (3, 100), (10, 100), (30, 100))


def images(features: int = 784) -> Part:
    """As many random images as the steps take, three times."""
    g = torch.Generator().manual_seed(0)
    count = 3 * STEPS * BATCH
    return Part(torch.randn(count, features, generator=g), torch.randint(0, 10, (count,), generator=g))


def bare(plan: TrainingPlan, part: Part, seed: int) -> Callable[[], object]:
    """A plain loop over the steps of one seed."""
    model = draw_network(plan, shape=(part.images.shape[1],), classes=10, seed=seed)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    order = torch.randperm(len(part.classes))[: STEPS * BATCH]

    def loop() -> None:
        for rows in order.split(BATCH):
            loss = functional.cross_entropy(model(part.images[rows]), part.classes[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
            float(loss.detach())

    return loop


def ours(plan: TrainingPlan, part: Part, crew: Crew) -> Callable[[], object]:
    """Our loop over the same steps of all seeds of a plan, in the groups of a crew."""
    stack = Stack(
        [draw_network(plan, shape=(part.images.shape[1],), classes=10, seed=seed) for seed in plan.seeds]
    )
    state = State.fresh(plan, stack.start)
    groups = [Group(stack, state, plan.rules, some) for some in shares(state.active, crew.groups)]
    orders = torch.stack([torch.randperm(len(part.classes))[: STEPS * BATCH] for _ in plan.seeds])
    return lambda: crew.map(lambda group: group.epoch(part, orders[group.active]), groups)


def parameters(plan: TrainingPlan, part: Part) -> int:
    """Parameters of one network of a plan."""
    model = draw_network(plan, shape=(part.images.shape[1],), classes=10, seed=0)
    return sum(parameter.numel() for parameter in model.parameters())


def run() -> list[Row]:
    """The overhead of the loop at every size, and the throughput of five seeds together."""
    part = images()
    rows = [overhead(part, *size) for size in SIZES]
    return rows + [throughput(part, *size) for size in SIZES]


def overhead(part: Part, depth: int, width: int) -> Row:
    """Our loop for one seed over a bare one, in processor time of one thread."""
    plan = TrainingPlan(depth=depth, width=width)
    seconds = interleaved({"bare": bare(plan, part, 0), "one": ours(plan, part, Crew(1))}, repeats=5)
    bare_ms, ours_ms = (1e3 * seconds[name] / STEPS for name in ("bare", "one"))
    return Row(
        f"one seed over a bare loop, tanh {depth}×{width}", ours_ms / bare_ms, 1.1,
        detail=f"{bare_ms:.2f} ms a step bare, {ours_ms:.2f} ours",
    )  # fmt: skip


def throughput(part: Part, depth: int, width: int) -> Row:
    """Five seeds together over one after another in a bare loop, by the wall, with as many groups as are chosen."""
    plan = TrainingPlan(depth=depth, width=width, seeds=tuple(range(SEEDS)))
    groups = suggested_groups(plan, parameters(plan, part))
    with Crew(groups) as crew:
        seconds = interleaved(
            {"bare": bare(plan, part, 0), "together": ours(plan, part, crew)},
            repeats=15,
            clock=time.perf_counter,
        )
    bare_ms, together_ms = 1e3 * seconds["bare"] / STEPS, 1e3 * seconds["together"] / STEPS / SEEDS
    return Row(
        f"five seeds together over one after another, tanh {depth}×{width}", bare_ms / together_ms, 2.0,
        lower_is_better=False,
        detail=f"{bare_ms:.2f} ms a step bare, {together_ms:.2f} a seed of {SEEDS} in groups of {groups} threads, load "
        f"{os.getloadavg()[0]:.1f}",
    )  # fmt: skip
