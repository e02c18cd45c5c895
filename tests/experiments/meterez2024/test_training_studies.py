"""The training studies of deep batch norm: tiny, and at quick scale as slow tests."""

import pytest

from firstlight.errors import LoadError
from firstlight.experiments import Settings, find, read_result, reproduce, run

TINY = {"depths": (4,), "width": 16, "epochs": 1, "rate": 0.05, "batches": 100}
NAMES = ("meterez2024/training", "meterez2024/implicit-orthogonality", "meterez2024/running-averages")


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_study_is_tidy_and_comes_back(name, tmp_path):
    result = run(
        find(name), Settings(sizes={**TINY, "networks": ("linear-orthogonal",)}, out=tmp_path / "runs")
    )
    assert [row["epoch"] for row in result.findings.rows] == [0, 1]
    assert 0 <= result.findings.rows[-1]["test_accuracy"] <= 1
    assert result.claims
    assert read_result(result.to_json()).to_json() == result.to_json()
    assert "<svg" in result.to_html()
    with pytest.raises(LoadError, match="pass --resume"):
        run(find(name), Settings(sizes={**TINY, "networks": ("linear-orthogonal",)}, out=tmp_path / "runs"))
    again = run(
        find(name),
        Settings(sizes={**TINY, "networks": ("linear-orthogonal",)}, out=tmp_path / "runs", resume=True),
    )
    assert again.findings.rows[-1]["test_accuracy"] == result.findings.rows[-1]["test_accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_quick_scale(name):
    result = reproduce(name)
    assert result.facts["hours"] < 2 / 60 * 3  # two minutes on an idle machine
    judged = [claim for claim in result.claims if claim.verdict != "not judged"]
    assert judged
    orthogonal = [claim for claim in judged if "orthogonal" in claim.quantity]
    assert {claim.verdict for claim in orthogonal} == {"reproduced"}
    if name.endswith("running-averages"):  # a batch of 16 has rank 15 in width 32: what averages miss grows
        low, full = (claim.ours for claim in orthogonal)
        assert low > 0.1 > 0.05 > abs(full)
