"""The study of verdicts among the other studies: areas under ROC curves, rates of false alarms and misses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from firstlight.experiments.claim import decided
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Settings, Study
from firstlight.experiments.verdicts.outcomes import OPTIMISERS
from firstlight.experiments.verdicts.repeats import ceiling
from firstlight.experiments.verdicts.report import ABOUT, tidy
from firstlight.experiments.verdicts.study import repeated, reproduce
from firstlight.files import write_whole
from firstlight.render.markup import Markup
from firstlight.render.page import paragraph, section
from firstlight.render.table import Head, table

_HALVES = ("new kinds", "fresh", "held out", "training")
_SPOKEN = {"sgd": "SGD", "adam": "Adam"}


def measure(settings: Settings) -> Findings:
    """Scores and verdicts of starts, beside how the starts trained; ``verdicts.csv`` in the run's folder."""
    starts = settings.size("nets", quick=40, paper=832)
    made = reproduce(
        starts=starts, train=settings.size("train", quick=False, paper=False), out=settings.out,
        directory=settings.directory, seed=settings.seed, tell=settings.say,
    )  # fmt: skip
    if settings.out is not None:
        write_whole(Path(settings.out) / "verdicts.csv", tidy(made.outcomes, made.scores))
    rows: list[dict[str, Any]] = []
    claims = []
    for half in _HALVES:
        found = made.half(half)
        for curve in found.curves:
            rows.append(
                {"half": half, "optimiser": curve.optimiser, "score": curve.name, "kind": "area under ROC",
                 "value": curve.auc, "low": curve.low, "high": curve.high}
            )  # fmt: skip
            if curve.name == "verdict":
                claims.append(
                    decided(
                        f"{half}, {curve.optimiser}: area under ROC of the verdict", holds=curve.low > 0.5,
                        ours=curve.auc, error=(curve.high - curve.low) / 3.92, reference=0.5,
                        why="95 % interval against 0.5, which says nothing; this claim is our own",
                    )
                )  # fmt: skip
        for rate in found.rates:
            for kind in ("false_alarms", "misses"):
                short = kind.removesuffix("_alarms").removesuffix("es")
                rows.append(
                    {"half": half, "optimiser": rate.optimiser, "score": rate.name, "kind": kind.replace("_", " "),
                     "value": getattr(rate, kind), "low": getattr(rate, f"{short}_low"),
                     "high": getattr(rate, f"{short}_high")}
                )  # fmt: skip
    notes = [ABOUT]
    for half in _HALVES:
        found = made.half(half)
        notes += [
            f"{_SPOKEN[name]}: {count} starts of {half} architectures, of which {failed} failed"
            for name, (count, failed) in found.counts.items()
            if count
        ]
    for name in OPTIMISERS:
        best = ceiling(repeated(), name)
        notes.append(
            f"{_SPOKEN[name]}, what can be told at all: of {best.starts} starts trained {best.trainings} times, one "
            f"training as the verdict on another has false alarms of {best.one_false.value:.1%} and misses of "
            f"{best.one_misses.value:.1%}"
        )
    if made.left_out:
        notes.append(
            "left out for want of MNIST or Fashion-MNIST (--data-dir, FIRSTLIGHT_DATA): "
            f"{len(made.left_out)} architectures"
        )
    return Findings(tuple(rows), tuple(claims), tuple(notes))


def draw(findings: Findings) -> Markup:
    """A table of areas and rates for each half of the architectures and each optimiser."""
    parts = []
    heads = [
        Head("score", text=True),
        Head("kind", text=True),
        Head("value"),
        Head("from", "95 % interval"),
        Head("to"),
    ]
    for half in findings.values("half"):
        for optimiser in findings.values("optimiser", half=half):
            rows = findings.select(half=half, optimiser=optimiser)
            cells = [[row[name] for name in ("score", "kind", "value", "low", "high")] for row in rows]
            parts.append(
                section(
                    f"{optimiser}, {half}", paragraph(f"Starts of {half} architectures."), table(heads, cells)
                )
            )
    return Markup("".join(parts))


STUDY = Study(
    name="verdicts",
    shows="whether verdicts at the start predict training: ROC areas, false alarms and misses, beside rivals",
    source="ours; no paper",
    data="digits, tokens, mnist and fashion-mnist from --data-dir or FIRSTLIGHT_DATA",
    cost={
        "quick": "30 s: 40 starts audited, their training is stored",
        "paper": "7 min: 832 starts audited; --set train=true trains them anew, two hours",
    },
    measure=measure,
    draw=draw,
    sizes=("nets", "train"),
)
STUDIES: tuple[Study, ...] = (STUDY,)
