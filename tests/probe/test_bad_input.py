"""Every bad input ends in one clear error or a listed limitation, and never in a wrong number."""

import math
import warnings

import pytest
import torch
from torch import nn

import firstlight
from firstlight.errors import AuditError
from firstlight.probe import probe
from firstlight.probe.trace.calling import unwrap

NET = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.mark.parametrize(
    ("model", "batch", "message"),
    [
        (NET, None, "at least one tensor"),
        (NET, [], "at least one tensor"),
        (NET, torch.randn(0, 8), "is empty"),
        (NET, torch.full((4, 8), math.nan), "32 NaN or infinite entries of 32"),
        (NET, torch.randn(4, 7), "in 0: RuntimeError"),
        (NET, torch.randn(4, 8).double(), r"cast the batch, for example batch.to\(torch.float32\)"),
        (NET, torch.randint(0, 3, (4, 8)), "in 0: RuntimeError"),
        (nn.Sequential(nn.BatchNorm1d(8)), torch.randn(1, 8), "at least two samples"),
    ],
)
def test_clear_errors(model, batch, message):
    with pytest.raises(AuditError, match=message):
        probe(model, batch)


@pytest.mark.parametrize("model", ["not a model", nn.Linear, {"weight": torch.zeros(2)}, None])
def test_what_is_not_a_model(model):
    with pytest.raises(AuditError, match=f"expected a torch.nn.Module, got {type(model).__name__}"):
        unwrap(model)


@pytest.mark.parametrize("output", [None, "text", 3, torch.zeros(3, dtype=torch.long), {}, ()])
def test_a_model_that_returns_nothing_usable(output):
    class Returns(nn.Module):
        def forward(self, x):
            return output

    with pytest.raises(AuditError, match="expected the model to return a floating-point tensor"):
        probe(Returns(), torch.randn(4, 8))


def test_a_loss_that_is_not_a_number():
    with pytest.raises(AuditError, match="expected the loss to return one number"):
        probe(NET, torch.randn(4, 8), loss=lambda output, targets: output)


def test_targets_that_do_not_fit():
    with pytest.raises(AuditError, match="pass loss="):
        probe(NET, torch.randn(4, 8), targets=torch.zeros(7, dtype=torch.long))


def test_a_batch_of_one_has_no_correlation_and_says_so():
    result = probe(NET, torch.randn(1, 8))
    assert all(math.isnan(c) for c in result.profile["correlation"])
    assert any("one sample" in note for note in result.notes)


def test_zero_width_layers_are_listed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch says that it initialises nothing
        net = nn.Sequential(nn.Linear(8, 0), nn.ReLU(), nn.Linear(0, 4))
    result = probe(net, torch.randn(4, 8))
    assert any("empty" in s.reason for s in result.skipped)
    assert math.isnan(result.profile["q"][1])


def test_constant_features_and_zero_inputs():
    for batch in (torch.ones(16, 8), torch.zeros(16, 8)):
        result = firstlight.audit(NET, batch)
        assert len(result.profile) == 4
        result.to_json()


def test_meta_and_lazy_models_are_verdicts():
    with torch.device("meta"):
        meta = nn.Linear(4, 4)
    for model in (meta, nn.LazyLinear(3)):
        result = firstlight.audit(model, torch.randn(2, 4))
        assert result.verdicts[0].code == "never-initialised"
        assert not result.healthy


def test_a_model_without_parameters():
    result = firstlight.audit(nn.Sequential(nn.Tanh()), torch.randn(16, 8))
    assert [str(k) for k in result.profile["kind"]] == ["input", "activation"]


def test_non_finite_activations_do_not_poison_other_numbers():
    class Divides(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            h = self.a(x).relu()
            return self.b(h / h)  # 0/0 for every silent unit

    result = firstlight.audit(Divides(), torch.randn(16, 8))
    codes = [v.code for v in result.verdicts]
    assert "non-finite-activations" in codes
    assert math.isfinite(result.profile["q"][1])


def test_huge_but_finite_activations():
    net = nn.Sequential(*[nn.Linear(8, 8, bias=False) for _ in range(26)])
    with torch.no_grad():
        for layer in net:
            layer.weight.mul_(40.0)
    result = firstlight.audit(net, torch.randn(16, 8))
    q = result.profile["q"][-1]
    assert math.isfinite(q)
    assert q > 1e40  # its square root is near the end of float32
    assert "exploding-activations" in [v.code for v in result.verdicts]


def test_a_fault_of_the_audit_is_not_blamed_on_the_model(monkeypatch):
    monkeypatch.setattr("firstlight.probe.read.reader.SMALL", None)
    with pytest.raises(AuditError, match="fault of firstlight"):
        probe(nn.Linear(3, 2), torch.zeros(4, 3))


def test_an_error_below_torch_is_the_models():
    with pytest.raises(AuditError, match="check that the batch is what the model takes"):
        probe(nn.Linear(3, 2), torch.zeros(4, 5))
