"""One JSON: what is written is read back, NaN, ±∞ and texts that spell them included."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firstlight.errors import FirstlightError
from firstlight.files import from_json, plain, restored, to_json

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(
        ["nan", "inf", "-inf", "\\inf", "\\\\nan", "NaN", "Infinity", "null", "\ud800", "a\udc80"]
    )
)
VALUES = st.recursive(
    LEAVES,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=12,
)


def same(a, b):
    """Equal in value and type; NaN is NaN, and −0.0 is not 0.0."""
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


# texts of any character are slow to draw on a busy machine; that says nothing about the codec
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(VALUES)
def test_what_is_written_is_read_back(value):
    text = to_json(value)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    text.encode("utf-8")
    assert same(from_json(text), value)
    assert same(restored(plain(value)), value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), '"nan"'),
        (float("inf"), '"inf"'),
        (np.float32("-inf"), '"-inf"'),
        (np.array([1.5, np.nan]), '[1.5, "nan"]'),
        (torch.tensor([[1.0, float("inf")]]), '[[1.0, "inf"]]'),
        (torch.tensor(3), "3"),
        (np.bool_(True), "true"),
        ((1, {2}), "[1, [2]]"),
        ({1: "a", None: "b"}, '{"1": "a", "None": "b"}'),
        ("inf", '"\\\\inf"'),
    ],
)
def test_what_the_text_looks_like(value, text):
    assert to_json(value) == text


def test_what_json_cannot_hold_is_refused():
    endless = []
    endless.append(endless)
    for value in (object(), 1j, b"bytes", {1: 0, "1": 0}, torch.zeros(2, dtype=torch.complex64), endless):
        with pytest.raises(FirstlightError, match="while writing JSON: expected"):
            to_json(value)


@pytest.mark.parametrize(
    "text", ["", "nope", "NaN", "[1, Infinity]", '{"a": ', "[" * 100_000, b"\xff\xfe\x00", "9" * 5000]
)
def test_what_is_no_json_is_refused(text):
    with pytest.raises(FirstlightError, match="while reading a test: expected JSON"):
        from_json(text, what="a test")
