"""A directive that sets the rows of the last recorded benchmarks as one table for each topic.

```{benchmark-tables} ../benchmarks.json
```
"""

import json
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

TITLES = {
    "audit": "The audit",
    "batchnorm": "Deep batch normalisation",
    "ensemble": "Ensembles: samplers",
    "ensemble_runs": "Ensembles: runs",
    "ensemble_statistics": "Ensembles: statistics",
    "measure": "Statistics of a tensor",
    "pairs": "Gaussian pairs",
    "report": "Reports",
    "theory": "Theory",
}
HEADER, WIDTHS = ("Claim", "Measured", "Target", "Met", "How"), (46, 10, 10, 6, 28)


def cells(row):
    """One benchmark row as the texts of its cells."""
    sign = "≤" if row["lower_is_better"] else "≥"
    target = f"{sign} {row['target']:.3g}"
    if row["ratio"] is None:
        return row["claim"], "–", target, "–", row["detail"]
    met = row["ratio"] <= row["target"] if row["lower_is_better"] else row["ratio"] >= row["target"]
    return row["claim"], f"{row['ratio']:.3g}", target, "yes" if met else "no", row["detail"]


def table(rows):
    """A docutils table of texts under ``HEADER``."""
    result = nodes.table()
    group = nodes.tgroup(cols=len(HEADER))
    result += group
    group += [nodes.colspec(colwidth=width) for width in WIDTHS]
    head, body = nodes.thead(), nodes.tbody()
    group += [head, body]
    for part, lines in ((head, [HEADER]), (body, [cells(row) for row in rows])):
        for line in lines:
            part += nodes.row("", *(nodes.entry("", nodes.paragraph(text=text)) for text in line))
    return result


class BenchmarkTables(Directive):
    """The recorded rows, topic by topic."""

    required_arguments = 1

    def run(self):
        page = Path(self.state.document.current_source)
        path = (page.parent / self.arguments[0]).resolve()
        self.state.document.settings.record_dependencies.add(str(path))
        result = []
        for topic, rows in json.loads(path.read_text(encoding="utf-8")).items():
            title = TITLES.get(topic, topic.replace("_", " ").capitalize())
            result += [nodes.paragraph("", "", nodes.strong(text=title)), table(rows)]
        return result


def setup(app):
    app.add_directive("benchmark-tables", BenchmarkTables)
    return {"parallel_read_safe": True}
