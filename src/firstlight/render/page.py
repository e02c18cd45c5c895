"""One self-contained HTML page: sections, cards, grids of figures, facts; nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Literal

from firstlight.render.markup import Markup, element, escape, join

Tone = Literal["neutral", "healthy", "note", "warning", "not-judged", "unhealthy"]

_SUN = Markup(
    '<svg viewBox="0 0 24 24" aria-hidden="true">'
    '<path d="M2 18h20M6 18a6 6 0 0 1 12 0M12 4v4M3.9 9.9l2.1 2.1M20.1 9.9 18 12"/></svg>'
)
_ICONS: dict[str, str] = {
    "unhealthy": "M12 3 22 20H2zM12 10v4M12 17v.01",
    "not-judged": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM9.5 9.5a2.5 2.5 0 1 1 2.5 3v1.5M12 17v.01",
    "warning": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 8v5M12 16v.01",
    "note": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 11v5M12 8v.01",
    "healthy": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM8 12l3 3 5-6",
}


def page(
    title: str,
    *blocks: object,
    subtitle: object = "",
    facts: Mapping[str, object] | None = None,
    scripts: tuple[str, ...] = (),
    style: str = "",
) -> str:
    """A whole HTML document that makes no request, in light and dark, for screen and print.

    Parameters
    ----------
    title
        Heading of the page and name of the window.
    *blocks
        What the page holds, in order: sections, grids, cards, tables, figures; plain text is escaped.
    subtitle
        A sentence under the title.
    facts
        Names and values shown in a row under the title.
    scripts
        Names of further scripts in ``report/assets``; a content security policy admits these and no others.
    style
        Further rules of CSS, for this page alone.

    Returns
    -------
    str
        The document, for ``firstlight.files.write_whole``.

    Examples
    --------
    >>> text = page("Two layers", section("Charts", "none yet"), facts={"width": 64})
    >>> text.startswith("<!doctype html>") and "src=" not in text
    True
    """
    styles = asset("base.css") + asset("page.css") + style
    codes = [asset(name) for name in ("page.js", *scripts)]
    admitted = " ".join(f"'{_digest(code)}'" for code in codes)
    policy = (
        f"default-src 'none'; style-src '{_digest(styles)}'; script-src {admitted}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        Markup('<link rel="icon" href="data:,">'),
        element("style", Markup(styles)),
    ]
    button = element("button", "Dark theme", type="button", class_="theme", hidden=True)
    top = element("div", element("span", _SUN, "firstlight", class_="brand"), button, class_="top")
    below = element("p", subtitle, class_="subtitle") if subtitle else ""
    header = element("header", top, element("h1", title), below, fact_list(facts) if facts else "")
    body = element("body", header, element("main", join(blocks)), _footer(), *_run(codes), class_="fl")
    return f'<!doctype html>\n<html lang="en">{element("head", *head)}{body}</html>\n'


def section(title: str, *blocks: object, intro: str = "", identifier: str | None = None) -> Markup:
    """A titled part of a page.

    Examples
    --------
    >>> section("Law", "P of N(0,1)")
    '<section><h2>Law</h2>P of N(0,1)</section>'
    """
    below = element("p", intro, class_="intro") if intro else ""
    return element("section", element("h2", title), below, join(blocks), id=identifier)


def cards(*blocks: object) -> Markup:
    """Cards side by side where there is room."""
    return element("div", join(blocks), class_="cards")


def card(title: str, *blocks: object, tone: Tone = "neutral", label: str = "") -> Markup:
    """A card with a title; the tone gives its colour and icon, the label says the same in words.

    Examples
    --------
    >>> text = card("Exploding gradients", "Grows by 1.3 per layer.", tone="unhealthy", label="Unhealthy")
    >>> 'class="card unhealthy"' in text
    True
    """
    mark = badge(tone, label) if label else ""
    return element("article", mark, element("h3", title), join(blocks), class_=f"card {tone}")


def badge(tone: Tone, label: str) -> Markup:
    """An icon and a word in the colour of a tone, so that colour never speaks alone."""
    icon = ""
    if tone in _ICONS:
        icon = element("svg", element("path", d=_ICONS[tone]), viewBox="0 0 24 24", aria_hidden="true")
    return element("span", icon, label, class_=f"badge {tone}")


def grid(*figures: object) -> Markup:
    """Figures side by side where there is room."""
    return element("div", join(figures), class_="grid")


def paragraph(*parts: object) -> Markup:
    """A paragraph."""
    return element("p", *parts)


def fact_list(facts: Mapping[str, object]) -> Markup:
    """Names and values in a row."""
    return element("dl", *(_pair(k, v) for k, v in facts.items()), class_="facts")


def term_list(terms: Mapping[str, object]) -> Markup:
    """Terms and what they say, one below the other; empty ones are left out."""
    pairs = [join((element("dt", k), element("dd", v))) for k, v in terms.items() if v != ""]
    return element("dl", *pairs) if pairs else Markup("")


def items(*entries: object) -> Markup:
    """A plain list."""
    return element("ul", *(element("li", entry) for entry in entries), class_="plain")


def details(summary: str, *blocks: object) -> Markup:
    """A part that is folded away until asked for."""
    return element("details", element("summary", summary), join(blocks))


def fragment(*blocks: object) -> Markup:
    """Blocks with the page's style but no script, for a notebook's output cell."""
    return element("div", element("style", Markup(asset("page.css"))), join(blocks), class_="fl piece")


@cache
def asset(name: str) -> str:
    """The text of a style sheet or script that ships with this package."""
    return resources.files("firstlight.render").joinpath("assets", name).read_text(encoding="utf-8")


def _pair(name: str, value: object) -> Markup:
    return element("div", element("dt", name), element("dd", value))


def _run(codes: list[str]) -> list[Markup]:
    return [element("script", Markup(code)) for code in codes]


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _footer() -> Markup:
    from firstlight._version import __version__

    return element(
        "footer", escape(f"Written by firstlight {__version__}. This file is complete: it loads nothing.")
    )
