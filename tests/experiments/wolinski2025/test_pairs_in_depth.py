"""What pairs do in depth: the rows, the table and the drawing, and the signs of the facts that advice rests on."""

import pytest

from firstlight.experiments.wolinski2025 import network
from firstlight.experiments.wolinski2025.pairs_in_depth import draw, in_depth, table, two_inputs


def test_rows_table_and_drawing():
    seen = []
    rows = table(("tanh", "odd(3)"), (3,), depth=12, nets=300, on_rows=seen.append)
    assert [row.layer for row in rows] == [1, 10, 12, 1, 10, 12]
    assert [r for made in seen for r in made] == list(rows)
    assert len(draw(rows).axes) == 2


def test_inputs_have_the_stated_correlation():
    x = two_inputs()
    gram = (x @ x.T / 100).tolist()
    assert gram[0][0] == pytest.approx(1, abs=1e-6)
    assert gram[0][1] == pytest.approx(0.3, abs=1e-6)


def test_networks_by_name():
    assert network("relu", width=3, depth=4).sigma_w == pytest.approx(2**0.5)
    assert network("positive(3)", width=3, depth=4).weight_law == "weibull(3)"
    assert network("critical(3)", width=3, depth=4).activation == "weibull-critical(3)"


@pytest.mark.slow
def test_positive_pairs_lose_their_gradients_and_critical_pairs_lose_less():
    lost = {}
    for kind in ("odd", "critical", "positive"):
        first, *_, last = in_depth(f"{kind}(3)", width=10, depth=20, nets=400, seed=1)
        lost[kind] = (last.log_grad - first.log_grad, first.log_grad_se)
        assert last.log_grad_low < last.log_grad < last.log_grad_high
    for less, more in (("odd", "critical"), ("critical", "positive")):
        gap, error = lost[more][0] - lost[less][0], (lost[more][1] ** 2 + lost[less][1] ** 2) ** 0.5
        assert gap > 5 * error
