"""A fix as a page and as text: what was done, both audits against depth, and what is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from firstlight.auditing.page import verdict_cards
from firstlight.auditing.rows import WORDS, headline, overall
from firstlight.diagnosis.verdict import Verdict
from firstlight.doors import checked
from firstlight.fixing.remedies.attempt import Attempt
from firstlight.profile import Profile
from firstlight.render.axis import Axis
from firstlight.render.brief import shortened
from firstlight.render.chart import AFTER, BEFORE, Series, Style, line_chart
from firstlight.render.markup import Markup, clean, element, join
from firstlight.render.numbers import number
from firstlight.render.page import card, cards, fragment, grid, items, page, paragraph, section, term_list
from firstlight.render.table import Head, table

if TYPE_CHECKING:
    from firstlight.fixing.result import FixResult

_LN10 = math.log(10.0)


@checked
def fix_html(result: FixResult, *, saved: str | None = None) -> str:
    """A fix as one self-contained HTML document: what was done, both audits, every remedy tried, and what is left.

    ``saved`` names the file that holds the fixed state dict, where one was written.
    """
    before, after = result.before, result.after
    parts = [
        section("What was done", _done(result), identifier="done"),
        _use(result, saved),
        _trainings(result),
        section("Before and after", grid(*_charts(before.profile, after.profile))),
        section("Verdicts now" if result.changed else "Verdicts", verdict_cards(after.verdicts)),
        section("Verdicts before", verdict_cards(before.verdicts)) if result.changed else "",
        section("Every remedy tried", _table(result.attempts)) if result.attempts else "",
        section("Left as it is", items(*result.left)) if result.left else "",
    ]
    return page(_title(result), *parts, subtitle=_summary(before.verdicts, after.verdicts))


@checked
def fix_fragment(result: FixResult) -> str:
    """A fix as a piece of HTML without script, for a notebook's ``_repr_html_``."""
    before, after = result.before, result.after
    return fragment(
        element("h3", _title(result)),
        element("p", _summary(before.verdicts, after.verdicts), class_="subtitle"),
        _done(result),
        grid(*_charts(before.profile, after.profile)),
    )


def _title(result: FixResult) -> str:
    return f"Fix of {clean(result.before.measurement.meta.get('model') or 'Model')}"


@checked
def fix_text(result: FixResult) -> str:
    """A fix as plain text."""
    before, after = result.before.verdicts, result.after.verdicts
    lines = [f"before: {WORDS[overall(before)]}: {headline(before)}"]
    for attempt in result.attempts:
        if not attempt.changes and "failed" not in attempt.note:
            continue
        mark = "kept " if attempt.kept else "tried"
        left_over = ", ".join(attempt.unhealthy) or ("healthy" if attempt.changes else "")
        said = "; ".join(part for part in (left_over, attempt.note) if part)
        lines.append(f"  {attempt.round}. {mark} {attempt.remedy}: {said}")
        if attempt.kept:
            lines += [f"         {change}" for change in shortened(attempt.changes)]
            lines.append(f"         suits: {attempt.suits}; source: {attempt.source}")
            lines += [f"         {line}" for line in _losses(attempt)]
    lines.append(f"after:  {WORDS[overall(after)]}: {headline(after)}")
    open_ = [v for v in after if v.severity in ("unhealthy", "warning")]
    lines += [f"  {WORDS[v.severity].lower()} [{v.code}] {v.evidence} Remedy: {v.remedy}." for v in open_]
    lines += [f"left: {reason}" for reason in shortened(result.left)]
    if result.structural_help:
        lines.append(
            f"may help: {', '.join(result.structural_help)}, which may replace modules (--structural, structural=True)"
        )
    return "\n".join(lines)


def _losses(attempt: Attempt) -> list[str]:
    """What the kept copy's training gave, one line each."""
    return [
        f"{course.optimiser} at {course.rate:g}: loss {number(course.first)} → {number(course.last)}"
        for course in attempt.courses
    ]


def _summary(before: Sequence[Verdict], after: Sequence[Verdict]) -> str:
    return (
        f"before: {WORDS[overall(before)].lower()} ({headline(before)}); "
        f"now: {WORDS[overall(after)].lower()} ({headline(after)})"
    )


