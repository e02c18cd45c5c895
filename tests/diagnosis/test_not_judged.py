"""What was not seen is not healthy: the severity "not judged", its grounds, and where it is shown."""

import json

import pytest
import torch
from torch import nn

import firstlight
from firstlight.auditing import AuditResult, audit_from_dict
from firstlight.diagnosis import not_judged
from firstlight.errors import UnhealthyError
from firstlight.probe import Coverage, Measurement, WithoutRow
from firstlight.profile import Profile


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))

    def forward(self, x):
        return self.body(x).detach()


class Decorated(Detached):
    @torch.no_grad()
    def forward(self, x):
        return self.body(x)


class Broken(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        raise RuntimeError("no derivative here")


class BrokenBackward(Detached):
    def forward(self, x):
        return self.body[2](Broken.apply(self.body[1](self.body[0](x))))


@pytest.mark.parametrize(
    ("model", "ground"),
    [(Detached, "detached"), (Decorated, "no_grad"), (BrokenBackward, "no derivative here")],
)
def test_a_model_without_a_backward_pass_is_not_judged(model, ground):
    result = firstlight.audit(model(), torch.randn(16, 8))
    found = [v for v in result.verdicts if v.code == "not-judged"]
    assert [v.severity for v in found] == ["not judged"]
    assert ground in found[0].evidence
    assert not result.healthy
    assert not result.judged
    assert "healthy" not in {v.severity for v in result.verdicts}
    with pytest.raises(UnhealthyError, match="not-judged"):
        result.assert_healthy(min_coverage=0.5)
    result.assert_healthy(allow_unjudged=True)


def test_an_audit_turns_gradients_on_for_itself():
    """What the caller has switched off is no property of the model; what the model switches off is."""
    torch.manual_seed(0)
    model, x = Detached().body, torch.randn(16, 8)
    with torch.no_grad():
        result = firstlight.audit(model, x)
    assert result.judged
    assert result.coverage == firstlight.audit(model, x).coverage
    assert result.coverage.gradient_share == 1.0


def test_meta_parameters_are_not_judged():
    with torch.device("meta"):
        model = nn.Linear(4, 4)
    assert not firstlight.audit(model, torch.randn(2, 4)).judged


def part(rows: int, blocked: str = "") -> Measurement:
    """A measurement whose rows stand for ``rows`` of 100 entries."""
    coverage = Coverage(
        used=2,
        used_entries=100,
        with_row=1,
        with_row_entries=rows,
        with_gradient=2,
        with_gradient_entries=100,
        gaps=("odd.weight",),
        without_row=(WithoutRow("odd", 3, 100 - rows, "its steps (cdist) are no rows"),),
        blocked=blocked,
    )
    return Measurement(
        Profile.from_rows([{"name": "fc", "kind": "weight", "q": 1.0}], source="audit"), coverage=coverage
    )


def test_a_share_below_the_line_is_not_judged_unless_it_is_accepted():
    assert not not_judged(part(90))
    assert [v.layers for v in not_judged(part(89))] == [("odd", "odd.weight")]
    assert not not_judged(part(50), 0.5)
    assert not_judged(part(95), 0.96)
    assert not_judged(part(100, "no backward pass"), 0.0)
    result = AuditResult(part(50), not_judged(part(50)))
    with pytest.raises(UnhealthyError, match=r"50\.0%"):
        result.assert_healthy()
    result.assert_healthy(min_coverage=0.5)
    result.assert_healthy(ignore=["not-judged"])


def test_the_coverage_is_in_every_form_of_the_result():
    result = AuditResult(part(50), not_judged(part(50)))
    line = "rows for 50 % of the parameters that the forward used (1 of 2), gradients for 100 % (2 of 2)"
    assert line in result.to_text()
    assert line in result.to_html()
    assert "odd</code> (3 calls): its steps (cdist) are no rows" in result.to_html()
    data = json.loads(result.to_json())
    assert data["coverage"]["share"] == 0.5
    assert data["healthy"] is False
    assert audit_from_dict(data).coverage == result.coverage
    scalars = result.scalars()
    assert scalars["firstlight/coverage/rows"] == 0.5
    assert scalars["firstlight/coverage/gradients"] == 1.0
    assert scalars["firstlight/judged"] == 0.0


def test_the_counts_are_plain():
    """Biases, gains and tables count as parameters of the row that reads them; what is not called does not."""
    model = nn.ModuleDict(
        {
            "a": nn.Linear(8, 16),
            "n": nn.LayerNorm(16),
            "b": nn.Linear(16, 4, bias=False),
            "unused": nn.Linear(3, 3),
        }
    )

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = model

        def forward(self, x):
            return self.parts["b"](self.parts["n"](self.parts["a"](x)))

    coverage = firstlight.audit(Net(), torch.randn(16, 8)).coverage
    entries = 8 * 16 + 16 + 2 * 16 + 16 * 4
    assert (coverage.used, coverage.with_row, coverage.with_gradient) == (5, 5, 5)
    assert (coverage.used_entries, coverage.with_row_entries, coverage.with_gradient_entries) == (
        entries,
    ) * 3
    assert coverage.gaps == coverage.without_row == ()


def test_a_batch_of_zeros_is_no_ground_for_health():
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 4))
    result = firstlight.audit(model, torch.zeros(16, 8))
    assert not result.healthy
    assert not result.judged
    assert "every entry of the batch is zero" in result.verdicts[0].evidence
    masked = firstlight.audit(Beside(), (torch.randn(16, 8), torch.zeros(16, 8)))
    assert masked.judged


class Beside(nn.Module):
    """Adds a second input, which may be a mask of zeros, to the first."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x, mask):
        return self.layer(x + mask)
