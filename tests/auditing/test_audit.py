"""AuditResult: every form in which people take a result away."""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

import firstlight
from firstlight.errors import FirstlightError
from firstlight.profile import Profile


@pytest.fixture(scope="module")
def result():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    return firstlight.audit(net, torch.randn(64, 16), targets=torch.randint(0, 4, (64,)))


def test_json_holds_profile_and_verdicts(result, tmp_path):
    path = result.to_json(tmp_path / "a.json")
    assert path == tmp_path / "a.json"
    data = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert data == json.loads(result.to_json())
    assert Profile.from_dict(data["profile"]) == result.profile
    assert [v["code"] for v in data["verdicts"]] == [v.code for v in result.verdicts]


def test_html_and_text(result, tmp_path):
    html = result.to_html()
    path = result.to_html(tmp_path / "a.html")
    assert path == tmp_path / "a.html"
    assert path.read_text() == html
    assert html.startswith("<!doctype html>")
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert all(str(name) in str(result) for name in result.profile["name"])
    assert result._repr_html_()
    assert max(len(line) for line in result.to_text(width=100).splitlines()) <= 100


def test_a_path_that_cannot_be_written_leaves_nothing(result, tmp_path):
    for write in (result.to_html, result.to_json):
        with pytest.raises((FirstlightError, OSError), match="missing"):
            write(tmp_path / "missing" / "a.out")
    assert list(tmp_path.iterdir()) == []


def test_scalars_are_flat_and_finite(result):
    numbers = result.scalars(prefix="init/")
    assert all(key.startswith("init/") for key in numbers)
    assert numbers["init/healthy"] == 1.0
    assert {"init/q/first", "init/q/last", "init/log_grad/first"} <= set(numbers)


def test_a_callers_loss_is_used_and_named():
    def squared(output, targets):
        return (output**2).mean()

    net = nn.Linear(4, 2)
    result = firstlight.audit(net, torch.randn(8, 4), loss=squared)
    assert result.measurement.meta["loss"] == "squared"


def test_the_loss_of_a_model_is_used():
    class WithLoss(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x, labels):
            logits = self.layer(x)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    result = firstlight.audit(WithLoss(), {"x": torch.randn(8, 4), "labels": torch.randint(0, 2, (8,))})
    assert result.measurement.meta["loss"] == "the model's own loss"


def test_import_stays_light():
    heavy = ("scipy", "matplotlib", "sklearn", "pandas", "torch._dynamo")
    code = f"import firstlight, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert done.stdout.strip() == "[]"
