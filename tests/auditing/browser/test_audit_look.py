"""How an audit page looks: themes, contrast, keyboard, narrow screens."""

import re

import pytest

pytestmark = pytest.mark.browser


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
