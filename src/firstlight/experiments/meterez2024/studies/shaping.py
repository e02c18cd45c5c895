"""Figure 5: gains that fall with depth bound the gradients of networks with sin and tanh."""

from __future__ import annotations

import math
from collections.abc import Mapping

from firstlight.builders import NormOptions
from firstlight.experiments.claim import Claim, compared, decided
from firstlight.experiments.drawing import lines
from firstlight.experiments.findings import Findings
from firstlight.experiments.meterez2024.gradients import gradients_at_start
from firstlight.experiments.meterez2024.studies._batch import beside_paper, image_batch, input_level
from firstlight.experiments.meterez2024.studies.gradients import mean_at
from firstlight.experiments.study import Settings, Size, Study
from firstlight.render.axis import Axis
from firstlight.render.chart import line_chart
from firstlight.render.markup import Markup
from firstlight.render.page import grid, section

# width = batch = 100, centred norms, correlated inputs, measured for this project: γ to log ‖∇W₁‖ at depth 100, 1000
EARLIER: Mapping[tuple[str, float], tuple[float, float]] = {
    ("sin", 0.0): (12.8, 134.0),
    ("sin", 0.25): (-0.09, 0.44),
    ("sin", 0.4): (-1.25, -1.51),
    ("tanh", 0.0): (8.2, 85.0),
    ("tanh", 0.25): (0.33, 1.63),
    ("tanh", 0.4): (-1.00, -1.20),
}
# read by eye from figure 5, without a gain: activation to depth and log ‖∇W₁‖
PAPER: Mapping[str, tuple[int, float]] = {"sin": (200, 26.0), "tanh": (500, 43.0)}


def measure(settings: Settings) -> Findings:
    """log ‖∇W₁‖ against depth with gains ℓ^−γ before the activation, standard batch norm, orthogonal weights."""
    width = settings.sizes["width"]
    exponents = settings.sizes["exponents"]
    depths = settings.sizes["depths"]
    runs = settings.sizes["runs"]
    name, x = image_batch(settings, width, width=width)
    rows: list[dict[str, object]] = []
    for activation in ("linear", "sin", "tanh"):
        for exponent in exponents:
            for depth in depths:
                for run in range(runs):
                    found = gradients_at_start(
                        x,
                        depth=depth,
                        width=width,
                        seed=settings.seed + run,
                        norm=NormOptions(),
                        activation=activation,
                        gain_exponent=exponent,
                    )
                    rows.append(
                        {
                            "data": name,
                            "activation": activation,
                            "gamma": exponent,
                            "depth": depth,
                            "run": run,
                            "log_grad": float(found.log_norms[0]),
                            "input_level": input_level(x[0].numel(), width),
                        }
                    )
        settings.say(f"{activation}: depths up to {max(depths)}")
    return Findings(rows, tuple(_claims(Findings(rows), name)), _NOTES)


def _claims(findings: Findings, name: str) -> list[Claim]:
    claims: list[Claim] = []
    depths = findings.values("depth")
    for activation in ("sin", "tanh"):
        depth, value = PAPER[activation]
        if depth in depths:
            ours, se = mean_at(findings, depth, activation=activation, gamma=0.0)
            claims.append(
                compared(
                    f"{activation}, no gain: log ‖∇W₁‖ at depth {depth}",
                    ours=ours,
                    error=se,
                    reference=value,
                    tolerance=2.0,
                    paper=f"≈ {value:g} (Figure 5, read by eye)",
                    why="another batch of images",
                )
            )
        for gamma in findings.values("gamma"):
            known = EARLIER.get((activation, gamma))
            if known is not None and {100, 1000} <= set(depths) and name != "noise":
                claims.append(_growth(findings, activation, gamma, known[1] - known[0]))
        if 0.4 in findings.values("gamma"):
            claims += _bounded(findings, activation)
    return claims


def _growth(findings: Findings, activation: str, gamma: float, known: float) -> Claim:
    (start, a), (end, b) = (
        mean_at(findings, depth, activation=activation, gamma=gamma) for depth in (100, 1000)
    )
    return compared(
        f"{activation}, γ = {gamma:g}: growth of log ‖∇W₁‖ from depth 100 to 1000",
        ours=end - start,
        error=math.hypot(a, b),
        reference=known,
        tolerance=0.02 * abs(known) + 0.4,
        why="measured before on synthetic correlated inputs, five draws; a fiftieth, and .4 for another batch",
    )


def _bounded(findings: Findings, activation: str) -> list[Claim]:
    first, last = min(findings.values("depth")), max(findings.values("depth"))
    start, _ = mean_at(findings, first, activation=activation, gamma=0.4)
    end, error = mean_at(findings, last, activation=activation, gamma=0.4)
    paper = "between −.5 and −2.4 at depth 1000 (Figure 5)"
    claims = [
        decided(
            f"{activation}, γ = .4: growth of log ‖∇W₁‖ from depth {first:g} to {last:g}",
            holds=abs(end - start) < 2.0,
            ours=end - start,
            paper=paper,
            why="bounded: less than two over all depths, where no gain gives tens; the last gain L^−.4 is part of it",
        )
    ]
    if last == 1000:
        claims.append(
            compared(
                f"{activation}, γ = .4: log ‖∇W₁‖ at depth 1000",
                ours=end,
                error=error,
                reference=-1.45,
                tolerance=0.95,
                paper=paper,
                why="less ½ log(n₀/d), which n₀ inputs add whatever their scale and mean: the reference has n₀ = d. "
                "What is left between two batches comes from the spectrum of the images",
            )
        )
    return claims


_NOTES = (
    "Standard batch norm (centred), orthogonal weights. The growth rate of sin and tanh goes as α⁴ beyond the linear "
    "floor, so that gains ℓ^−γ bound the gradient for γ > 1/4: γ = .25 still grows, slowly.",
    "log_grad is log ‖∇W₁‖; claims and drawing show it less input_level = ½ log(n₀/d), which n₀ inputs add to it.",
)


def draw(findings: Findings) -> Markup:
    """log ‖∇W₁‖ against depth for each activation, one line for each exponent, as Figure 5."""
    charts = []
    for activation in findings.values("activation"):
        rows = [
            dict(row) | {"gain": f"γ = {row['gamma']:g}", "log_grad": beside_paper(row)}
            for row in findings.select(activation=activation)
        ]
        charts.append(
            line_chart(
                lines(rows, "depth", "log_grad", by="gain"),
                title=f"{activation} (Figure 5)",
                x=Axis("depth"),
                y=Axis("log ‖∇W₁‖"),
            )
        )
    return section("Gains ℓ^−γ", grid(*charts))


STUDY = Study(
    name="meterez2024/shaping",
    shows="gains that fall with depth bound the gradients of networks with sin and tanh",
    source="Meterez et al., ICLR 2024, Figure 5",
    data="cifar10 from --data-dir or FIRSTLIGHT_DATA; --data digits, or --data noise for none",
    cost={"quick": "4 s: depths up to 100", "paper": "6 min: depths up to 1000, 3 runs"},
    measure=measure,
    draw=draw,
    sizes={
        "width": Size(100, 100, low=3),
        "exponents": Size((0.0, 0.25, 0.4), (0.0, 0.25, 0.4), low=0),
        "depths": Size((10, 50, 100), (10, 20, 50, 100, 200, 500, 1000)),
        "runs": Size(1, 3),
    },
    images=("cifar10",),
    takes_images=True,
)
