"""The lines that reports and the documentation show are those that the rules judge by."""

import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import firstlight
from firstlight.auditing.rows import documented
from firstlight.builders import mlp
from firstlight.diagnosis import EXPLANATIONS, LINES, lines_of
from firstlight.errors import DomainError

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "verdicts.md"


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def deep(activation, sigma_w, depth=40):
    return mlp(32, 10, depth=depth, width=64, activation=activation, sigma_w=sigma_w, generator=gen())


def dead():
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
    nn.init.constant_(model[0].bias, -100.0)
    return model


ILL = {
    "chaos": lambda: (deep("tanh", 2.5), torch.randn(64, 32, generator=gen(1))),
    "order": lambda: (deep("tanh", 0.6), torch.randn(64, 32, generator=gen(1))),
    "blows up": lambda: (deep("relu", 4.0), torch.randn(64, 32, generator=gen(1))),
    "dead": lambda: (dead(), torch.randn(64, 32, generator=gen(1))),
    "large inputs": lambda: (deep("tanh", 1.0, 3), 200 * torch.randn(64, 32, generator=gen(1))),
}


@pytest.mark.parametrize("name", ILL)
def test_the_line_a_verdict_crossed_is_one_of_its_lines(name):
    model, x = ILL[name]()
    verdicts = firstlight.audit(model, x).verdicts
    judged = [v for v in verdicts if v.severity in ("warning", "unhealthy") and v.code in LINES]
    assert judged
    for verdict in judged:
        lines = lines_of(verdict.code)
        side = lines.warning if verdict.severity == "warning" else lines.unhealthy
        # the lines are rounded to two places
        assert any(math.isclose(verdict.threshold, value, abs_tol=0.006) for value, _ in side), verdict.code


def test_every_code_has_one_place_in_the_documentation():
    page = PAGE.read_text(encoding="utf-8")
    listed = " ".join(re.findall(r"^```\{verdict-catalogue\} (.*)$", page, re.MULTILINE)).split()
    assert sorted(listed) == sorted(set(EXPLANATIONS) - {"healthy"})
    for code in listed:
        assert lines_of(code).page == f"guide/verdicts.html#{code}"
    assert set(LINES) <= set(listed)


def test_a_code_of_no_verdict_is_refused():
    with pytest.raises(DomainError, match="did you mean 'chaotic'"):
        lines_of("chaotik")


def test_every_form_of_an_audit_shows_the_lines_and_where_they_are_explained(monkeypatch):
    model, x = ILL["chaos"]()
    result = firstlight.audit(model, x)
    place = "guide/verdicts.html#exploding-gradients"
    monkeypatch.delenv("FIRSTLIGHT_DOCS", raising=False)
    assert place in result.to_text()
    assert f"<code>{place}</code>" in result.to_html()
    unhealthy = result.to_dict()["lines"]["exploding-gradients"]["unhealthy"]
    assert unhealthy == [[2.0, ""], [3.0, "∂L/∂z in a residual stream of up to ten sums"]]
    monkeypatch.setenv("FIRSTLIGHT_DOCS", "https://docs.example.org/stable/")
    assert f'<a href="https://docs.example.org/stable/{place}">' in result.to_html()
    assert documented(place) == result.to_dict()["lines"]["exploding-gradients"]["page"]
