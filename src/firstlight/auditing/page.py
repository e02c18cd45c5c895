"""The audit as one HTML page: verdicts first, then charts, any row's law, the table, what was left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from firstlight import render as blocks
from firstlight.auditing._blocks import blocks_section
from firstlight.auditing._charts import audit_charts
from firstlight.auditing._sample import chooser, drawable, first_choice, sample_block, spoken
from firstlight.auditing.rows import (
    FACTS,
    FIRST,
    WORDS,
    by_severity,
    columns_of,
    documented,
    headline,
    known_lines,
    overall,
    shape_text,
)
from firstlight.diagnosis.verdict import Severity, Verdict
from firstlight.doors import checked
from firstlight.probe.measurement import QUANTILE_LEVELS, Measurement
from firstlight.profile import COLUMNS, Profile
from firstlight.recipes import followed
from firstlight.render.histogram import histogram, qq_plot
from firstlight.render.markup import Markup, clean, element, join
from firstlight.render.numbers import number
from firstlight.render.table import Head, table

if TYPE_CHECKING:
    from firstlight.auditing.result import AuditResult

_SHOWN_LAYERS = 8


@checked
def audit_html(result: AuditResult) -> str:
    """The audit as one self-contained HTML document.

    Parameters
    ----------
    result
        What the probe measured and what the diagnosis found, in any order.

    Returns
    -------
    str
        The document, at most about 300 kB for a hundred layers.

    Examples
    --------
    >>> from firstlight.auditing import AuditResult
    >>> from firstlight.profile import Profile
    >>> rows = Profile.from_rows([{"name": "fc", "q": 1.0}], source="audit")
    >>> html = audit_html(AuditResult(Measurement(rows)))
    >>> "Second moment" in html
    True
    """
    measurement, verdicts, profile = result.measurement, result.verdicts, result.profile
    parts = [
        blocks.section("Verdicts", verdict_cards(verdicts, profile), identifier="verdicts"),
        _charts(profile),
        blocks_section(measurement),
        _law(measurement),
        _table(profile),
        _left_out(measurement),
    ]
    return blocks.page(
        clean(measurement.meta.get("model") or "Audit"),
        *parts,
        subtitle=_summary(verdicts),
        facts=_facts(measurement),
        scripts=("audit.js",),
        style=f"#fl-table.few tr > :nth-child(n+{_first(profile) + 1}) {{ display: none }}\n",
    )


@checked
def audit_fragment(result: AuditResult) -> str:
    """The audit as a piece of HTML without script, for a notebook's ``_repr_html_``.

    Examples
    --------
    >>> from firstlight.auditing import AuditResult
    >>> from firstlight.profile import Profile
    >>> "<script" in audit_fragment(AuditResult(Measurement(Profile({}, "audit"))))
    False
    """
    verdicts, profile = result.verdicts, result.profile
    model = clean(result.measurement.meta.get("model") or "Audit")
    return blocks.fragment(
        element("h3", model),
        element("p", _summary(verdicts), class_="subtitle"),
        verdict_cards(verdicts, profile),
        blocks.grid(*audit_charts(profile)[:3]),
        blocks.details(f"All {len(profile)} rows", _rows(profile)) if len(profile) else "",
    )


def verdict_cards(verdicts: Sequence[Verdict], profile: Profile | None = None) -> Markup:
    """One card per verdict, the gravest first."""
    if not verdicts:
        empty = "No check had anything to say about this model."
        return blocks.cards(
            blocks.card("Nothing found", blocks.paragraph(empty), tone="healthy", label="Healthy")
        )
    numbers = {str(name): i for i, name in reversed(list(enumerate(profile["name"])))} if profile else {}
    return blocks.cards(*(_card(verdict, numbers) for verdict in by_severity(verdicts)))


def _card(verdict: Verdict, numbers: Mapping[str, int]) -> Markup:
    terms = {"Cause": verdict.cause, "Remedy": verdict.remedy}
    more = {
        "Threshold": verdict.why,
        **_lines(verdict),
        "Source": verdict.source,
        "Code": element("code", verdict.code),
    }
    return blocks.card(
        verdict.title,
        blocks.paragraph(verdict.evidence) if verdict.evidence else "",
        _figures(verdict),
        blocks.term_list(terms),
        _layers(verdict.layers, numbers),
        blocks.details("Why this threshold, and the source", blocks.term_list(more))
        if verdict.why or verdict.source
        else "",
        tone=_tone(verdict.severity),
        label=WORDS[verdict.severity],
    )


def _lines(verdict: Verdict) -> dict[str, object]:
    """From where on the verdict warns and fails, and where the documentation explains it."""
    lines = known_lines(verdict)
    if lines is None:
        return {}
    place = documented(lines.page)
    link = element("a", place, href=place) if "://" in place else element("code", place)
    return {"Lines": lines.text, "Documentation": link}


def _figures(verdict: Verdict) -> Markup:
    """The deciding number, its error and the line it crossed."""
    if verdict.measured is None:
        return Markup("")
    error = f" ± {number(verdict.uncertainty, digits=2)}" if verdict.uncertainty is not None else ""
    unit = f" {verdict.unit}" if verdict.unit else ""
    parts: list[object] = ["measured ", element("b", number(verdict.measured) + error), unit]
    if verdict.threshold is not None:
        parts += [" · threshold ", element("b", number(verdict.threshold))]
    return element("p", *parts, class_="figures")


def _layers(layers: Sequence[str], numbers: Mapping[str, int]) -> Markup:
    if not layers:
        return Markup("")
    # only names of rows become buttons: another name leads to no row
    names = [
        element("button", name, type="button", class_="layer mono", data_r=numbers[name])
        if name in numbers
        else element("code", name)
        for name in layers[:_SHOWN_LAYERS]
    ]
    rest = len(layers) - _SHOWN_LAYERS
    more = f" and {rest} more" if rest > 0 else ""
    return element("p", element("span", "Rows ", class_="soft"), join(names, " "), more, class_="layers")


def _summary(verdicts: Sequence[Verdict]) -> Markup:
    severity = overall(verdicts)
    return element(
        "span",
        blocks.badge(_tone(severity), WORDS[severity]),
        " ",
        headline(verdicts),
        class_=f"verdict {_tone(severity)}",
    )


def _tone(severity: Severity) -> blocks.Tone:
    return "not-judged" if severity == "not judged" else severity


def _facts(measurement: Measurement) -> dict[str, object]:
    """The facts of the run that a reader knows the names of, as short texts."""
    facts: dict[str, object] = {"rows": len(measurement.profile)}
    if measurement.coverage.used:
        facts["coverage"] = measurement.coverage.text
    if start := followed(measurement.profile):
        facts["weights like"] = start
    for key, name in FACTS.items():
        value = measurement.meta.get(key)
        if isinstance(value, bool):
            facts[name] = "yes" if value else "no"
        elif isinstance(value, int):
            facts[name] = f"{value:,}".replace(",", " ") if key != "seed" else str(value)
        elif isinstance(value, float):
            facts[name] = number(value)
        elif value not in (None, "", (), [], {}):
            facts[name] = clean(shape_text(value))
    return facts


def _charts(profile: Profile) -> Markup:
    drawn = audit_charts(profile)
    if not drawn:
        return blocks.section(
            "Through the depth", blocks.paragraph("No row was measured, so nothing is drawn.")
        )
    intro = (
        "Marks are measured, lines and level strokes are Gaussian theory. Choose a mark to see its row below."
    )
    return blocks.section("Through the depth", blocks.grid(*drawn), intro=intro, identifier="charts")


def _law(measurement: Measurement) -> Markup:
    """The histogram and Q–Q plot of one row, and the means to choose another."""
    chosen = first_choice(measurement)
    if chosen is None:
        return Markup("")
    profile = measurement.profile
    bars, line = law_figures(measurement, chosen)
    facts = element(
        "div", _row_facts(profile, chosen), class_="chart rowfacts", id="fl-facts", aria_live="polite"
    )
    return blocks.section(
        "One row",
        chooser(profile, chosen),
        element("div", bars, line, facts, class_="grid", id="fl-law"),
        sample_block(measurement),
        identifier="row",
    )


def law_figures(measurement: Measurement, chosen: int) -> tuple[Markup, Markup]:
    """The histogram and the Q–Q plot of one row that has a sample."""
    profile, sample = measurement.profile, measurement.samples[chosen]
    mean, std = float(profile["mean"][chosen]), math.sqrt(max(float(profile["var"][chosen]), 0.0))
    if drawable(sample):
        bars = histogram(
            sample.counts, low=sample.low, high=sample.high, title="Histogram", x="entry", mean=mean, std=std
        )
        line = qq_plot(
            sample.quantiles,
            QUANTILE_LEVELS,
            title="Quantiles against a Gaussian",
            y="entry",
            mean=mean,
            std=std,
        )
    else:
        bars = histogram([], low=0.0, high=0.0, title="Histogram", caption=spoken(sample))
        line = qq_plot([], [], title="Quantiles against a Gaussian")
    return bars, line


def _row_facts(profile: Profile, row: int) -> Markup:
    pairs = {name.replace("_", " "): _cell(profile[name][row]) for name in columns_of(profile)}
    known = {name: value for name, value in pairs.items() if value not in ("", "–")}
    return join((element("b", "In numbers"), blocks.term_list(known)))


def _cell(value: object) -> str:
    return clean(value) if isinstance(value, str) else number(float(value))  # type: ignore[arg-type]


def _table(profile: Profile) -> Markup:
    if not len(profile):
        return Markup("")
    intro = "Order by any column; rest on a heading to read what it means. Choosing a row shows it above."
    toggle = element(
        "label", element("input", type="checkbox", id="fl-all"), " all columns", class_="all", hidden=True
    )
    whole = element("div", _rows(profile), data_first=_first(profile), id="fl-table")
    return blocks.section("All rows", toggle, whole, intro=intro, identifier="rows")


def _first(profile: Profile) -> int:
    """The number of important columns, which stand first."""
    return sum(name in FIRST for name in columns_of(profile))


def _rows(profile: Profile) -> Markup:
    names = columns_of(profile)
    heads = []
    for name in names:
        column = COLUMNS.get(name)
        unit = f" [{column.unit}]" if column is not None and column.unit else ""
        text = profile[name].dtype == object
        heads.append(Head(name.replace("_", " "), column.meaning + unit if column is not None else "", text))
    columns = [profile[name].tolist() for name in names]
    return table(heads, list(zip(*columns, strict=True)) if columns else [], numbered=True)


def _left_out(measurement: Measurement) -> Markup:
    parts = []
    coverage = measurement.coverage
    if coverage.without_row or coverage.gaps:
        calls = [
            join((element("code", w.name), f" ({w.calls} call{'s' if w.calls > 1 else ''}): ", w.reason))
            for w in coverage.without_row
        ]
        gaps = [join((element("code", name), ": a parameter without a row")) for name in coverage.gaps]
        parts.append(
            blocks.section("Called without a row", blocks.items(*calls, *gaps), identifier="coverage")
        )
    if measurement.skipped:
        entries = [join((element("code", s.name), ": ", s.reason)) for s in measurement.skipped]
        parts.append(blocks.section("Not measured", blocks.items(*entries), identifier="skipped"))
    if measurement.notes:
        parts.append(
            blocks.section("What limits these numbers", blocks.items(*measurement.notes), identifier="notes")
        )
    return join(parts)
