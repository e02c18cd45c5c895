"""The training tables at a tiny size, and at quick scale as a slow test."""

import importlib.util
import math
from pathlib import Path

import pytest

from firstlight.experiments import Settings, find, read_result, reproduce, run
from firstlight.experiments.wolinski2025.studies.training import _claims


def row(network, seed, accuracy, *, depth=30, checked=1.0):
    return {
        "data": "cifar10", "network": network, "depth": depth, "width": 100, "seed": seed, "accuracy": accuracy,
        "accuracy_se": 0.005, "validation_loss": checked,
    }  # fmt: skip


def test_the_question_is_decided_by_an_interval_beside_the_better_rival():
    rows = [row("tanh", s, 0.30 + s / 100) for s in range(3)]
    rows += [row("relu", s, 0.40 + s / 100, checked=0.9) for s in range(3)]
    rows += [row("odd(10)", s, 0.45 + s / 100 + 0.001 * s) for s in range(3)]
    rows += [row("critical(3)", s, 0.40 + 0.02 * s) for s in range(3)]
    rows += [row("positive(3)", s, 0.1) for s in range(3)]
    odd, critical, positive, stuck = _claims(rows)
    assert (odd.verdict, critical.verdict, positive.verdict) == ("reproduced", "not judged", "contradicted")
    assert odd.ours == pytest.approx(0.051)
    assert "relu" in odd.why
    assert (stuck.verdict, stuck.ours) == ("reproduced", 0.1)


def test_a_tiny_table_is_tidy_resumes_and_comes_back(tmp_path):
    sizes = {"networks": ("relu", "odd(10)"), "depths": (2,), "widths": (6,), "epochs": 1, "seeds": 2}
    result = run(find("E4"), Settings(sizes=sizes, out=tmp_path / "runs"))
    assert len(result.findings.table) == 4
    for one in result.findings.rows:
        share = one["accuracy"]
        assert one["accuracy_se"] == pytest.approx(math.sqrt(share * (1 - share) / 360))
    again = run(find("E4"), Settings(sizes=sizes, out=tmp_path / "runs", resume=True))
    assert again.findings.rows == result.findings.rows
    assert read_result(result.to_json()).to_json() == result.to_json()
    assert result.to_html().count("<svg") >= 2


def test_a_lenet_at_a_tiny_size():
    result = reproduce("wolinski2025/training-lenet", networks="relu", epochs=1, fraction=0.05, seeds=1)
    assert result.findings.values("width") == [0.0]
    assert result.to_html().count("<svg") >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wolinski2025/training", "wolinski2025/training-lenet"])
def test_quick_scale(name):
    result = reproduce(name)
    assert result.facts["hours"] < 2 / 60 * 3  # two minutes on an idle machine
    assert any(claim.verdict != "not judged" for claim in result.claims)
    if name.endswith("training"):
        stuck = [c for c in result.claims if "does not train" in c.quantity]
        assert [c.verdict for c in stuck] == ["reproduced"]


def test_the_tables_of_the_docs_are_those_of_the_stored_results():
    script = Path(__file__).parents[3] / "docs" / "training_tables.py"
    loader = importlib.util.spec_from_file_location("training_tables", script)
    module = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(module)
    assert module.PLACE.read_text(encoding="utf-8") == module.tables()
