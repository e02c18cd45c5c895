"""Rows [53] and [83]: starts that are larger than usual, by short trainings on digits."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from firstlight import data, initialise_, recipes
from firstlight.experiments.catalogue.entry import Curve, Entry
from firstlight.experiments.claim import decided
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Settings
from firstlight.files.plain_data import Record
from firstlight.render.axis import Axis


def _digits(count: int) -> tuple[Tensor, Tensor]:
    batch = data.load("digits", count=count)
    assert batch.targets is not None
    return batch.inputs.flatten(1), batch.targets


def _network(inputs: int, width: int = 128) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )


def lazy(settings: Settings) -> Findings:
    """[53]: hidden weights move by a share of 1/α while the loss falls alike."""
    x, y = _digits(200)
    wanted = nn.functional.one_hot(y, 10).float()
    rows: list[Record] = []
    for alpha in (1.0, 4.0, 16.0, 64.0):
        model = _network(x.shape[1])
        start = recipes.OutputScale(alpha=alpha)
        done = initialise_(model, start, x, generator=torch.Generator().manual_seed(settings.seed))
        hidden = model.get_parameter("2.weight")
        before, first = hidden.detach().clone(), model(x).detach()
        optimiser = torch.optim.SGD(done.parameter_groups(model, 0.5))
        for _ in range(300):
            optimiser.zero_grad()
            loss = (model(x) - first - wanted).square().mean()
            loss.backward()
            optimiser.step()
        moved = float((hidden.detach() - before).norm() / before.norm())
        rows.append({"α": alpha, "moved": moved, "loss": float(loss.detach())})
    slope = math.log(rows[-1]["moved"] / rows[1]["moved"]) / math.log(rows[-1]["α"] / rows[1]["α"])
    losses = [row["loss"] for row in rows]
    claims = (
        decided("exponent of the change of hidden weights in α, 4 to 64", holds=abs(slope + 1) < 0.1, ours=slope,
                reference=-1.0, paper="1/α", why="300 steps of SGD on 200 digits, the first output subtracted"),
        decided("largest over smallest loss at the end, α ≥ 16", holds=max(losses[2:]) < 1.1 * min(losses[2:]),
                ours=max(losses[2:]) / min(losses[2:]), reference=1.0, paper="one limit, the linearised network",
                why="rates are divided by α²"),
    )  # fmt: skip
    return Findings(rows, claims)


def late(settings: Settings) -> Findings:
    """[83]: with large weights the training set is fitted and the test set is not."""
    x, y = _digits(1000)
    rows: list[Record] = []
    for alpha in (1.0, 2.0, 3.0, 4.0):
        model = _network(x.shape[1])
        generator = torch.Generator().manual_seed(settings.seed)
        initialise_(model, recipes.WeightScale(alpha=alpha), x, generator=generator)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
        wanted = nn.functional.one_hot(y[:200], 10).float()
        for _ in range(1000):
            optimiser.zero_grad()
            (model(x[:200]) - wanted).square().mean().backward()
            optimiser.step()
        with torch.no_grad():
            right = (model(x).argmax(1) == y).float()
        rows += [
            {"set": "training", "α": alpha, "accuracy": float(right[:200].mean())},
            {"set": "test", "α": alpha, "accuracy": float(right[200:].mean())},
        ]
    at = {(row["set"], row["α"]): row["accuracy"] for row in rows}
    usual, large = (at["training", a] - at["test", a] for a in (1.0, 4.0))
    claims = (
        decided("α = 4: accuracy on 200 training digits", holds=at["training", 4.0] > 0.95, ours=at["training", 4.0],
                reference=1.0, paper="fits the training set", why="1000 steps of Adam, squared loss"),
        decided("gap between training and test, α = 4 over α = 1", holds=large > 2 * usual, ours=large / usual,
                paper="large weights generalise late", why=f"test {at['test', 4.0]:.3f} against {at['test', 1.0]:.3f}"),
    )  # fmt: skip
    return Findings(rows, claims)


_ALPHA = ("α", Axis("α", scale="log"))

ENTRIES = (
    Entry(
        number=53, title="the output's scale chooses lazy or rich training", source="Chizat, Oyallon and Bach (2019)",
        made_of=("recipes.OutputScale",), check=lazy,
        curve=Curve(x=_ALPHA, y=("moved", Axis("relative change of hidden weights", scale="log"))),
    ),
    Entry(
        number=83, title="the scale of the weights delays generalisation", source="Liu, Michaud and Tegmark (2023)",
        made_of=("recipes.WeightScale",), check=late,
        curve=Curve(x=_ALPHA, y=("accuracy", Axis("accuracy after 1000 steps")), by="set"),
    ),
)  # fmt: skip
