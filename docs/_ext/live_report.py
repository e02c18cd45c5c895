"""A directive that shows a piece of a real audit report, measured while the documentation is built.

    ```{live-report} charts
    ```

shows the charts of a deep tanh network; ``verdicts`` its verdict cards, ``row`` one layer's histogram and
Q–Q plot, ``columns`` the meaning of every column.
"""

from functools import cache

from docutils import nodes
from docutils.parsers.rst import Directive


@cache
def result():
    """The audit all pages show: 50 tanh layers of width 256 at σ_w = 1.89, on handwritten digits."""
    import torch

    import firstlight
    from firstlight.builders import mlp
    from firstlight.data import load

    data = load("digits", count=256)
    generator = torch.Generator().manual_seed(0)
    sizes = {"depth": 50, "width": 256}
    model = mlp(64, 10, **sizes, activation="tanh", sigma_w=1.89, sigma_b=0.0, generator=generator)
    return firstlight.audit(model, data.inputs, targets=data.targets)


def verdicts():
    from firstlight.auditing import verdict_cards

    return verdict_cards(result().verdicts, result().profile)


def charts():
    from firstlight.auditing._charts import audit_charts
    from firstlight.render import grid

    return grid(*audit_charts(result().profile))


def row():
    from firstlight.auditing._sample import first_choice
    from firstlight.auditing.page import law_figures
    from firstlight.render import grid

    return grid(*law_figures(result().measurement, first_choice(result().measurement)))


def columns():
    from firstlight.profile import COLUMNS
    from firstlight.render import Head, table

    rows = [[column.name, column.meaning, column.unit] for column in COLUMNS.values()]
    return table([Head("column", text=True), Head("meaning", text=True), Head("unit", text=True)], rows)


PIECES = {"verdicts": verdicts, "charts": charts, "row": row, "columns": columns}


class LiveReport(Directive):
    """Shows one of the pieces above."""

    required_arguments = 1

    def run(self):
        from firstlight.render import fragment

        piece = self.arguments[0]
        if piece not in PIECES:
            raise self.error(f"live-report: expected one of {', '.join(PIECES)}, got {piece!r}")
        html = fragment(PIECES[piece]())
        return [nodes.raw("", f'<div class="live-report {piece}">{html}</div>', format="html")]


def setup(app):
    app.add_directive("live-report", LiveReport)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
