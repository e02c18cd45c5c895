"""Charts as a browser draws them."""

import pytest

from firstlight.files import write_whole
from firstlight.render import Axis, Series, heat_map, line_chart, page

pytestmark = pytest.mark.browser


def test_every_chart_is_there_and_drawn_inside_its_frame(reader, pages):
    reader.open(pages["deep"])
    assert reader.all("#charts figcaption b") == [
        "Gradient", "Second moment", "Correlation of samples", "Distance from a Gaussian", "Effective rank",
        "Isometry gap",
    ]  # fmt: skip
    assert reader.outside() == []
    sizes = reader.js(
        "return [...document.querySelectorAll('#charts circle')].map(n => n.getBoundingClientRect().width)"
    )
    assert len(sizes) > 400
    assert min(sizes) > 3


def test_the_pointer_reaches_every_mark_through_lines_and_bars(reader, pages):
    """What lies on top at the centre of each mark is a mark: that one, or another at the same place."""
    reader.open(pages["deep"])
    on_top = reader.js(
        "const seen = [];"
        "for (const svg of document.querySelectorAll('#charts figure > svg')) {"
        "svg.scrollIntoView({block: 'center', behavior: 'instant'});"
        "for (const mark of svg.querySelectorAll('circle, .squares rect')) {"
        "const b = mark.getBoundingClientRect();"
        "seen.push(document.elementFromPoint(b.left + b.width / 2, b.top + b.height / 2).tagName) } }"
        "return seen"
    )
    assert len(on_top) > 400
    assert set(on_top) <= {"circle", "rect"}


def test_a_heat_map_and_an_empty_chart_are_drawn(reader, tmp_path):
    blocks = [
        heat_map([[1.0, 2.0], [3.0, 4.0]], title="m", x=Axis("a"), y=Axis("b")),
        line_chart([], title="e"),
    ]
    reader.open(write_whole(tmp_path / "p.html", page("t", *blocks)))
    box = reader.js(
        "const b = document.querySelector('.cells').getBBox(); return [b.x, b.y, b.width, b.height]"
    )
    assert box == pytest.approx([52, 12, 290, 198], abs=1)
    assert "no finite values to draw" in reader.text("main")
    assert reader.complaints() == []


LONG = {
    "tiny": [1.25e-12 + 1e-15 * i for i in range(9)],
    "negative": [-1.2534e6 - 50.0 * i for i in range(9)],
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("width", [400, 1280])
def test_long_tick_labels_keep_clear_of_the_axis_label(reader, tmp_path, name, width):
    chart = line_chart([Series("s", range(9), LONG[name], "line")], title="t", y=Axis("variance"))
    reader.open(write_whole(tmp_path / "long.html", page("t", chart)), width=width)
    label, left = reader.js(
        "return [document.querySelector('.ly').getBoundingClientRect().right,"
        "Math.min(...[...document.querySelectorAll('.ty')].map(n => n.getBoundingClientRect().left))]"
    )
    assert label <= left
    assert reader.outside() == []


def test_cells_of_a_heat_map_leave_no_seam(reader, tmp_path):
    """Every edge of a cell is the very edge of its neighbour, at any number of columns."""
    rows = [[(i * 7 + j * 3) % 11 / 10 for j in range(47)] for i in range(37)]
    reader.open(
        write_whole(tmp_path / "map.html", page("t", heat_map(rows, title="m", x=Axis("a"), y=Axis("b"))))
    )
    area, whole = reader.js(
        "const g = document.querySelector('.cells'), b = g.getBBox();"
        "const n = d => d.match(/[\\d.]+/g).map(Number); let a = 0;"
        "for (const p of g.children) for (const d of p.getAttribute('d').split('z').filter(Boolean)) {"
        "const [x, y, right, bottom] = n(d); a += (right - x) * (bottom - y) }"
        "return [a, b.width * b.height]"
    )
    assert area == pytest.approx(whole, rel=1e-6)
