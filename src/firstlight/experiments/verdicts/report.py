"""Report: the study as text, as sections of a page, as tables for the documentation, and as one tidy table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from firstlight.experiments.verdicts.analysis import (
    Curve,
    Half,
    Rates,
    calibration,
    cases,
    curves,
    rates,
)
from firstlight.experiments.verdicts.outcomes import OPTIMISERS, TRIED, Outcome
from firstlight.experiments.verdicts.scores import Score
from firstlight.experiments.verdicts.starts import architecture, part, starts
from firstlight.files.plain_data import Record
from firstlight.render.markup import Markup
from firstlight.render.page import paragraph, section
from firstlight.render.table import Head, table

ABOUT = (
    "Networks drawn over architecture, depth (2 to 200), activation, data and start, audited as they begin, and "
    "trained by SGD and by Adam, each at the best of four rates. A start failed where it took away less than half of "
    "the loss that the best known start of its architecture took away."
)
_SPOKEN = {"sgd": "SGD", "adam": "Adam"}


@dataclass(frozen=True)
class VerdictStudy:
    """The study of one half of the architectures, or of all.

    Attributes
    ----------
    half
        ``"training"``, ``"held out"``, ``"fresh"``, ``"new kinds"`` or ``"all"``.
    counts
        For each optimiser: starts that count, and starts that failed.
    left_out
        For each optimiser: starts of architectures that no start trains, which say nothing about starts.
    curves, rates
        As `curves` and `rates` give them, for both optimisers.
    calibration
        For each optimiser: group, starts, share that failed, mean progress.
    stuck_counts, stuck_curves, stuck_rates
        The same starts by another outcome: a start is stuck whose last loss is above nine tenths of a guess's.
    """

    half: Half
    counts: dict[str, tuple[int, int]]
    left_out: dict[str, int]
    curves: tuple[Curve, ...]
    rates: tuple[Rates, ...]
    calibration: dict[str, list[tuple[str, int, float, float]]]
    stuck_counts: dict[str, int]
    stuck_curves: tuple[Curve, ...]
    stuck_rates: tuple[Rates, ...]

    def to_dict(self) -> Record:
        """Everything as plain data."""
        return asdict(self)


def verdict_study(
    outcomes: Sequence[Outcome], scores: Sequence[Score], half: Half = "held out"
) -> VerdictStudy:
    """How well verdicts, measures and rivals told, before training, which starts would fail."""
    found_curves: list[Curve] = []
    found_rates: list[Rates] = []
    stuck_curves: list[Curve] = []
    stuck_rates: list[Rates] = []
    counts, left_out, groups, stuck_counts = {}, {}, {}, {}
    for optimiser in OPTIMISERS:
        known = cases(outcomes, scores, optimiser, half)
        every = cases(outcomes, scores, optimiser, half, learnable=-math.inf)
        counts[optimiser] = (len(known), sum(case.failed for case in known))
        left_out[optimiser] = len(every) - len(known)
        stuck = [replace(case, failed=case.stuck) for case in known]
        stuck_counts[optimiser] = sum(case.failed for case in stuck)
        if 0 < stuck_counts[optimiser] < len(stuck):
            stuck_curves += curves(stuck, optimiser)
            stuck_rates += rates(stuck, optimiser)[:1]
        if not 0 < counts[optimiser][1] < len(known):
            continue  # nothing failed, or everything: there is nothing to rank
        found_curves += curves(known, optimiser)
        found_rates += rates(known, optimiser)
        groups[optimiser] = calibration(known, optimiser)
    return VerdictStudy(
        half, counts, left_out, tuple(found_curves), tuple(found_rates), groups,
        stuck_counts, tuple(stuck_curves), tuple(stuck_rates),
    )  # fmt: skip


def study_text(study: VerdictStudy) -> str:
    """The study as plain text."""
    lines = [f"{study.half}:"]
    for optimiser in OPTIMISERS:
        count, failed = study.counts[optimiser]
        lines.append(
            f"{_SPOKEN[optimiser]}: {count} starts, {failed} failed; {study.left_out[optimiser]} more are of "
            "architectures that no start trains"
        )
        lines += [f"  {' '.join(row)}" for row in _padded(list(_curve_rows(study, optimiser)))]
        lines += [f"  {' '.join(row)}" for row in _padded(list(_rate_rows(study, optimiser)))]
        lines += [f"  {' '.join(row)}" for row in _padded(list(_group_rows(study, optimiser)))]
    return "\n".join(lines)


def study_sections(study: VerdictStudy) -> list[Markup]:
    """The study as sections of a page."""
    found = []
    for optimiser in OPTIMISERS:
        count, failed = study.counts[optimiser]
        words = f"{count} starts, of which {failed} failed ({study.half})."
        blocks = [
            table([Head(h, text=True) for h in heads], rows) for heads, rows in _tables(study, optimiser)
        ]
        found.append(section(_SPOKEN[optimiser], paragraph(words), *blocks))
    return found


def study_markdown(study: VerdictStudy) -> str:
    """The study as tables for the documentation."""
    lines: list[str] = []
    for optimiser in OPTIMISERS:
        count, failed = study.counts[optimiser]
        lines += [
            f"### {_SPOKEN[optimiser]}", "",
            f"{count} starts count, {failed} of them failed; {study.left_out[optimiser]} more are of architectures "
            "that no start trains.", "",
        ]  # fmt: skip
        for heads, rows in _tables(study, optimiser):
            lines += [_markdown_row(heads), "|---" * len(heads) + "|", *map(_markdown_row, rows), ""]
        lines += [
            f"No better than a guess (last loss above nine tenths of a guess's): {study.stuck_counts[optimiser]} of "
            "the same starts.", "",
        ]  # fmt: skip
        for heads, rows in _stuck_tables(study, optimiser):
            lines += [_markdown_row(heads), "|---" * len(heads) + "|", *map(_markdown_row, rows), ""]
    return "\n".join(lines)


def summary_markdown(studies: Sequence[VerdictStudy]) -> str:
    """One line for each part and optimiser: areas of the severity and of the longest trial, and wrong verdicts."""
    heads = [
        "part",
        "severity",
        f"verdict and a trial of {TRIED[-1]} steps",
        "best other score",
        "false alarms",
        "misses",
    ]
    lines = [_markdown_row(heads), "|---" * len(heads) + "|"]
    for study in studies:
        for optimiser, spoken in _SPOKEN.items():
            mine = [curve for curve in study.curves if curve.optimiser == optimiser]
            known = {curve.name: curve for curve in mine}
            if not mine:
                continue
            ours = [known["severity"], known[f"verdict and a trial of {TRIED[-1]} steps"]]
            other = max(mine[5 + len(TRIED) + 1 :], key=lambda curve: curve.auc, default=None)
            whole = next(r for r in study.rates if (r.name, r.optimiser) == ("unhealthy", optimiser))
            cells = [f"{_share(c.auc)} ({_share(c.low)} – {_share(c.high)})" for c in ours]
            cells += [
                f"{other.name}, {_share(other.auc)}" if other else "–",
                f"{_tenth(whole.false_alarms)} ({_percent(whole.false_low)} – {_percent(whole.false_high)})",
                f"{_percent(whole.misses)} ({_percent(whole.miss_low)} – {_percent(whole.miss_high)})",
            ]
            lines.append(_markdown_row([f"{study.half}, {spoken}", *cells]))
    return "\n".join([*lines, ""])


def tidy(outcomes: Sequence[Outcome], scores: Sequence[Score], *, seed: int = 0) -> str:
    """One CSV line for each start and optimiser: what it is, how it trained, what was said of it."""
    known = {one.start: one for one in scores}
    rows: list[dict[str, object]] = []
    ends = {
        (name, case.start): (case.failed, case.stuck)
        for name in OPTIMISERS
        for case in cases(outcomes, scores, name, "all")
    }
    for outcome in outcomes:
        number, which = map(int, outcome.start.split("."))
        one = architecture(number, seed=seed)
        start = starts(one, seed=seed)[which]
        what = asdict(one) | {
            "part": part(number),
            "start": start.name,
            "scale": f"{start.scale:.3g}",
            "bias": start.bias,
        }
        what |= {"branch": f"{start.branch:.3g}", "fault": start.fault}
        for name in OPTIMISERS:
            score = known.get(outcome.start)
            row = what | {"optimiser": name, "first": outcome.first, "guess": outcome.guess}
            row |= {f"loss {i}": loss for i, loss in enumerate(getattr(outcome, name))}
            row["failed"], row["stuck"] = ends.get((name, outcome.start), ("", ""))
            if score is not None:
                row["verdict"] = ("healthy", "warning", "not judged", "unhealthy")[score.verdict(name)]
                row["codes"] = "; ".join(f"{f.code} {f.severity}" for f in score.findings[name])
                row |= score.measures | score.rivals
                row |= {f"trial {n}": loss for n, loss in zip(TRIED, score.trial.get(name, ()), strict=False)}
            rows.append(row)
    heads = list(dict.fromkeys(key for row in rows for key in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, heads, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _tables(study: VerdictStudy, optimiser: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    for rows in (
        _curve_rows(study, optimiser), _rate_rows(study, optimiser), _group_rows(study, optimiser)
    ):  # fmt: skip
        heads, *body = rows
        yield heads, body


def _stuck_tables(study: VerdictStudy, optimiser: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    for rows in (
        _curve_rows(study, optimiser, study.stuck_curves), _rate_rows(study, optimiser, study.stuck_rates)
    ):  # fmt: skip
        heads, *body = rows
        yield heads, body


def _curve_rows(
    study: VerdictStudy, optimiser: str, found: tuple[Curve, ...] | None = None
) -> Iterator[list[str]]:
    yield ["score before training", "area under ROC", "95 % interval", "starts with a score"]
    mine = [curve for curve in (study.curves if found is None else found) if curve.optimiser == optimiser]
    own = 5 + len(TRIED)
    for c in [*mine[:own], *sorted(mine[own:], key=lambda c: -c.auc)]:
        yield [c.name, _share(c.auc), f"{_share(c.low)} – {_share(c.high)}", f"{c.scored:.0%}"]


def _rate_rows(
    study: VerdictStudy, optimiser: str, found: tuple[Rates, ...] | None = None
) -> Iterator[list[str]]:
    yield ["verdict", "given", "of these failed", "false alarms", "95 % interval", "misses", "95 % interval"]
    for r in study.rates if found is None else found:
        if r.optimiser == optimiser:
            false = f"{_percent(r.false_low)} – {_percent(r.false_high)}"
            miss = f"{_percent(r.miss_low)} – {_percent(r.miss_high)}"
            wrong = (_percent(r.false_alarms), false, _percent(r.misses), miss)
            yield [r.name, str(r.flagged), str(r.failed), *wrong]


def _group_rows(study: VerdictStudy, optimiser: str) -> Iterator[list[str]]:
    yield ["said at the start", "starts", "failed", "mean progress"]
    for name, count, failed, progress in study.calibration.get(optimiser, []):
        yield [name, str(count), _percent(failed), _percent(progress)]


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}".removeprefix("0")


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.0f} %"


def _tenth(value: float) -> str:
    return f"{100 * value:.1f} %"


def _padded(rows: list[list[str]]) -> list[list[str]]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
