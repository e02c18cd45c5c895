"""The audit page in a real headless Chromium: what a reader can do with it, and what it must never do."""

import base64
import json
import re
import shutil

import pytest

from firstlight.report import audit_html, line_chart, page, write_whole
from firstlight.report.markup import Markup

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-dev-shm-usage",
)  # fmt: skip


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    from selenium import webdriver

    driver, browser = shutil.which("chromedriver"), shutil.which("chromium")
    assert driver, "chromedriver is missing: .ci/browser installs it from Debian"
    assert browser, "chromium is missing: .ci/browser installs it from Debian"
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield running
    running.quit()


class Reader:
    """A page that is open, and the few things a reader does with it."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path, *, width=1280, height=1600, scheme="light"):
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
        self.driver.get_log("performance")
        self.driver.get_log("browser")
        self.driver.get(path.as_uri())
        return self

    def js(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0]).textContent", selector)

    def all(self, selector):
        return self.js(
            "return [...document.querySelectorAll(arguments[0])].map(n => n.textContent)", selector
        )

    def click(self, selector):
        self.js("document.querySelector(arguments[0]).click()", selector)

    def tell(self, selector, event):
        self.js(f"document.querySelector(arguments[0]).dispatchEvent({event})", selector)

    def column(self, title):
        """The texts of one column of the big table, from top to bottom."""
        return self.js(
            "const t = document.querySelector('#fl-table table');"
            "const i = [...t.tHead.rows[0].cells].findIndex(c => c.textContent === arguments[0]);"
            "return [...t.tBodies[0].rows].map(r => r.cells[i].textContent)",
            title,
        )

    def sort(self, title):
        self.js(
            "[...document.querySelectorAll('#fl-table th button')].find(b => b.textContent === arguments[0]).click()",
            title,
        )

    def choose(self, value):
        self.js(
            "const s = document.getElementById('fl-row'); s.value = arguments[0];"
            "s.dispatchEvent(new Event('change'))",
            value,
        )

    def complaints(self):
        return self.driver.get_log("browser")

    def requests(self):
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]


@pytest.fixture(scope="session")
def reader(chromium):
    return Reader(chromium)


@pytest.fixture(scope="session")
def pages(tmp_path_factory, deep_tanh, hostile, thousand_rows, no_rows, one_row, verdicts, hostile_verdicts):
    folder = tmp_path_factory.mktemp("pages")
    audits = {
        "deep": (deep_tanh, verdicts),
        "hostile": (hostile, hostile_verdicts),
        "thousand": (thousand_rows, verdicts),
        "none": (no_rows, ()),
        "one": (one_row, ()),
    }
    return {name: write_whole(folder / f"{name}.html", audit_html(*audit)) for name, audit in audits.items()}


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


def test_every_chart_is_there_and_drawn_inside_its_frame(reader, pages):
    reader.open(pages["deep"])
    assert reader.all("#charts figcaption b") == [
        "Gradient", "Second moment", "Correlation of samples", "Distance from a Gaussian", "Effective rank",
        "Isometry gap",
    ]  # fmt: skip
    outside = reader.js(
        "return [...document.querySelectorAll('figure > svg')].flatMap(svg => { const f = svg.getBoundingClientRect();"
        "return [...svg.querySelectorAll('circle, path, text')].filter(n => { const b = n.getBoundingClientRect();"
        "return b.left < f.left - 1 || b.right > f.right + 1 || b.top < f.top - 1 || b.bottom > f.bottom + 1 })"
        ".map(n => n.outerHTML) })"
    )
    assert outside == []
    sizes = reader.js(
        "return [...document.querySelectorAll('#charts circle')].map(n => n.getBoundingClientRect().width)"
    )
    assert len(sizes) > 400
    assert min(sizes) > 3


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
    assert reader.column("q") == ["−∞", "−1", "0", "4.94e−324", "1", "1e308", "∞", "–"]
    reader.sort("q")
    assert reader.column("q") == ["∞", "1e308", "1", "4.94e−324", "0", "−1", "−∞", "–"]


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
    reader.tell("#charts circle[data-r='9']", "new PointerEvent('pointerover', {bubbles: true})")
    assert reader.text(".tip") == "8 · weight"
    assert not reader.js("return document.querySelector('.tip').hidden")


def test_the_theme_follows_the_system_and_then_the_button(reader, pages):
    ground = "return getComputedStyle(document.body).backgroundColor"
    reader.open(pages["deep"], scheme="dark")
    dark = reader.js(ground)
    assert reader.text(".theme") == "Light theme"
    reader.open(pages["deep"], scheme="light")
    light = reader.js(ground)
    assert light != dark
    reader.click(".theme")
    assert reader.js(ground) == dark
    assert reader.text(".theme") == "Light theme"
    reader.click(".theme")
    assert reader.js(ground) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(reader, pages, scheme):
    """Contrast of at least 4.5 for text and 3 for what is drawn (WCAG 2.2, 1.4.3 and 1.4.11)."""
    reader.open(pages["deep"], scheme=scheme)
    colours = reader.js(
        "const probe = document.createElement('i'); document.body.append(probe);"
        "const take = name => { probe.style.color = `var(${name})`; return getComputedStyle(probe).color };"
        "return Object.fromEntries(arguments[0].map(name => [name, take(name)]))",
        ["--paper", "--card", "--ink", "--soft", "--link", "--unhealthy", "--warning", "--note", "--healthy",
         "--faint", "--c0", "--c1", "--c2", "--c3", "--c4", "--c5"],
    )  # fmt: skip

    def luminance(colour):
        parts = [int(v) / 255 for v in re.findall(r"\d+", colour)[:3]]
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    for name, colour in colours.items():
        if name in ("--paper", "--card", "--faint"):
            continue
        for ground in ("--paper", "--card", "--faint"):
            pair = sorted((luminance(colour), luminance(colours[ground])))
            needed = 3.0 if re.fullmatch(r"--c\d", name) else 4.5
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= needed, (name, ground)


def test_all_can_be_reached_and_used_from_the_keyboard(reader, pages):
    from selenium.webdriver.common.keys import Keys

    reader.open(pages["deep"])
    body = reader.driver.find_element("css selector", "body")
    reached = []
    for _ in range(80):
        reader.driver.switch_to.active_element.send_keys(Keys.TAB) if reached else body.send_keys(Keys.TAB)
        if reader.js("return document.activeElement === document.body"):
            break
        reached.append(reader.js("const n = document.activeElement; return n.className || n.id || n.tagName"))
        outline = reader.js("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", reached[-1]
    for stop in ("theme", "layer mono", "SUMMARY", "fl-row", "step", "fl-all", "BUTTON"):
        assert stop in reached, f"{stop} cannot be reached: {reached}"
    head = reader.driver.find_element("css selector", "#fl-table th:nth-child(5) button")
    head.send_keys(Keys.ENTER)
    numbers = [float(v) for v in reader.column("q")]
    assert numbers == sorted(numbers)
    reader.driver.find_element("css selector", "#fl-row").send_keys(Keys.ARROW_DOWN)
    assert reader.js("return document.querySelector('tr.on').dataset.r") == "2"


@pytest.mark.parametrize("name", ["deep", "hostile", "thousand", "none", "one"])
@pytest.mark.parametrize("width", [320, 400, 1280])
def test_no_page_scrolls_sideways(reader, pages, name, width):
    reader.open(pages[name], width=width)
    assert reader.js("return document.documentElement.scrollWidth") <= width


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


def test_without_scripts_everything_can_still_be_read(reader, pages, tmp_path):
    bare = re.sub(r"<script(?! type).*?</script>", "", pages["deep"].read_text(encoding="utf-8"), flags=re.S)
    reader.open(write_whole(tmp_path / "bare.html", bare))
    assert len(reader.all("#fl-table tbody tr")) == 101
    assert reader.js("return document.querySelectorAll('#fl-law .hist').length") == 1
    assert reader.js("return document.querySelector('.theme').offsetParent") is None


def test_a_heat_map_and_an_empty_chart_are_drawn(reader, tmp_path):
    from firstlight.report import Axis, heat_map

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


@pytest.fixture(scope="session")
def depth_pages(tmp_path_factory):
    """What ``firstlight bn`` writes: a sound batch with training, and one too small, whose gaps are infinite."""
    from firstlight.cli import main

    folder = tmp_path_factory.mktemp("bn")
    sound, small = folder / "sound.html", folder / "small.html"
    common = ["bn", "--depth", "120", "--width", "16"]
    assert main([*common, "--uncentred", "--batch", "20", "--data", "24", "--html", str(sound)]) == 0
    assert main([*common, "--batch", "9", "--data", "digits", "--epochs", "1", "--html", str(small)]) == 0
    return {"sound": sound, "small": small}


@pytest.mark.parametrize("name", ["sound", "small"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_of_deep_batch_norm(reader, depth_pages, name, scheme, width):
    reader.open(depth_pages[name], width=width, scheme=scheme)
    assert reader.complaints() == []
    assert reader.requests() == [depth_pages[name].as_uri()]
    assert reader.js("return document.documentElement.scrollWidth") <= width
    assert [t.split("\n")[0] for t in reader.all("figcaption b")][:2] == [
        "Isometry gap of the features", "Gradient of the weights",
    ]  # fmt: skip
    assert ("Accuracy" in reader.all("figcaption b")) == (name == "small")
    outside = reader.js(
        "return [...document.querySelectorAll('figure > svg')].flatMap(svg => { const f = svg.getBoundingClientRect();"
        "return [...svg.querySelectorAll('circle, path, text')].filter(n => { const b = n.getBoundingClientRect();"
        "return b.left < f.left - 1 || b.right > f.right + 1 || b.top < f.top - 1 || b.bottom > f.bottom + 1 })"
        ".map(n => n.outerHTML) })"
    )
    assert outside == []
    text = reader.js("return document.body.innerText")
    assert "gradient" in text.lower()
    assert "NaN" not in text
    assert "undefined" not in text
    ground = reader.js("return getComputedStyle(document.body).backgroundColor")
    assert (sum(int(v) for v in re.findall(r"\d+", ground)[:3]) < 200) == (scheme == "dark")


@pytest.fixture(scope="session")
def theory_pages(tmp_path_factory):
    from firstlight.cli import main

    folder = tmp_path_factory.mktemp("theory")
    verbs = {
        "predict": "predict --activation relu --sigma-w 1.4142 --depth 12 --width 10",
        "density": "predict --activation tanh --depth 8 --width 5 --level density --against 400",
        "edge": "edge tanh",
        "point": "edge relu",
    }
    for name, line in verbs.items():
        assert main([*line.split(), "--html", str(folder / f"{name}.html")]) == 0
    return {name: folder / f"{name}.html" for name in verbs}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize(("name", "charts"), [("predict", 4), ("density", 5), ("edge", 3), ("point", 1)])
def test_pages_of_theory_are_whole_and_quiet(reader, theory_pages, name, charts, width, scheme):
    reader.open(theory_pages[name], width=width, scheme=scheme)
    assert reader.complaints() == []
    assert reader.requests() == [theory_pages[name].as_uri()]
    assert reader.js("return document.documentElement.scrollWidth") <= width
    assert len(reader.all("figure > svg")) == charts
    outside = reader.js(
        "return [...document.querySelectorAll('figure > svg')].flatMap(svg => { const f = svg.getBoundingClientRect();"
        "return [...svg.querySelectorAll('circle, path, text')].filter(n => { const b = n.getBoundingClientRect();"
        "return b.left < f.left - 1 || b.right > f.right + 1 || b.top < f.top - 1 || b.bottom > f.bottom + 1 })"
        ".map(n => n.outerHTML) })"
    )
    assert outside == []
