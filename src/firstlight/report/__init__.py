"""Reports: self-contained HTML pages, inline SVG charts, and the audit in a terminal, in HTML and in JSON.

Any verb writes its page with the same blocks::

    from firstlight import report

    chart = report.line_chart(
        [report.Series("theory", depth, q_theory, "line"), report.Series("measured", depth, q, error=q_se)],
        title="Second moment", x=report.Axis("depth"), y=report.Axis("q", scale="log"), caption="…",
    )
    html = report.page(
        "My network",
        report.section("Charts", report.grid(chart), intro="What the charts show."),
        report.section("Table", report.table([report.Head("layer", text=True), "q"], rows)),
        facts={"depth": 50, "width": 256},
    )
    report.write_whole("report.html", html)

Every plain ``str`` handed to a block is escaped; the blocks return ``Markup``, which is not escaped again.
"""

from firstlight.report.audit_html import audit_fragment as audit_fragment
from firstlight.report.audit_html import audit_html as audit_html
from firstlight.report.audit_html import verdict_cards as verdict_cards
from firstlight.report.audit_json import audit_dict as audit_dict
from firstlight.report.audit_json import audit_from_dict as audit_from_dict
from firstlight.report.audit_text import audit_plain as audit_plain
from firstlight.report.audit_text import audit_text as audit_text
from firstlight.report.audit_text import print_audit as print_audit
from firstlight.report.axis import Axis as Axis
from firstlight.report.chart import Rule as Rule
from firstlight.report.chart import Series as Series
from firstlight.report.chart import line_chart as line_chart
from firstlight.report.files import WriteError as WriteError
from firstlight.report.files import write_whole as write_whole
from firstlight.report.heatmap import heat_map as heat_map
from firstlight.report.histogram import histogram as histogram
from firstlight.report.histogram import qq_plot as qq_plot
from firstlight.report.markup import Markup as Markup
from firstlight.report.markup import element as element
from firstlight.report.numbers import measured as measured
from firstlight.report.numbers import number as number
from firstlight.report.page import badge as badge
from firstlight.report.page import card as card
from firstlight.report.page import cards as cards
from firstlight.report.page import details as details
from firstlight.report.page import fact_list as fact_list
from firstlight.report.page import fragment as fragment
from firstlight.report.page import grid as grid
from firstlight.report.page import items as items
from firstlight.report.page import page as page
from firstlight.report.page import paragraph as paragraph
from firstlight.report.page import section as section
from firstlight.report.page import term_list as term_list
from firstlight.report.repair import repair_fragment as repair_fragment
from firstlight.report.repair import repair_html as repair_html
from firstlight.report.repair import repair_text as repair_text
from firstlight.report.table import Head as Head
from firstlight.report.table import table as table
