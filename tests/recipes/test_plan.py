"""Recipes ranked on copies, and the command line around them."""

import json
import sys

import pytest
import torch
from torch import nn

import firstlight
from firstlight import recipes
from firstlight.cli import main
from firstlight.errors import DomainError


def deep(phi=nn.ReLU, depth=30):
    torch.manual_seed(0)
    layers = [layer for _ in range(depth) for layer in (nn.Linear(64, 64), phi())]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def test_a_plan_ranks_and_touches_nothing(monkeypatch):
    net, x = deep(), torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    before, audits = {k: v.clone() for k, v in net.state_dict().items()}, []
    place = sys.modules["firstlight.recipes.plan"]
    measured = place.measure
    monkeypatch.setattr(place, "measure", lambda *a: audits.append(1) or measured(*a))
    found = recipes.plan(net, x)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert len(audits) <= 6
    assert not found.best.unhealthy
    assert found.choices[-1].recipe == ""
    assert found.choices[-1].unhealthy
    assert json.loads(found.to_json())["choices"][0]["recipe"] == found.best.recipe
    # what the plan says of its best is what the audit of that start says
    firstlight.initialise_(net, found.best.recipe, x, generator=torch.Generator().manual_seed(0))
    assert firstlight.audit(net, x).healthy


def test_recipes_that_do_not_fit_say_why():
    found = recipes.plan(deep(), torch.randn(8, 64), recipes=["fixup", "he"])
    note = next(c.note for c in found.choices if c.recipe == "fixup")
    assert "residual branches" in note


def test_the_verbs_list_write_and_rank(tmp_path, capsys):
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n{word}" in f"\n{listed}" for word in recipes.RECIPES)
    out, page, numbers = tmp_path / "i.pt", tmp_path / "i.html", tmp_path / "i.json"
    model = [
        "mlp",
        "--depth",
        "8",
        "--width",
        "32",
        "--activation",
        "relu",
        "--sigma-w",
        "1.0",
        "--batch",
        "32",
    ]
    asked = ["--recipe", "critical", "--out", str(out), "--html", str(page), "--json", str(numbers)]
    assert main(["init", *model, *asked]) == 0
    assert "edge of chaos of relu" in capsys.readouterr().out
    assert json.loads(numbers.read_text())["recipe"] == "critical"
    assert "What was" in page.read_text() or "what was written" in page.read_text()
    state = torch.load(out, weights_only=True)
    assert any(float(value.square().mean() * 32) == pytest.approx(2.0, rel=0.3) for value in state.values())
    assert main(["init", *model]) == 0
    assert capsys.readouterr().out.startswith("start")
    assert main(["init", *model, "--recipe", "criticl"]) == 2
    assert "did you mean 'critical'" in capsys.readouterr().err


def test_fix_takes_remedies_and_recipes_by_name():
    net, x = deep(nn.Tanh), torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    result = firstlight.fix(net, x, remedies="fixup, dks(slope=1.5)")
    assert result.healthy
    assert [a.remedy for a in result.attempts] == ["fixup", "dks"]
    assert result.attempts[0].note == "nothing to change here"
    with pytest.raises(DomainError, match="did you mean 'orthogonal'"):
        firstlight.fix(net, x, remedies=["orthogonl"])