def _done(result: FixResult) -> Markup:
    help_ = _help(result.structural_help)
    if not result.kept:
        sick = any(v.severity == "unhealthy" for v in result.before.verdicts)
        words = (
            "No remedy that writes parameters alone made the audit better; the verdicts below say what else to do."
            if sick
            else "The model starts healthy; nothing was changed."
        )
        return join((paragraph(words), help_))
    steps = (
        card(
            attempt.remedy,
            paragraph(f"{attempt.summary[0].upper()}{attempt.summary[1:]}."),
            items(*shortened(attempt.changes, 8)),
            term_list({"Suits": attempt.suits, "Source": attempt.source}),
            tone="healthy" if not attempt.unhealthy else "note",
            label=f"Step {number}",
        )
        for number, attempt in enumerate(result.kept, start=1)
    )
    return join((cards(*steps), help_))


def _help(remedies: Sequence[str]) -> Markup:
    """Which remedies may help with what is left, and how they are allowed."""
    if not remedies:
        return Markup("")
    names = join([element("code", name) for name in remedies], ", ")
    shell, python = element("code", "--structural", class_="whole"), element("code", "structural=True")
    return paragraph(
        "For what remains, these remedies may help: ",
        names,
        ". These remedies may replace modules, and are tried on request: ",
        shell,
        " in a shell, ",
        python,
        " in Python.",
    )


def _use(result: FixResult, saved: str | None) -> Markup | str:
    """How a reader uses the fixed model, or its parameters, in code."""
    if not result.changed:
        return ""
    if result.structural:
        kept = " and ".join(attempt.remedy for attempt in result.kept)
        said = (
            f"Modules were replaced ({kept}), so parameters alone do not hold this fix: use result.model, or build "
            f"your model with the modules named above and load the state dict into it."
        )
        return section("Use the fixed model", paragraph(said), identifier="use")
    file = saved or "fixed.safetensors"
    load = (
        f"safetensors.torch.load_file({file!r})"
        if file.endswith(".safetensors")
        else f"torch.load({file!r}, weights_only=True)"
    )
    write = [] if saved else [f"firstlight fix … --out {file}    # in a shell: writes the parameters"]
    lines = [
        *write,
        f"model.load_state_dict({load})    # in your code: the model built as it was audited",
        "result.apply_(model)    # or in Python, at once: all parameters or none",
    ]
    return section("Use the fixed model", element("pre", "\n".join(lines)), identifier="use")


def _trainings(result: FixResult) -> Markup | str:
    """How the model as it came and the copies that were kept trained; nothing where nothing was trained."""
    runs = [("as it came", result.courses), *((f"after {a.remedy}", a.courses) for a in result.kept)]
    rows = [
        [name, course.optimiser, course.rate, course.first, course.last]
        for name, courses in runs
        for course in courses
    ]
    if not rows:
        return ""
    heads = [
        Head("start", text=True),
        Head("optimiser", text=True),
        Head("rate", "learning rate"),
        Head("first loss"),
        Head("last loss", "mean over the last fifth of the steps; ∞ where training diverged"),
    ]
    return section("Short trainings", table(heads, rows), identifier="training")


_PLOTS = (
    ("log_grad", "Gradient", "log₁₀ rms ∂L/∂z"),
    ("q", "Second moment", "q"),
    ("correlation", "Correlation of samples", "mean cosine"),
    ("chi", "Slope", "χ₁"),
)


def _charts(before: Profile, after: Profile) -> list[Markup]:
    """Each quantity at the weight layers, of both models."""
    charts = []
    looks: tuple[tuple[str, Profile, Style, int], ...] = (
        ("before", before, "hollow", BEFORE),
        ("after", after, "marks", AFTER),
    )
    for column, title, label in _PLOTS:
        series, values = [], []
        for name, profile, style, colour in looks:
            rows = profile.select("weight")
            y = rows[column] / (_LN10 if column == "log_grad" else 1.0)
            known = np.isfinite(y)
            if known.sum() > 1:
                series.append(Series(name, rows["depth"][known], y[known], style, colour=colour))
                values.append(y[known])
        if not series:
            continue
        every = np.concatenate(values)
        wide = column in ("q", "chi") and every.min() > 0 and every.max() > 30 * every.min()
        axis = Axis(label, "log" if wide else "linear")
        charts.append(line_chart(series, title=title, x=Axis("depth (weight layers)"), y=axis))
    return charts


def _table(attempts: Sequence[Attempt]) -> Markup:
    heads = [
        Head("round"),
        *(Head(h, text=True) for h in ("remedy", "result", "unhealthy", "warnings", "note")),
    ]
    rows = [
        [
            a.round,
            a.remedy,
            "kept" if a.kept else "not kept" if a.changes else "not applied",
            ", ".join(a.unhealthy) or ("none" if a.changes else "–"),
            ", ".join(a.warnings) or ("none" if a.changes else "–"),
            a.note,
        ]
        for a in attempts
    ]
    return table(heads, rows)
