"""Markup that is escaped once and cannot be escaped wrongly: plain text in, safe HTML and SVG out."""

from __future__ import annotations

import html
import json
import re
from typing import Any

# Controls, lone surrogates and the marks that reorder text on the screen have no place in a name.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


class Markup(str):
    """Text that is HTML already. Only the builders of this module should make one."""

    __slots__ = ()


def clean(value: object) -> str:
    """The text of a value with every character that cannot be shown replaced by ``\ufffd``.

    Examples
    --------
    >>> clean("a" + chr(0) + "b") == "a" + chr(0xFFFD) + "b"
    True
    """
    text = str(value)
    # most text needs no search: what the pattern finds is never printable
    return text if text.isprintable() else _UNPRINTABLE.sub("\ufffd", text)


def escape(value: object) -> Markup:
    """A value as HTML: markup stays as it is, everything else is escaped.

    Examples
    --------
    >>> escape("<script>")
    '&lt;script&gt;'
    """
    return value if isinstance(value, Markup) else Markup(html.escape(clean(value)))


def element(tag: str, /, *children: object, **attributes: object) -> Markup:
    """One element; children are escaped unless they are markup, ``None`` and ``False`` attributes left out.

    Parameters
    ----------
    tag
        Name of the element.
    *children
        What stands inside, in order.
    **attributes
        ``class_`` means ``class`` and ``data_row`` means ``data-row``; ``True`` gives a bare attribute.

    Examples
    --------
    >>> element("p", "1 < 2", class_="lead")
    '<p class="lead">1 &lt; 2</p>'
    >>> element("circle", cx=1, cy=2.5)
    '<circle cx="1" cy="2.5"/>'
    """
    parts = [tag]
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        # viewBox and other camel-cased names of SVG pass unchanged
        name = name.rstrip("_").replace("_", "-")
        parts.append(name if value is True else f'{name}="{escape(value)}"')
    opening = " ".join(parts)
    if not children and tag in _EMPTY:
        return Markup(f"<{opening}/>")
    return Markup(f"<{opening}>{join(children)}</{tag}>")


_EMPTY = frozenset({"circle", "line", "rect", "path", "meta", "br", "hr", "input", "use", "polygon"})


def join(parts: Any, separator: str = "") -> Markup:
    """The parts one after another, each escaped unless it is markup."""
    return Markup(escape(separator).join(escape(part) for part in parts))


def json_block(identifier: str, data: object) -> Markup:
    """Data for an inline script, as JSON inside an element that never runs and cannot be closed from within.

    Raises
    ------
    ValueError
        If the data holds a number that JSON cannot write (NaN or infinity).
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for bad, good in (
        ("<", "\\u003c"),
        (">", "\\u003e"),
        ("&", "\\u0026"),
        ("\u2028", "\\u2028"),
        ("\u2029", "\\u2029"),
    ):
        text = text.replace(bad, good)
    text = _UNPRINTABLE.sub("\ufffd", text)
    return element("script", Markup(text), type="application/json", id=identifier)
