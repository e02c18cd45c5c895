"""Training by the protocol of pairs: our loop beside a bare PyTorch loop, and seeds together beside one after another.

The bare loop is what a user writes: a sequence of modules, ``torch.optim.Adam`` as it comes, batches by index. All
loops do the same steps on random images of MNIST's size, on one thread.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from benchmarks.harness import Row, interleaved
from firstlight.training import TrainingPlan
from firstlight.training.seeds.images import Part
from firstlight.training.seeds.loop import Group
from firstlight.training.seeds.networks import Stack, draw_network
from firstlight.training.seeds.state import State

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


def ours(plan: TrainingPlan, part: Part) -> Callable[[], object]:
    """Our loop over the same steps of all seeds of a plan."""
    stack = Stack(
        [draw_network(plan, shape=(part.images.shape[1],), classes=10, seed=seed) for seed in plan.seeds]
    )
    group = Group(stack, State.fresh(plan, stack.start), plan.rules)
    orders = torch.stack([torch.randperm(len(part.classes))[: STEPS * BATCH] for _ in plan.seeds])
    return lambda: group.epoch(part, orders)


def run() -> list[Row]:
    """The overhead of the loop at every size, and the throughput of five seeds together."""
    part, rows = images(), []
    for depth, width in SIZES:
        one = TrainingPlan(depth=depth, width=width)
        many = TrainingPlan(depth=depth, width=width, seeds=tuple(range(SEEDS)))
        seconds = interleaved(
            {"bare": bare(one, part, 0), "one": ours(one, part), "together": ours(many, part)}, repeats=5
        )
        shown = (
            f"{1e3 * seconds['bare'] / STEPS:.2f} ms a step bare, {1e3 * seconds['one'] / STEPS:.2f} ours, "
        )
        shown += f"{1e3 * seconds['together'] / STEPS / SEEDS:.2f} a seed of {SEEDS} together"
        size = f"tanh {depth}×{width}"
        rows.append(
            Row(f"one seed over a bare loop, {size}", seconds["one"] / seconds["bare"], 1.1, detail=shown)
        )
        rows.append(
            Row(
                f"five seeds together over one after another, {size}",
                SEEDS * seconds["bare"] / seconds["together"], 2.0, lower_is_better=False, detail=shown,
            )
        )  # fmt: skip
    return rows
