"""The page and the table of a batch-normalised network at depth."""

from __future__ import annotations

from collections.abc import Sequence

from firstlight import render
from firstlight.experiments.meterez2024.depth import DepthStudy
from firstlight.render.chart import THEORY

_NOTE = "slope: of log ‖∇W‖ per layer towards the input; log growth: log ‖∇W‖ of the first layer less that of the last"


def depth_page(study: DepthStudy, *, data: str = "") -> str:
    """The study as one self-contained HTML page; ``data`` names the batch."""
    problems = sorted({problem for check in study.checks for problem in check.problems}) or ["no problems"]
    blocks = [
        render.section("Batch", render.items(*(str(check).splitlines()[0] for check in study.checks)),
                       render.items(*problems)),
        render.section("Layer by layer", render.grid(_gap_chart(study), _gradient_chart(study))),
        render.section("Slopes", _slopes(study), intro=_NOTE),
    ]  # fmt: skip
    if study.runs:
        blocks.append(render.section("Training", render.grid(_accuracy_chart(study))))
    network = study.network
    facts = {"depth": network.depth, "width": network.width, "batch": study.batch, "activation": network.activation,
             "data": data, "gain exponent": study.findings[0].gain_exponent}  # fmt: skip
    cards = [
        render.card(
            f"{f.weights} weights",
            render.paragraph(f"log gradient, first over last layer: {render.number(f.log_growth)}"),
            tone="healthy" if f.healthy else "unhealthy",
            label=f"gradient {f.word}",
        )
        for f in study.findings
    ]
    return render.page("Batch normalisation at depth", render.cards(*cards), *blocks, facts=facts)


def _layers(values: Sequence[float], first: int = 1) -> list[int]:
    return list(range(first, first + len(values)))


def _colour(index: int) -> int:
    """The colour of a law of weights that was measured: never that of theory."""
    return index if index < THEORY else index + 1


def _gap_chart(study: DepthStudy) -> render.Markup:
    return render.line_chart(
        [
            render.Series(f.weights, _layers(f.gaps), list(f.gaps), "marks", colour=_colour(index))
            for index, f in enumerate(study.findings)
        ],
        title="Isometry gap of the features", x=render.Axis("layer"), y=render.Axis("isometry gap", scale="log"),
        caption="Output of every batch norm; a triangle at the edge is a rank-deficient layer.",
    )  # fmt: skip


def _gradient_chart(study: DepthStudy) -> render.Markup:
    series = []
    for index, f in enumerate(study.findings):
        series.append(
            render.Series(
                f"{f.weights}, theory",
                _layers(f.theory),
                list(f.theory),
                "dashed" if index else "line",
                colour=THEORY,
            )
        )
        measured = list(f.log_gradients)
        series.append(
            render.Series(f.weights, _layers(measured, 2), measured, "marks", colour=_colour(index))
        )
    return render.line_chart(
        series, title="Gradient of the weights", x=render.Axis("layer"), y=render.Axis("log ‖∇W‖"),
        caption="Relative to the last layer, in nats.",
    )  # fmt: skip


def _slopes(study: DepthStudy) -> render.Markup:
    rows = [
        [f.weights, f.slope, f.slope_se, f.predicted_slope, f.log_growth, f.predicted_log_growth,
         f.word]
        for f in study.findings
    ]  # fmt: skip
    heads: list[render.Head | str] = [
        render.Head("weights", text=True), "slope", "standard error", "theory", "log growth", "theory",
        render.Head("gradient", text=True),
    ]  # fmt: skip
    return render.table(heads, rows)


def _accuracy_chart(study: DepthStudy) -> render.Markup:
    curves = [
        render.Series(
            f"{kind}, {part}", [e.epoch for e in run.history], run.column(f"{part}_accuracy"), "both"
        )
        for kind, run in study.runs.items()
        for part in ("train", "test")
    ]
    return render.line_chart(
        curves, title="Accuracy", x=render.Axis("epoch"), y=render.Axis("accuracy"),
        caption="On statistics recalibrated on training data.",
    )  # fmt: skip


def depth_text(study: DepthStudy) -> str:
    """The study as text: the batch, a table of weights, a line for each verdict and each training run."""
    network = study.network
    head = ("weights", "slope", "theory", "log growth", "theory", "gap first", "gap last")
    rows = [
        (f.weights, f"{f.slope:.4g} ± {f.slope_se:.1g}", f"{f.predicted_slope:.4g}", f"{f.log_growth:.4g}",
         f"{f.predicted_log_growth:.4g}", f"{f.first_gap:.3g}", f"{f.last_gap:.3g}")
        for f in study.findings
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    gains = f"gains ℓ^−{network.gamma:g}" if network.gamma else "no gains"
    lines = [
        str(study.checks[0]),
        "",
        f"{network.activation}, depth {network.depth}, width {network.width}, {gains}, "
        f"{'' if network.centred else 'un'}centred batch norm",
        "",
    ]
    lines += [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    ]
    lines += ["", *_NOTE.split("; "), ""]
    lines += [f"{f.weights}: gradient {f.word if f.healthy else f.word.upper()}" for f in study.findings]
    for kind, run in study.runs.items():
        last = run.history[-1]
        end = (
            "diverged" if run.diverged else f"train {last.train_accuracy:.3f}, test {last.test_accuracy:.3f}"
        )
        lines.append(f"{kind} after {last.epoch} epochs: {end}")
    return "\n".join(lines)
