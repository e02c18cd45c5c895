"""A headless Chromium, what a reader does with a page in it, and the audit pages that are read."""

import json
import shutil

import pytest

from firstlight.auditing import AuditResult

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

    def at(self, selector, event):
        """What the pointer does at the centre of an element, told to whatever lies on top there."""
        # a page tells that it was scrolled with its next frame
        self.js(
            "document.querySelector(arguments[0]).ownerSVGElement.scrollIntoView({block: 'center'});"
            "return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))",
            selector,
        )
        self.js(
            "const n = document.querySelector(arguments[0]);"
            "const b = n.getBoundingClientRect(), x = b.left + b.width / 2, y = b.top + b.height / 2;"
            "const top = document.elementFromPoint(x, y);"
            "top.dispatchEvent(new PointerEvent(arguments[1], {bubbles: true, clientX: x, clientY: y}))",
            selector,
            event,
        )

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

    def outside(self):
        """What is drawn beyond the frame of its chart."""
        return self.js(
            "return [...document.querySelectorAll('figure > svg')].flatMap(svg => {"
            "const f = svg.getBoundingClientRect();"
            "return [...svg.querySelectorAll('circle, path, text')].filter(n => { const b = n.getBoundingClientRect();"
            "return b.left < f.left - 1 || b.right > f.right + 1 || b.top < f.top - 1 || b.bottom > f.bottom + 1 })"
            ".map(n => n.outerHTML) })"
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
    return {name: AuditResult(*audit).to_html(folder / f"{name}.html") for name, audit in audits.items()}
