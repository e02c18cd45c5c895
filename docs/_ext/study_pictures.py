"""Directives that show stored results of studies: the table of all studies, pictures of one, and what departs.

    ```{study-table}
    ```

    ```{study-pictures} wolinski2025/deep-ks 0 1
    ```

shows the first two figures of that study; ``{study-departures}`` lists the claims that were not reproduced.
"""

import re
from itertools import groupby

from docutils import nodes
from docutils.parsers.rst import Directive

FIGURE = re.compile(r"<figure.*?</figure>", re.DOTALL)


def raw(*blocks):
    from firstlight.render import fragment

    return [nodes.raw("", f'<div class="live-report">{fragment(*blocks)}</div>', format="html")]


def ran(result):
    """Which scale was run, in the words of its command."""
    sizes = re.findall(r"--set (\S+)", result.facts["command"])
    hours = float(result.facts["hours"])
    took = f"{60 * hours:.2g} min" if hours < 2 else f"{hours:.1f} h"
    return f"{result.scale}{' with ' + ', '.join(sizes) if sizes else ''}: {took}, {result.facts['date']}"


class StudyTable(Directive):
    """Every study: its source, which scale was run and stored, and its verdicts."""

    def run(self):
        from firstlight import render
        from firstlight.experiments import stored, stored_names, studies
        from firstlight.experiments.page import TONES

        held = set(stored_names())
        rows = []
        for study in studies():
            result = stored(study.name) if study.name in held else None
            counts = result.findings.verdicts() if result else {}
            badges = [render.badge(TONES[word], f"{n} {word}") for word, n in counts.items() if n]
            said = render.element("div", *(render.element("div", one) for one in badges)) if badges else ""
            name = [render.element("div", part) for part in study.name.replace("/", "/ ").split()]
            where = ran(result) if result else "quick, in the tests"
            rows.append([render.element("span", *name), where, said, study.source])
        heads = [
            render.Head(name, text=True) for name in ("study", "scale run", "verdicts", "paper and figure")
        ]
        return raw(render.element("div", render.table(heads, rows), class_="sentences"))


class StudyPictures(Directive):
    """Figures of a stored result, by their numbers in its drawing."""

    required_arguments = 1
    optional_arguments = 9

    def run(self):
        from firstlight.experiments import stored
        from firstlight.render import Markup, element, grid

        name, *numbers = self.arguments
        result = stored(name)
        figures = FIGURE.findall(str(result.study.draw(result.findings)))
        chosen = [Markup(figures[int(number)]) for number in numbers]
        # two by two; a single one keeps the size of the others
        pairs = [chosen[i : i + 2] for i in range(0, len(chosen), 2)]
        return raw(*(grid(*pair, *[element("div")] * (2 - len(pair))) for pair in pairs))


class StudyDepartures(Directive):
    """The claims of all stored results that differ or are contradicted."""

    def run(self):
        from firstlight.experiments import stored, stored_names
        from firstlight.experiments.page import TONES
        from firstlight.render import Head, badge, element, table

        parts = []
        for name in stored_names():
            gone = [c for c in stored(name).claims if c.verdict in ("differs", "contradicted")]
            rows = []
            for (verdict, why, paper), some in groupby(gone, key=lambda c: (c.verdict, c.why, c.paper)):
                found = [element("div", f"{c.quantity}: {beside(c)}") for c in some]
                said = element("span", badge(TONES[verdict], verdict), element("div", paper))
                rows.append([element("span", *found), said, why])
            heads = [Head(word, text=True) for word in ("what we found", "what the paper says", "why")]
            if rows:
                parts += [element("h3", name), element("div", table(heads, rows), class_="sentences")]
        return raw(*parts)


def beside(claim):
    """Ours, and the reference where there is one."""
    from firstlight.render import measured, number

    ours = measured(claim.ours, claim.error) if claim.error else number(claim.ours, digits=4)
    known = claim.reference == claim.reference
    return f"{ours} (reference {number(claim.reference, digits=4)})" if known else ours


def setup(app):
    app.add_directive("study-table", StudyTable)
    app.add_directive("study-pictures", StudyPictures)
    app.add_directive("study-departures", StudyDepartures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
