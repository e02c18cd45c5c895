"""Figure 2: a batch with repeated samples is degenerate, and the gradient explodes with depth."""

from __future__ import annotations

import math

from firstlight.errors import DomainError
from firstlight.experiments.claim import Claim, compared, decided
from firstlight.experiments.drawing import lines
from firstlight.experiments.findings import Findings
from firstlight.experiments.meterez2024.gradients import gradients_at_start
from firstlight.experiments.meterez2024.studies._batch import (
    beside_paper,
    image_batch,
    input_level,
    slope,
)
from firstlight.experiments.meterez2024.studies.gradients import mean_at
from firstlight.experiments.study import Settings, Size, Study
from firstlight.render.axis import Axis
from firstlight.render.chart import line_chart
from firstlight.render.markup import Markup
from firstlight.render.page import grid, section

# log ‖∇W₁‖ at depth 1000 with k copies among 100 Gaussian samples, width 100, measured for this project
EARLIER = {5: 0.16, 10: 0.65, 25: 1.98, 50: 5.49}


def measure(settings: Settings) -> Findings:
    """log ‖∇W₁‖ against depth for batches in which the last k samples repeat the first k."""
    width = settings.sizes["width"]
    repeated = settings.sizes["repeated"]
    depths = settings.sizes["depths"]
    runs = settings.sizes["runs"]
    if max(repeated) > width - 2:
        raise DomainError(
            f"while repeating samples of a batch of {width}: expected at most {width - 2} repeated ones, so that two "
            f"differ, got {max(repeated):g}; lower repeated or raise width"
        )
    name, x = image_batch(settings, width, width=width)
    rows: list[dict[str, object]] = []
    for count in repeated:
        batch = x.clone()
        for at in range(count):
            batch[width - 1 - at] = x[at % (width - count)]
        for depth in depths:
            for run in range(runs):
                found = gradients_at_start(batch, depth=depth, width=width, seed=settings.seed + run)
                rows.append(
                    {
                        "data": name,
                        "repeated": count,
                        "rank": width - count,
                        "depth": depth,
                        "run": run,
                        "log_grad": float(found.log_norms[0]),
                        "input_level": input_level(x[0].numel(), width),
                    }
                )
        settings.say(f"{count} repeated samples of {width}")
    return Findings(rows, tuple(_claims(Findings(rows), name, width)), _NOTES)


def _claims(findings: Findings, name: str, width: int) -> list[Claim]:
    from firstlight.theory.batchnorm import degenerate_slope

    claims: list[Claim] = []
    last = max(row["depth"] for row in findings.rows)
    base, base_se = 0.0, 0.0
    for count in findings.values("repeated"):
        rows = findings.select(repeated=count)
        rate, se = slope([row["depth"] for row in rows], [row["log_grad"] for row in rows])
        end, error = mean_at(findings, last, repeated=count)
        if count == 0:
            base, base_se = rate, se
            claims.append(
                decided(
                    "no sample repeated: growth of log ‖∇W₁‖ per layer",
                    holds=abs(rate) * last < 1.0,
                    ours=rate,
                    error=se,
                    reference=0.0,
                    paper="flat (Figure 2)",
                    why=f"less than a factor of e over {last:g} layers",
                )
            )
            continue
        theory = float(degenerate_slope(int(width - count), width))
        claims.append(
            compared(
                f"{count:g} of {width} samples repeated: growth of log ‖∇W₁‖ per layer, beyond none repeated",
                ours=rate - base,
                error=math.hypot(se, base_se),
                reference=theory,
                tolerance=0.3 * theory,
                paper="explodes (Figure 2)",
                why="the reference is a fit of this project, ½(1/(r − 1.5) − 1/d) at rank r, good to 15 %; twice that "
                "for images, whose start is far from isometric",
            )
        )
        if name == "noise" and last == 1000 and count in EARLIER:
            claims.append(
                compared(
                    f"{count:g} samples repeated: log ‖∇W₁‖ at depth 1000",
                    ours=end,
                    error=error,
                    reference=EARLIER[int(count)],
                    tolerance=0.3,
                    why="five draws, measured before",
                )
            )
    return claims


_NOTES = (
    "A repeated sample lowers the rank of the batch. The paper's Theorem 5 asks for a non-degenerate batch; growth is "
    "that of a batch of as many samples as the rank.",
    "log_grad is log ‖∇W₁‖; the drawing shows it less input_level = ½ log(n₀/d), which n₀ inputs add to it.",
)


def draw(findings: Findings) -> Markup:
    """log ‖∇W₁‖ against depth, one line for each number of repeated samples."""
    rows = [
        dict(row) | {"batch": f"{row['repeated']:g} repeated", "log_grad": beside_paper(row)}
        for row in findings.rows
    ]
    chart = line_chart(
        lines(rows, "depth", "log_grad", by="batch"),
        title="Repeated samples (Figure 2)",
        x=Axis("depth"),
        y=Axis("log ‖∇W₁‖"),
    )
    return section("Degenerate batches", grid(chart))


STUDY = Study(
    name="meterez2024/repeated-samples",
    shows="repeated samples make a batch degenerate, and gradients explode with depth",
    source="Meterez et al., ICLR 2024, Figure 2",
    data="cifar10 from --data-dir or FIRSTLIGHT_DATA; --data digits, or --data noise for none",
    cost={"quick": "4 s: depths up to 200", "paper": "4 min: depths up to 1000"},
    measure=measure,
    draw=draw,
    sizes={
        "width": Size(100, 100, low=3),
        "repeated": Size((0, 10, 50, 90), (0, 5, 10, 25, 50, 75, 90), low=0),
        "depths": Size((50, 100, 200), (50, 100, 200, 500, 1000)),
        "runs": Size(1, 3),
    },
    images=("cifar10",),
    takes_images=True,
)
