"""Results in brief: one line each in a shell, a table each in a notebook."""

import numpy as np
import pytest
import torch
from torch import nn

import firstlight
from firstlight import ensemble, pairs, render, theory

NETWORK = firstlight.RandomNetwork(depth=4, width=8)
X = torch.linspace(-1, 1, 6 * 8).reshape(6, 8) + torch.eye(6, 8)


def audited():
    return firstlight.audit(nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)), X)


RESULTS = {
    "audit": audited,
    "measurement": lambda: audited().measurement,
    "verdict": lambda: audited().verdicts[0],
    "profile": lambda: firstlight.predict(NETWORK),
    "edge": lambda: firstlight.edge_of_chaos("relu"),
    "phases": lambda: theory.phase_diagram("relu", sigma_w=[1.0, 1.5], sigma_b=[0.0]),
    "kernels": lambda: theory.kernels(NETWORK, X),
    "posterior": lambda: theory.posterior(NETWORK, X[:4], torch.ones(4, 1), X[4:], noise=0.1),
    "pair": lambda: pairs.weibull(3.0),
    "ensemble": lambda: ensemble.run(ensemble.Plan(net=NETWORK, nets=10), X.T[..., :2]),
    "fix": lambda: firstlight.fix(nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)), X),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_one_line_in_a_shell(name):
    text = repr(RESULTS[name]())
    assert "\n" not in text
    assert len(text) <= 400
    assert "tensor(" not in text
    assert "array(" not in text


@pytest.mark.parametrize("name", ["verdict", "profile", "edge", "posterior", "pair"])
def test_a_result_is_a_table_in_a_notebook(name):
    html = RESULTS[name]()._repr_html_()
    assert "<table" in html
    assert "<script" not in html


def test_a_long_table_says_how_many_rows_it_leaves_out():
    html = render.small_table(["q"], [[float(q)] for q in np.arange(100)], limit=20)
    assert "80 rows more" in html
    assert html.count("<tr>") == 20 + 2


def test_what_a_table_shows_is_escaped():
    assert "<b>" not in render.small_table([render.Head("x", text=True)], [["<b>"]], title="<b>")
