"""A directive that sets the newest rows of each benchmark as one table, with what earlier runs measured.

```{benchmark-tables} ../benchmarks.json
```
"""

import sys
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import Directive

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks import history

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
    "training": "Training",
}
HEADER, WIDTHS = ("Claim", "Before", "Measured", "Target", "Met", "How"), (40, 12, 10, 10, 6, 22)


def cells(row, earlier):
    """One benchmark row as the texts of its cells; ``earlier`` is what it measured before, the oldest first."""
    sign = "≤" if row["lower_is_better"] else "≥"
    target = f"{sign} {row['target']:.3g}"
    past = " → ".join(f"{ratio:.3g}" for ratio in earlier) or "–"
    if row["ratio"] is None:
        return row["claim"], past, "–", target, "–", row["detail"]
    met = row["ratio"] <= row["target"] if row["lower_is_better"] else row["ratio"] >= row["target"]
    return row["claim"], past, f"{row['ratio']:.3g}", target, "yes" if met else "no", row["detail"]


def table(lines):
    """A docutils table of texts under ``HEADER``."""
    result = nodes.table()
    group = nodes.tgroup(cols=len(HEADER))
    result += group
    group += [nodes.colspec(colwidth=width) for width in WIDTHS]
    head, body = nodes.thead(), nodes.tbody()
    group += [head, body]
    for part, texts in ((head, [HEADER]), (body, lines)):
        for line in texts:
            part += nodes.row("", *(nodes.entry("", nodes.paragraph(text=text)) for text in line))
    return result


class BenchmarkTables(Directive):
    """The recorded rows, topic by topic."""

    required_arguments = 1

    def run(self):
        page = Path(self.state.document.current_source)
        path = (page.parent / self.arguments[0]).resolve()
        self.state.document.settings.record_dependencies.add(str(path))
        entries, result = history.read(path), []
        for topic, entry in history.newest(entries).items():
            title = TITLES.get(topic, topic.replace("_", " ").capitalize())
            lines = [cells(row, history.before(entries, topic, row["claim"])) for row in entry["rows"]]
            with_what = ", ".join(f"{name} {version}" for name, version in entry["versions"].items())
            about = f"  {entry['date'][:10]}, {with_what}; {entry['processor']}"
            head = nodes.paragraph("", "", nodes.strong(text=title), nodes.Text(about))
            result += [head, table(lines)]
        return result


def setup(app):
    app.add_directive("benchmark-tables", BenchmarkTables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
