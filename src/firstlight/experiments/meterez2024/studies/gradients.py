"""Figures 2 and 3: gradients of fresh networks against depth: orthogonal or Gaussian weights, repeated samples."""

from __future__ import annotations

import torch

from firstlight.builders import NormOptions
from firstlight.experiments.claim import Claim, compared, decided
from firstlight.experiments.drawing import lines
from firstlight.experiments.findings import Findings
from firstlight.experiments.meterez2024.gradients import UNCENTRED, gradients_at_start
from firstlight.experiments.meterez2024.studies._batch import (
    beside_paper,
    image_batch,
    input_level,
    slope,
)
from firstlight.experiments.study import Settings, Size, Study
from firstlight.render.axis import Axis
from firstlight.render.chart import line_chart
from firstlight.render.markup import Markup
from firstlight.render.page import grid, section

DEPTHS = (5, 10, 20, 50, 100, 200, 500, 1000)
_QUICK = (5, 10, 20, 50, 100)
_RELU = 0.1916  # ½ log(π/(π−1)), mean field, a batch that is large


def measure(settings: Settings) -> Findings:
    """log ‖∇W₁‖ on a batch as large as the network is wide: both kinds of weights, linear and ReLU."""
    depths = settings.sizes["depths"]
    width = settings.sizes["width"]
    runs = settings.sizes["runs"]
    name, x = image_batch(settings, width, width=width)
    rows: list[dict[str, object]] = []
    for weights in ("orthogonal", "normal"):
        for activation in ("linear", "relu"):
            for depth in depths:
                if activation == "relu" and depth > 100:
                    continue
                for run in range(runs if activation == "linear" else min(runs, 2)):
                    found = gradients_at_start(
                        x,
                        depth=depth,
                        width=width,
                        seed=settings.seed + run,
                        weights=weights,
                        activation=activation,
                        norm=UNCENTRED if activation == "linear" else NormOptions(eps=0.0),
                    )
                    rows.append(
                        {
                            "data": name,
                            "weights": weights,
                            "activation": activation,
                            "depth": depth,
                            "run": run,
                            "width": width,
                            "log_grad": float(found.log_norms[0]),
                            "input_level": input_level(x[0].numel(), width, weights=weights),
                        }
                    )
        settings.say(f"{weights} weights: depths up to {max(depths)}")
    return Findings(rows, tuple(_claims(Findings(rows), width)), _NOTES)


def mean_at(findings: Findings, depth: float, **where: object) -> tuple[float, float]:
    """Mean of log ‖∇W₁‖ beside the paper's at a depth, with its standard error over runs."""
    values = torch.tensor(
        [beside_paper(row) for row in findings.select(depth=depth, **where)], dtype=torch.float64
    )
    return float(values.mean()), float(values.std() / len(values) ** 0.5) if len(values) > 1 else 0.0


def _claims(findings: Findings, width: int) -> list[Claim]:
    claims: list[Claim] = []
    first, last = (pick(row["depth"] for row in findings.rows) for pick in (min, max))
    for weights, paper, reach in (
        ("orthogonal", "flat, ≈ .3 to .4 (Figure 3)", 1.0),
        ("normal", "≈ 10.3 at depth 1000 (Figure 3)", 0.0),
    ):
        start, a = mean_at(findings, first, weights=weights, activation="linear")
        end, b = mean_at(findings, last, weights=weights, activation="linear")
        growth, error = end - start, (a**2 + b**2) ** 0.5
        if weights == "orthogonal":
            claims.append(
                decided(
                    f"linear, orthogonal: growth of log ‖∇W₁‖ from depth {first:g} to {last:g}",
                    holds=abs(growth) < reach + 3 * error if last > first else None,
                    ours=growth,
                    error=error,
                    reference=0.0,
                    paper=paper,
                    why="flat is taken as less than a factor of e over all depths",
                )
            )
        else:
            claims.append(_rate(findings, width, last, paper))
            if last == 1000:
                claims.append(
                    compared(
                        "linear, Gaussian: log ‖∇W₁‖ at depth 1000",
                        ours=end,
                        error=b,
                        reference=10.3,
                        tolerance=1.5,
                        paper=paper,
                        why="read by eye; another batch of images; less ½ log((n₀ + d)/2d), which n₀ inputs add",
                    )
                )
        deep = findings.select(weights=weights, activation="relu")
        rate, se = slope(
            [r["depth"] for r in deep if r["depth"] >= 10], [r["log_grad"] for r in deep if r["depth"] >= 10]
        )
        claims.append(
            compared(
                f"ReLU, {weights}: growth of log ‖∇W₁‖ per layer",
                ours=rate,
                error=se,
                reference=_RELU,
                tolerance=0.01,
                paper="ReLU explodes with both kinds of weights",
                why="the reference is mean field, ½ log(π/(π − 1)), for a large batch and centred norms",
            )
        )
    return claims


