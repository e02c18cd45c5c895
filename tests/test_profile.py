"""Profile: one row per layer, kept without loss."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.profile import COLUMNS, Profile

ROWS = [
    {"name": "fc1", "kind": "weight", "q": 1.5, "isometry_gap": math.inf},
    {"name": "φ", "kind": "activation", "q": math.nan, "custom": 3},
]


def test_missing_values_are_nan_or_empty():
    profile = Profile.from_rows(ROWS, source="audit")
    assert len(profile) == 2
    assert math.isnan(profile["q"][1])
    assert math.isnan(profile["custom"][0])
    assert list(profile["op"]) == ["", ""]
    assert np.isnan(profile["correlation"]).all()


def test_an_unknown_column_is_an_error_that_lists_the_known_ones():
    with pytest.raises(KeyError, match="it has name, kind, q"):
        Profile.from_rows(ROWS, source="audit")["nonsense"]


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="one value per row"):
        Profile({"q": [1.0], "mean": [1.0, 2.0]}, "audit")


def test_columns_cannot_be_written():
    profile = Profile.from_rows(ROWS, source="audit")
    with pytest.raises(ValueError, match="read-only"):
        profile["q"][0] = 2.0


def test_select_keeps_order_and_columns():
    profile = Profile.from_rows(ROWS * 2, source="audit")
    weights = profile.select("weight")
    assert list(weights["name"]) == ["fc1", "fc1"]
    assert set(weights.columns) == set(profile.columns)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"name": st.text()},
            optional={"q": st.floats(), "correlation": st.floats(), "mine": st.floats(allow_nan=False)},
        ),
        max_size=6,
    )
)
def test_json_keeps_every_float(rows):
    profile = Profile.from_rows(rows, source="simulate", meta={"seed": 1})
    text = profile.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    back = Profile.from_json(text)
    assert back == profile
    for name, column in profile.columns.items():
        if column.dtype != object:
            assert np.array_equal(column, back[name], equal_nan=True)


def test_another_format_is_refused():
    with pytest.raises(ValueError, match="expected format 'firstlight-profile/1'"):
        Profile.from_json('{"format": "something/else"}')


def test_frames_and_iteration_agree():
    profile = Profile.from_rows(ROWS, source="audit")
    frame = profile.to_frame()
    assert list(frame.columns) == list(profile.columns)
    assert [row["name"] for row in profile] == list(frame["name"])


def test_the_vocabulary_is_documented():
    for name, column in COLUMNS.items():
        assert column.name == name
        assert column.meaning


def test_as_text_it_shows_both_ends_of_a_long_profile():
    rows = [{"name": f"layer {i}", "depth": i, "q": 0.5 * i, "ks": math.nan} for i in range(1, 41)]
    profile = Profile.from_rows(rows, source="predict")
    lines = str(profile).splitlines()
    assert lines[0].split() == ["name", "depth", "q"]  # a column without a number is left out
    assert len(lines) == 22
    assert lines[16] == "… 20 rows more"
    assert lines[-1].split() == ["layer", "40", "40", "20"]
    assert repr(profile) == "<Profile by predict: 40 rows of name, depth, q, ks>"
    assert str(Profile({}, "audit")) == ""
