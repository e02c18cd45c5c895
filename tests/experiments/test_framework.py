"""Studies as objects: claims are judged, results go to every form and come back, names and sizes are checked."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from jaxtyping import TypeCheckError

from firstlight.errors import DomainError, LoadError
from firstlight.experiments import (
    Claim,
    Findings,
    Settings,
    Size,
    Study,
    StudyResult,
    compared,
    decided,
    find,
    lines,
    read_result,
    run,
    storage,
    studies,
    studies_page,
)
from firstlight.render import line_chart

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "what-we-found.md"
# the figures that the page shows of each stored result, by their numbers
SHOWN: dict[str, list[int]] = {}
for _name, _numbers in re.findall(r"\{study-pictures\} (\S+)([ \d]*)", PAGE.read_text(encoding="utf-8")):
    SHOWN.setdefault(_name, []).extend(map(int, _numbers.split()))


def made(settings: Settings) -> Findings:
    nets = settings.sizes["nets"]
    rows = [
        {"network": name, "layer": layer, "q": 0.5, "q_se": math.nan} for name in "ab" for layer in (1, 2)
    ]
    claim = compared("q", ours=0.5, error=0.1, reference=math.nan, why=f"{nets} networks")
    return Findings(rows, (claim,), ("a note",))


STUDY = Study(
    name="nobody2025/small", shows="nothing", source="a test", data="none", cost={"quick": "1 s", "paper": "2 s"},
    measure=made, draw=lambda found: line_chart(lines(found.rows, "layer", "q", by="network"), title="q"),
    sizes={"nets": Size(3, 30)},
)  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "error", "reference", "tolerance", "verdict"),
    [
        (1.0, 0.0, 1.0, 0.0, "reproduced"),
        (1.3, 0.1, 1.0, 0.0, "reproduced"),  # three standard errors
        (1.31, 0.1, 1.0, 0.0, "differs"),
        (1.31, 0.1, 1.0, 0.02, "reproduced"),
        (1.0, 0.4, 1.0, 0.0, "not judged"),  # the interval is wider than the number
        (math.nan, 0.0, 1.0, 0.0, "not judged"),
        (1.0, math.nan, 1.0, 0.0, "not judged"),
        (math.inf, 0.0, math.inf, 0.0, "reproduced"),
    ],
)
def test_a_number_is_compared(ours, error, reference, tolerance, verdict):
    claim = compared("q", ours=ours, error=error, reference=reference, tolerance=tolerance, why="")
    assert claim.verdict == verdict


@pytest.mark.parametrize(
    ("holds", "verdict"), [(True, "reproduced"), (False, "contradicted"), (None, "not judged")]
)
def test_a_statement_is_decided(holds, verdict):
    assert decided("q", holds=holds, ours=1.0, why="").verdict == verdict
    if holds is False:
        assert decided("q", holds=holds, ours=1.0, why="", otherwise="differs").verdict == "differs"


def test_another_verdict_is_refused():
    with pytest.raises(
        (DomainError, TypeCheckError), match=r"expected a verdict of reproduced, differs|verdict"
    ):
        Claim("q", 1.0, 0.0, "", 1.0, "fine", "")  # type: ignore[arg-type]


def test_a_result_goes_to_every_form(monkeypatch):
    result = run(STUDY, Settings(sizes={"nets": 7}))
    assert result.facts["command"] == "firstlight reproduce nobody2025/small --scale quick --set nets=7"
    assert result.claims[0].why == "7 networks"
    assert {"date", "hours", "torch", "numpy", "python", "seed"} <= set(result.facts)
    frame = result.to_pandas()
    assert list(frame.columns) == ["network", "layer", "q", "q_se"]
    assert len(frame) == 4
    page = result.to_html()
    assert "<svg" in page
    assert "a note" in page
    assert "not judged" in page
    assert "not judged" in str(result)
    assert "nobody2025/small" in studies_page([result], left_out={"other": "no data"})
    assert "no data" in studies_page([result], left_out={"other": "no data"})
    monkeypatch.setattr(storage, "find", lambda name: STUDY)
    again = read_result(result.to_json())
    assert again.to_json() == result.to_json()
    assert again.to_html() == page


def test_a_result_goes_to_arrow():
    pyarrow = pytest.importorskip("pyarrow", reason="needs the frame extra")
    table = run(STUDY).to_arrow()
    assert isinstance(table, pyarrow.Table)
    assert table.column_names == ["network", "layer", "q", "q_se"]
    assert b"firstlight" in table.schema.metadata


def test_rows_are_selected():
    found = run(STUDY).findings
    assert found.values("network") == ["a", "b"]
    assert [row["layer"] for row in found.select(network="b")] == [1.0, 2.0]


def test_settings_are_checked():
    with pytest.raises(DomainError, match="did you mean 'nets'"):
        run(STUDY, Settings(sizes={"nts": 3}))
    with pytest.raises(DomainError, match="expected nets to be a whole number of at least 1"):
        run(STUDY, Settings(sizes={"nets": "many"}))
    with pytest.raises((DomainError, TypeCheckError), match=r"expected a scale of quick or paper|scale"):
        Settings(scale="large")  # type: ignore[arg-type]
    with pytest.raises(DomainError, match="expected no image set"):
        run(STUDY, Settings(data="digits"))
    with pytest.raises(DomainError, match="expected a seed of at least 0"):
        Settings(seed=-1)
    with pytest.raises(DomainError, match="expected a folder of runs with resume"):
        Settings(resume=True)
    assert run(STUDY, Settings(scale="paper")).claims[0].why == "30 networks"


@pytest.mark.parametrize(
    ("size", "value", "read"),
    [
        (Size(3, 30), 1e3, 1000),
        (Size(1.0, 1.0), 1, 1.0),
        (Size((1, 2), (1,)), 3, (3,)),
        (Size(("a", "b"), ("a",)), "b", ("b",)),
        (Size(quick=False, paper=True), True, True),
    ],
)
def test_a_size_is_read(size, value, read):
    found = size.read("it", value)
    assert found == read
    assert type(found) is type(read)


@pytest.mark.parametrize(
    ("size", "values"),
    [
        (Size(3, 30, low=2), (1, 0, -3, 2.5, 1e308, math.nan, math.inf, "many", "", True, (2, 3), None)),
        (Size(1.0, 1.0, low=0, high=1, positive=True), (0, -1, 1.5, "x", math.nan, False)),
        (Size((1, 2), (1,)), (0, (), (1, 1), (1, "two"), "", "one", (1, 2.5))),
        (Size(("a", "b"), ("a",)), (3, "", ("a", "a"), ("a", 1))),
        (Size(quick=False, paper=True), (1, 0, "true", 0.0)),
    ],
)
def test_another_kind_or_a_value_out_of_bounds_is_refused(size, values):
    for value in values:
        with pytest.raises(DomainError, match="while setting up a study: expected it to be"):
            size.read("it", value)


def test_sizes_of_every_study_are_among_what_may_be_set():
    for study in studies():
        for name, size in study.sizes.items():
            for scale in ("quick", "paper"):
                value = getattr(size, scale)
                assert size.read(name, value) == value, (study.name, name)


def test_what_was_not_written_here_is_refused(tmp_path: Path, monkeypatch):
    for text in ("{}", "[]", '{"format": "firstlight-study/1"}', "no JSON"):
        with pytest.raises(LoadError, match="expected"):
            read_result(text)
    monkeypatch.setattr(storage, "STORED", tmp_path)
    with pytest.raises(LoadError, match="run it with --scale paper"):
        storage.stored("E1")
    monkeypatch.setattr(storage, "find", lambda name: STUDY)
    assert storage.store(run(STUDY)).read_text().endswith("\n")
    assert isinstance(storage.stored(STUDY.name), StudyResult)


def test_names_are_unique_and_every_stored_result_draws():
    assert set(SHOWN) <= set(storage.stored_names())
    names = [name for study in studies() for name in (study.name, *study.aliases)]
    assert len(set(names)) == len(names)
    assert find("E2").name == "wolinski2025/deep-ks"
    for name in storage.stored_names():
        result = storage.stored(name)
        drawn = str(result.study.draw(result.findings))
        assert "<svg" in drawn or name == "holding"  # whose figure is a table
        assert "<table" in drawn or name != "holding"
        figures = drawn.count("<figure")
        assert all(number < figures for number in SHOWN.get(name, ())), (name, figures)