def _rate(findings: Findings, width: int, last: float, paper: str) -> Claim:
    """The rate of a linear Gaussian network over depths beyond its width."""
    rows = findings.select(weights="normal", activation="linear")
    deep = [row for row in rows if row["depth"] >= width] if last >= 5 * width else rows
    rate, se = slope([r["depth"] for r in deep], [r["log_grad"] for r in deep])
    quantity = "linear, Gaussian: growth of log ‖∇W₁‖ per layer"
    if last < 5 * width:
        return decided(
            quantity, holds=None, ours=rate, error=se, reference=1 / width, paper=paper,
            why=f"the rate of 1/d is that of depths beyond d = {width}: over the first d layers images grow at a third "
            "of it",
        )  # fmt: skip
    return compared(
        quantity, ours=rate, error=se, reference=1 / width, tolerance=0.2 / width, paper=paper,
        why="the reference is 1/d at as many samples as units, measured before as .0105 at d = 100; a fifth for a rate "
        "that is no theorem; over depths of d and more",
    )  # fmt: skip


_NOTES = (
    "Batch norm without centring for linear networks, with centring for ReLU, in float64. The loss is cross-entropy "
    "with random labels. The gradient is rescaled layer by layer, so that nothing overflows.",
    "log_grad is log ‖∇W₁‖; input_level is what a first layer of n₀ inputs adds, ½ log(n₀/d) for orthonormal rows. "
    "Claims and drawing show the difference, which is that of a batch with as many features as units, as the paper's.",
)


def draw(findings: Findings) -> Markup:
    """log ‖∇W₁‖ against depth with the paper's axes, one line for each kind of weights, linear and ReLU."""
    charts = []
    for activation in ("linear", "relu"):
        rows = [dict(row) | {"log_grad": beside_paper(row)} for row in findings.select(activation=activation)]
        charts.append(
            line_chart(
                lines(rows, "depth", "log_grad", by="weights"),
                title=f"{activation} (Figure 3)".replace("relu (Figure 3)", "ReLU"),
                x=Axis("depth"),
                y=Axis("log ‖∇W₁‖"),
                caption="Mean over runs, with its standard error.",
            )
        )
    return section("Gradients against depth", grid(*charts))


STUDY = Study(
    name="meterez2024/gradients",
    shows="gradients of fresh batch-normalised networks against depth, orthogonal and Gaussian weights",
    source="Meterez et al., ICLR 2024, Figure 3, Theorem 5",
    data="cifar10 from --data-dir or FIRSTLIGHT_DATA; --data digits, or --data noise for none",
    cost={"quick": "4 s: depths up to 100", "paper": "4 min: depths up to 1000, 10 runs"},
    measure=measure,
    draw=draw,
    sizes={"depths": Size(_QUICK, DEPTHS), "width": Size(100, 100, low=3), "runs": Size(2, 10)},
    images=("cifar10",),
    takes_images=True,
)
