"""What an audit page must never do, and that it can be read without scripts and on paper."""

import base64
import re

import pytest

from firstlight.files import write_whole
from firstlight.render import page
from firstlight.render.markup import Markup

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("name", ["deep", "hostile", "thousand", "none", "one"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_complains_asks_for_anything_or_runs_what_a_name_says(reader, pages, name, scheme):
    reader.open(pages[name], scheme=scheme)
    if name != "none" and reader.js("return !!document.getElementById('fl-row')"):
        for _ in range(4):
            reader.click(".step[data-step='1']")
    assert reader.complaints() == []
    assert reader.requests() == [pages[name].as_uri()]
    # an alert of a hostile name would have made every further command fail
    assert reader.js("return document.querySelectorAll('img').length") == 0


def test_the_policy_stops_what_a_page_was_never_meant_to_run(reader, tmp_path):
    planted = page(
        "t", Markup("<p id=p></p><script>document.getElementById('p').textContent = 'ran'</script>")
    )
    reader.open(write_whole(tmp_path / "planted.html", planted))
    assert reader.text("#p") == ""
    assert "Content Security Policy" in reader.complaints()[0]["message"]


def test_without_scripts_everything_can_still_be_read(reader, pages, tmp_path):
    bare = re.sub(r"<script(?! type).*?</script>", "", pages["deep"].read_text(encoding="utf-8"), flags=re.S)
    reader.open(write_whole(tmp_path / "bare.html", bare))
    assert len(reader.all("#fl-table tbody tr")) == 101
    assert reader.js("return document.querySelectorAll('#fl-law .hist').length") == 1
    assert reader.js("return document.querySelector('.theme').offsetParent") is None


def test_print_is_light_whole_and_free_of_controls(reader, pages):
    reader.open(pages["deep"], scheme="dark")
    printed = reader.driver.execute_cdp_cmd(
        "Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True}
    )
    pdf = base64.b64decode(printed["data"])
    assert pdf.startswith(b"%PDF")
    sheets = len(re.findall(rb"/Type\s*/Page[^s]", pdf))
    assert 2 <= sheets <= 12
    reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert reader.js("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert reader.js("return getComputedStyle(document.body).color") == "rgb(28, 33, 40)"
    hidden = "return [...document.querySelectorAll('.theme, .chooser button')].every(n => !n.offsetParent)"
    assert reader.js(hidden)
    assert reader.js(
        "return document.querySelector('.scroll').scrollHeight <= document.querySelector('.scroll').clientHeight + 1"
    )
