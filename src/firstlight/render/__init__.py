"""Render: the drawing kit of every page: inline SVG charts, tables, cards, one self-contained HTML page.

Every verb draws its page with the same blocks::

    from firstlight import files, render

    chart = render.line_chart(
        [render.Series("theory", depth, q_theory, "line"), render.Series("measured", depth, q, error=q_se)],
        title="Second moment", x=render.Axis("depth"), y=render.Axis("q", scale="log"), caption="…",
    )
    html = render.page(
        "My network",
        render.section("Charts", render.grid(chart), intro="What the charts show."),
        render.section("Table", render.table([render.Head("layer", text=True), "q"], rows)),
        facts={"depth": 50, "width": 256},
    )
    files.write_whole("page.html", html)

Every plain ``str`` handed to a block is escaped; the blocks return ``Markup``, which is not escaped again.
"""

from firstlight.render._chance import kept_random as kept_random
from firstlight.render.axis import Axis as Axis
from firstlight.render.brief import one_line as one_line
from firstlight.render.brief import small_table as small_table
from firstlight.render.chart import Rule as Rule
from firstlight.render.chart import Series as Series
from firstlight.render.chart import line_chart as line_chart
from firstlight.render.document import Document as Document
from firstlight.render.heatmap import heat_map as heat_map
from firstlight.render.histogram import histogram as histogram
from firstlight.render.histogram import qq_plot as qq_plot
from firstlight.render.markup import Markup as Markup
from firstlight.render.markup import element as element
from firstlight.render.numbers import measured as measured
from firstlight.render.numbers import number as number
from firstlight.render.page import Tone as Tone
from firstlight.render.page import badge as badge
from firstlight.render.page import card as card
from firstlight.render.page import cards as cards
from firstlight.render.page import details as details
from firstlight.render.page import fact_list as fact_list
from firstlight.render.page import fragment as fragment
from firstlight.render.page import grid as grid
from firstlight.render.page import items as items
from firstlight.render.page import page as page
from firstlight.render.page import paragraph as paragraph
from firstlight.render.page import section as section
from firstlight.render.page import term_list as term_list
from firstlight.render.table import Head as Head
from firstlight.render.table import table as table
