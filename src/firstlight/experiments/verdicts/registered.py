"""The study of verdicts among the other studies: areas under ROC curves, rates of false alarms and misses."""

from __future__ import annotations

from pathlib import Path

from firstlight.experiments.claim import Claim, decided
from firstlight.experiments.findings import Findings
from firstlight.experiments.study import Settings, Size, Study
from firstlight.experiments.verdicts.analysis import Rates
from firstlight.experiments.verdicts.outcomes import OPTIMISERS
from firstlight.experiments.verdicts.repeats import at_best
from firstlight.experiments.verdicts.report import ABOUT, VerdictStudy, tidy
from firstlight.experiments.verdicts.study import repeated, reproduce
from firstlight.files import write_whole
from firstlight.render.markup import Markup
from firstlight.render.page import paragraph, section
from firstlight.render.table import Head, table

_HALVES = ("new kinds", "fresh", "held out", "training")
# goals: area under the ROC curve, false alarms, misses
_AREA, _FALSE, _MISSES = 0.95, 0.02, 0.05
_NOTHING_SEEN = 3.0  # −ln .05: as many events are expected where seeing none has a chance of 5 %
_SPOKEN = {"sgd": "SGD", "adam": "Adam"}


def measure(settings: Settings) -> Findings:
    """Scores and verdicts of starts, beside how the starts trained; ``verdicts.csv`` in the run's folder."""
    starts = settings.sizes["nets"]
    made = reproduce(
        starts=starts, train=settings.sizes["train"], out=settings.out,
        directory=settings.directory, seed=settings.seed, tell=settings.say,
    )  # fmt: skip
    if settings.out is not None:
        write_whole(Path(settings.out) / "verdicts.csv", tidy(made.outcomes, made.scores))
    halves = [made.half(half) for half in _HALVES]
    rows: list[dict[str, object]] = []
    for found in halves:
        for curve in found.curves:
            rows.append(
                {"half": found.half, "optimiser": curve.optimiser, "score": curve.name, "kind": "area under ROC",
                 "value": curve.auc, "low": curve.low, "high": curve.high}
            )  # fmt: skip
        for rate in found.rates:
            for kind, value, low, high in _wrong(rate):
                rows.append(
                    {"half": found.half, "optimiser": rate.optimiser, "score": rate.name, "kind": kind,
                     "value": value, "low": low, "high": high}
                )  # fmt: skip
    claims = [claim for found in halves for claim in _goals(found)]
    notes = [ABOUT]
    for found in halves:
        notes += [
            f"{_SPOKEN[name]}: {count} starts of {found.half} architectures, of which {failed} failed"
            for name, (count, failed) in found.counts.items()
            if count
        ]
    for name in OPTIMISERS:
        best = at_best(repeated(), name)
        notes.append(
            f"{_SPOKEN[name]}, what can be told at all: one more training of the same start as its verdict would have "
            f"false alarms of {best.once_false.value:.1%} and misses of {best.once_misses.value:.1%}, all trainings "
            f"{best.false_alarms.value:.1%} and {best.misses.value:.1%}"
        )
    if made.left_out:
        notes.append(
            "left out for want of MNIST or Fashion-MNIST (--data-dir, FIRSTLIGHT_DATA): "
            f"{len(made.left_out)} architectures"
        )
    return Findings(tuple(rows), tuple(claims), tuple(notes))


def _wrong(rate: Rates) -> list[tuple[str, float, float, float]]:
    """False alarms and misses of a verdict, each with its interval."""
    return [
        ("false alarms", rate.false_alarms, rate.false_low, rate.false_high),
        ("misses", rate.misses, rate.miss_low, rate.miss_high),
    ]


def _goals(found: VerdictStudy) -> list[Claim]:
    """What was asked of the verdicts, for one part; not judged where chance decides.

    An interval must be on one side of the goal. Nothing wrong in n starts leaves a share of up to 3/n open (95 %), so
    a part with fewer starts than 3/goal does not reach a goal either.
    """
    measured = [
        (curve.optimiser, "area under ROC of the severity", curve.auc, curve.low, curve.high, _AREA)
        for curve in found.curves
        if curve.name == "severity"
    ]
    for rate in found.rates:
        if rate.name == "unhealthy":
            for (kind, *three), goal in zip(_wrong(rate), (_FALSE, _MISSES), strict=True):
                measured.append((rate.optimiser, f"{kind} of unhealthy", *three, goal))  # type: ignore[arg-type]
    claims = []
    for optimiser, what, value, low, high, goal in measured:
        count, failed = found.counts[optimiser]
        starts = {_FALSE: count - failed, _MISSES: failed}.get(goal, min(failed, count - failed))
        least = goal == _AREA
        reached, could = (low >= goal, high >= goal) if least else (high <= goal, low <= goal)
        reached = reached and starts * (1 - goal if least else goal) >= _NOTHING_SEEN
        side = "least" if least else "most"
        why = f"our own goal, at {side} {goal:g}; 95 % interval {low:.3f} to {high:.3f}, {starts} starts"
        claims.append(
            decided(
                f"{found.half}, {_SPOKEN[optimiser]}: {what}", holds=reached or (None if could else False),
                ours=value, error=(high - low) / 3.92, reference=goal, why=why,
            )
        )  # fmt: skip
    return claims


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
        "quick": "10 s: 40 starts audited, their training is stored",
        "paper": "5 min: 1064 starts audited; --set train=true trains them anew, two hours",
    },
    measure=measure,
    draw=draw,
    sizes={"nets": Size(40, 1064), "train": Size(quick=False, paper=False)},
    images=("mnist", "fashion-mnist"),
    keeps_runs=True,
)
STUDIES: tuple[Study, ...] = (STUDY,)
