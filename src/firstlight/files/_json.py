"""The one JSON of firstlight: what it writes, it reads back, NaN and ±∞ included."""

from __future__ import annotations

import json
import math
import numbers
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from firstlight.errors import DomainError, LoadError

_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
# a text that spells such a number gets a backslash in front, so that the two never meet
_SPELLS_ONE = re.compile(r"\\*(?:nan|inf|-inf)")
# half a pair of surrogates, as names of files may hold, has no UTF-8; the others would move a terminal's cursor
_UNSHOWN = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(value: object) -> Any:
    r"""The value as nested dicts, lists, texts, whole and finite numbers, True, False and None.

    JSON has no NaN and no infinity. Here they are the texts ``"nan"``, ``"inf"`` and ``"-inf"``; a text that reads
    so itself gets a backslash in front. ``restored`` undoes both.

    Parameters
    ----------
    value
        Mappings, sequences, sets, numpy arrays and tensors, texts, numbers, True, False, None, nested in each other.
        Keys become texts, tuples, sets and arrays become lists.

    Raises
    ------
    DomainError
        If something else is inside, two keys of a mapping become the same text, or a structure holds itself.

    Examples
    --------
    >>> from firstlight.files import plain, restored
    >>> plain({"q": [1.0, float("nan"), float("-inf")], "name": "inf"})
    {'q': [1.0, 'nan', '-inf'], 'name': '\\inf'}
    >>> restored(plain({"q": [1.0, float("nan"), float("-inf")], "name": "inf"}))
    {'q': [1.0, nan, -inf], 'name': 'inf'}
    """
    try:
        return _plain(value)
    except RecursionError as error:
        raise DomainError(
            "while writing JSON: expected a structure that ends, got one that holds itself or nests too deep; "
            "write its parts"
        ) from error


def restored(value: object) -> Any:
    """The inverse of ``plain``; lists stay lists."""
    if isinstance(value, str):
        if value in _WORDS:
            return _WORDS[value]
        return value[1:] if value[:1] == "\\" and _SPELLS_ONE.fullmatch(value) else value
    if isinstance(value, dict):
        return {key: restored(inside) for key, inside in value.items()}  # a key is always a text
    return [restored(inside) for inside in value] if isinstance(value, list) else value


def to_json(value: object, *, indent: int | None = None) -> str:
    r"""A value as a JSON text that ``from_json`` reads back; any file encoding of Unicode holds it.

    Parameters
    ----------
    value
        As for ``plain``.
    indent
        Spaces for each level; None for a single line.

    Raises
    ------
    DomainError
        As ``plain``.

    Examples
    --------
    >>> from firstlight.files import from_json, to_json
    >>> to_json({"gap": float("inf"), "loss": None})
    '{"gap": "inf", "loss": null}'
    >>> from_json(to_json({"gap": float("inf"), "loss": None}))
    {'gap': inf, 'loss': None}
    """
    return written(plain(value), indent=indent)


def written(data: object, *, indent: int | None = None) -> str:
    """What ``plain`` gave, as a text."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, indent=indent)
    return _UNSHOWN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def from_json(text: str | bytes, *, what: str = "JSON") -> Any:
    """The value that ``to_json`` wrote.

    Parameters
    ----------
    text
        A JSON text.
    what
        What is read, for the message.

    Raises
    ------
    LoadError
        If the text is not JSON; it is a ``ValueError`` too.
    """
    try:
        return restored(json.loads(text, parse_constant=_refused))
    except (ValueError, TypeError, RecursionError) as error:
        shown = text[:40] if isinstance(text, str | bytes) else text
        raise LoadError(
            f"while reading {what}: expected JSON as firstlight writes it, got {shown!r}"
            f"{'…' if shown is not text and len(text) > 40 else ''} ({error}); was it written by firstlight, and whole?"
        ) from error


def _refused(word: str) -> float:
    raise ValueError(f"{word} is not JSON")


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | np.bool_):
        return None if value is None else bool(value)
    if isinstance(value, str):
        return f"\\{value}" if _SPELLS_ONE.fullmatch(value) else str.__str__(value)
    if isinstance(value, Mapping):
        made = {_key(key): _plain(inside) for key, inside in value.items()}
        if len(made) != len(value):
            raise DomainError(
                f"while writing JSON: expected keys that differ as texts, got {sorted(map(repr, value))}; rename one"
            )
        return made
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return _number(float(value))
    if isinstance(value, list | tuple | AbstractSet):
        return [_plain(inside) for inside in value]
    if hasattr(value, "tolist"):  # numpy arrays and tensors, and their scalars
        return _plain(value.tolist())
    raise DomainError(
        f"while writing JSON: expected numbers, texts, lists and dicts, got {type(value).__name__}: {value!r:.80}; "
        "write down what it holds"
    )


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")


def _key(key: object) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    return str(_plain(key))
