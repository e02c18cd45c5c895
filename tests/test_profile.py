"""Profile: one row per layer, kept without loss."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstlight.errors import FirstlightError
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


def test_meta_keeps_infinities_and_texts_that_spell_them():
    meta = {"xi": math.inf, "missing": math.nan, "none": None, "name": "inf"}
    profile = Profile({"q": [1.0], "mine": ["inf"]}, "predict", meta)
    back = Profile.from_json(profile.to_json())
    assert back == profile
    assert (back.meta["xi"], back.meta["none"], back.meta["name"]) == (math.inf, None, "inf")
    assert math.isnan(back.meta["missing"])
    assert back["mine"][0] == "inf"


def test_nulls_of_an_older_file_are_missing_numbers():
    old = '{"format": "firstlight-profile/1", "source": "audit", "meta": {}, "columns": {"q": [null, 1.0, "inf"]}}'
    assert np.array_equal(Profile.from_json(old)["q"], [math.nan, 1.0, math.inf], equal_nan=True)


@pytest.mark.parametrize(
    "text",
    ["nope", "[]", "3", '{"format": "firstlight-profile/1"}',
     '{"format": "firstlight-profile/1", "source": "a", "meta": {}, "columns": {"q": [1], "mean": [1, 2]}}',
     '{"format": "firstlight-profile/1", "source": "a", "meta": {}, "columns": {"q": ["x"]}}',
     '{"format": "firstlight-profile/1", "source": "a", "meta": 3, "columns": [1]}'],
)  # fmt: skip
def test_what_is_no_profile_is_refused_in_one_sentence(text):
    with pytest.raises(FirstlightError, match="while reading a Profile: expected"):
        Profile.from_json(text)


def test_a_profile_leaves_the_arrays_it_was_given_alone():
    given = np.ones(3)
    profile = Profile({"q": given}, "audit")
    given[0] = 2.0  # raises where the profile had frozen the caller's array
    assert given.tolist() == [2.0, 1.0, 1.0]
    assert profile["q"].tolist() == [1.0, 1.0, 1.0]


def test_a_profile_is_written_to_a_file_and_read_back(tmp_path):
    profile = Profile.from_rows([{"name": "a", "q": math.inf}, {"name": "b", "q": math.nan}], source="audit")
    path = profile.to_json(tmp_path / "p.json")
    assert path == tmp_path / "p.json"
    assert Profile.from_json(path.read_text(encoding="utf-8")) == profile


def test_rows_that_are_taken_are_a_profile_of_their_own():
    profile = Profile.from_rows([{"name": n, "q": q} for n, q in zip("abc", (1.0, 2.0, 3.0))], source="audit")
    for taken in (profile.take(np.array([2, 0])), profile.take(np.array([False, True, True]))):
        whole = Profile({name: list(column) for name, column in taken.columns.items()}, "audit")
        assert taken == whole
        assert repr(taken) == repr(whole)
        with pytest.raises(ValueError, match="read-only"):
            taken["q"][0] = 5.0
    assert list(profile.take(np.array([2, 0]))["name"]) == ["c", "a"]
    with pytest.raises(IndexError):
        profile.take(np.array([3]))
