"""The audit page's table and chooser: rows that sort, and pictures that follow the chosen row."""

import re

import pytest

pytestmark = pytest.mark.browser


def test_columns_sort_by_value_up_down_and_back(reader, pages):
    reader.open(pages["deep"])
    before = reader.column("q")
    reader.sort("q")
    numbers = [float(v) for v in reader.column("q")]
    assert numbers == sorted(numbers)
    assert reader.js("return document.querySelector('#fl-table th[aria-sort]').ariaSort") == "ascending"
    reader.sort("q")
    assert [float(v) for v in reader.column("q")] == sorted(numbers, reverse=True)
    reader.sort("q")
    assert reader.column("q") == before
    assert reader.all("th[aria-sort]") == []


def test_names_sort_naturally_and_missing_or_infinite_numbers_have_their_place(reader, pages):
    reader.open(pages["deep"])
    reader.sort("name")
    assert reader.column("name")[:12] == [str(i) for i in range(12)]
    reader.open(pages["hostile"])
    reader.sort("q")
    assert reader.column("q") == ["−∞", "−1", "0", "4.94e−324", "1", "1e308", "∞", ""]
    reader.sort("q")
    assert reader.column("q") == ["∞", "1e308", "1", "4.94e−324", "0", "−1", "−∞", ""]


def test_choosing_a_row_changes_histogram_quantiles_numbers_and_marks(reader, pages):
    reader.open(pages["deep"])
    bars = "return document.querySelector('#fl-law path.hist').getAttribute('d')"
    points = (
        "return [...document.querySelectorAll('#fl-law .c0 circle')].map(c => c.getAttribute('cy')).join()"
    )
    seen = set()
    for row in ("1", "2", "9"):
        reader.choose(row)
        seen.add((reader.js(bars), reader.js(points), reader.text("#fl-facts dl")))
        assert reader.js("return document.querySelector('tr.on').dataset.r") == row
        assert reader.js(
            "return [...new Set([...document.querySelectorAll('.picked')].map(n => n.dataset.r))]"
        ) == [row]
    assert len(seen) == 3
    reader.click("tbody tr[data-r='20']")
    assert reader.js("return document.getElementById('fl-row').value") == "20"
    reader.click(".step[data-step='1']")
    assert reader.js("return document.getElementById('fl-row').value") == "21"
    reader.tell("#charts circle[data-r='40']", "new MouseEvent('click', {bubbles: true})")
    assert reader.js("return document.getElementById('fl-row').value") == "40"
    reader.click("button.layer[data-r='7']")
    assert reader.js("return document.getElementById('fl-row').value") == "7"


def test_the_script_draws_the_same_picture_as_the_page_came_with(reader, pages, deep_tanh):
    source = pages["deep"].read_text(encoding="utf-8")
    drawn = re.search(r'<path d="([^"]+)" class="hist"/>', source)[1]
    reader.open(pages["deep"])
    again = reader.js("return document.querySelector('#fl-law path.hist').getAttribute('d')")
    numbers = [[float(v) for v in re.findall(r"[\d.]+", d)] for d in (drawn, again)]
    # heights travel in 8 bits: half a step of 198 / 255 pixels, and a tenth from rounding
    assert numbers[1] == pytest.approx(numbers[0], abs=0.5)


def test_marks_name_their_row_when_the_pointer_rests_on_them(reader, pages):
    reader.open(pages["deep"])
    assert reader.js("return document.querySelector('.tip').hidden")
    reader.at("#charts circle[data-r='9']", "pointermove")
    assert reader.text(".tip") == "8 · weight"
    assert not reader.js("return document.querySelector('.tip').hidden")


def test_all_columns_appear_when_asked_for(reader, pages):
    reader.open(pages["deep"])
    shown = "return [...document.querySelectorAll('#fl-table th')].filter(h => h.offsetParent).length"
    few = reader.js(shown)
    reader.click("#fl-all")
    assert reader.js(shown) > few
    reader.click("#fl-all")
    assert reader.js(shown) == few


def test_a_thousand_rows_are_ready_at_once(reader, pages):
    # seconds of the page's own thread, so that what else the machine does is not counted
    reader.driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    reader.open(pages["thousand"])
    reader.sort("q")
    reader.js("return document.body.offsetHeight")
    metrics = reader.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    spent = {metric["name"]: metric["value"] for metric in metrics}
    reader.driver.execute_cdp_cmd("Performance.disable", {})
    assert 0 < spent["TaskDuration"] < 4.0, spent


def test_every_mark_can_be_chosen_through_the_lines_over_it(reader, pages):
    """A pointer at a mark's centre chooses that mark, though a line of theory or another mark takes the click."""
    reader.open(pages["deep"])
    charts = reader.js("return document.querySelectorAll('#charts figure').length")
    for chart in range(1, charts + 1):
        figure = f"#charts figure:nth-of-type({chart})"
        rows = reader.js(f"return [...document.querySelectorAll('{figure} [data-r]')].map(n => n.dataset.r)")
        reached = set()
        for row in rows:
            # marks on one another take turns
            for _ in range(9):
                reader.at(f"{figure} [data-r='{row}']", "click")
                reached.add(reader.js("return document.querySelector('tr.on').dataset.r"))
                if row in reached:
                    break
        assert reached == set(rows), figure
