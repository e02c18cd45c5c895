"""Pages of studies: one study with its drawing, claims and rows, or many studies on one page."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from firstlight import render
from firstlight.experiments.claim import Claim, Verdict
from firstlight.files.plain_data import Record
from firstlight.render.markup import Markup

if TYPE_CHECKING:
    from firstlight.experiments.result import StudyResult

_ROWS = 300
TONES: Mapping[Verdict, render.Tone] = {
    "reproduced": "healthy",
    "differs": "warning",
    "contradicted": "unhealthy",
    "not judged": "not-judged",
}
_HEADS = (
    render.Head("quantity", text=True),
    render.Head("paper", "what the paper says; empty where it prints nothing that could be read", text=True),
    render.Head("reference", "found another way: by theory, or measured before", text=True),
    render.Head("ours", "± one standard error; none where nothing is drawn at random", text=True),
    render.Head("verdict", text=True),
    render.Head("why", text=True),
)


def study_page(result: StudyResult) -> str:
    """One study as a self-contained HTML page."""
    study = result.study
    return render.page(
        study.shows[:1].upper() + study.shows[1:],
        *_blocks(result),
        _rows(result),
        subtitle=f"{study.name}: {study.source}",
        facts=_facts(result),
    )


def studies_page(results: Sequence[StudyResult], *, left_out: Mapping[str, str] | None = None) -> str:
    """Many studies on one page: a table of verdicts, then each study's drawing and claims.

    Parameters
    ----------
    results
        The studies, in order.
    left_out
        Studies that were not run, by name, and why.
    """
    heads = [
        render.Head("study", text=True), render.Head("source", text=True), render.Head("scale", text=True),
        *TONES, render.Head("minutes"),
    ]  # fmt: skip
    rows = [
        [
            render.element("a", r.study.name, href=f"#{_anchor(r)}"), r.study.source, r.scale,
            *r.findings.verdicts().values(), 60 * r.facts.get("hours", 0.0),
        ]
        for r in results
    ]  # fmt: skip
    parts = [render.section("Studies", render.table(heads, rows))]
    if left_out:
        words = [f"{name}: {why}" for name, why in left_out.items()]
        parts.append(render.section("Not run", render.items(*words)))
    for result in results:
        title = f"{result.study.name}: {result.study.shows}"
        parts.append(
            render.section(title, *_blocks(result), identifier=_anchor(result), intro=result.study.source)
        )
    found = [claim for result in results for claim in result.claims]
    return render.page("Studies reproduced", *parts, facts={"studies": len(results), "claims": len(found)})


def study_fragment(result: StudyResult) -> str:
    """One study for a notebook's output cell."""
    return str(render.fragment(*_blocks(result)))


def study_text(result: StudyResult) -> str:
    """The claims of a study as text: verdict, quantity, ours, reference, paper, and why.

    Examples
    --------
    >>> from firstlight.experiments import Findings, StudyResult, compared, find
    >>> claim = compared("q", ours=1.01, error=0.01, reference=1.0, paper="1 (Figure 2)", why="100 networks")
    >>> print(StudyResult(find("E1"), "quick", Findings((), (claim,))))
    wolinski2025/correlations, quick scale: Wolinski & Arbel, TMLR 2025, Figures 1 and 14
      reproduced    q: ours 1.01±0.01; reference 1; paper: 1 (Figure 2)
                    100 networks
    """
    lines = [f"{result.study.name}, {result.scale} scale: {result.study.source}"]
    for claim in result.claims:
        said = [f"ours {_ours(claim)}"]
        said += [f"reference {_exact(claim.reference)}"] if claim.reference == claim.reference else []
        said += [f"paper: {claim.paper}"] if claim.paper else []
        lines.append(f"  {claim.verdict:<12}  {claim.quantity}: {'; '.join(said)}")
        lines += textwrap.wrap(claim.why, 110, initial_indent=" " * 16, subsequent_indent=" " * 16)
    lines += [line for note in result.findings.notes for line in textwrap.wrap(f"note: {note}", 118)]
    return "\n".join(lines)


def claims_table(claims: Sequence[Claim]) -> Markup:
    """The table of claims: quantity, paper, reference, ours ± error, verdict, why."""
    rows = [
        [c.quantity, c.paper, _exact(c.reference), _ours(c), render.badge(TONES[c.verdict], c.verdict), c.why]
        for c in claims
    ]
    return render.element("div", render.table(list(_HEADS), rows), class_="sentences")


def _exact(value: float) -> str:
    return render.number(value, digits=5)


def _ours(claim: Claim) -> str:
    """What was drawn at random with its error, and what was not with all its digits."""
    return render.measured(claim.ours, claim.error) if claim.error else _exact(claim.ours)


def _blocks(result: StudyResult) -> list[object]:
    blocks: list[object] = [result.study.draw(result.findings)]
    if result.claims:
        blocks.append(render.section("What the paper says, and what we found", claims_table(result.claims)))
    if result.findings.notes:
        blocks.append(render.section("To know", render.items(*result.findings.notes)))
    return blocks


def _rows(result: StudyResult) -> Markup:
    """The rows, folded; of very many, the first ones."""
    rows = list(result.findings.rows)
    if not rows:
        return Markup("")
    heads = [render.Head(name, text=isinstance(value, str)) for name, value in rows[0].items()]
    shown = render.table(heads, [list(row.values()) for row in rows[:_ROWS]])
    more = f"{len(rows) - _ROWS} rows more are in the JSON." if len(rows) > _ROWS else ""
    return render.details(f"All {len(rows)} rows", shown, more)


def _facts(result: StudyResult) -> Record:
    facts = dict(result.facts)
    if "hours" in facts:
        hours = float(facts.pop("hours"))
        facts["took"] = f"{render.number(60 * hours)} min" if hours < 2 else f"{render.number(hours)} h"
    return {"scale": result.scale, **facts}


def _anchor(result: StudyResult) -> str:
    return result.study.name.replace("/", "-")
