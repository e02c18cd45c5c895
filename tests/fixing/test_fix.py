"""firstlight.fix: sick networks become healthy by the same audit, and the given model is never touched."""

import json
import math

import pytest
import torch
from torch import nn

import firstlight
from firstlight.builders import mlp
from firstlight.errors import AuditError, DomainError


def generator():
    return torch.Generator().manual_seed(0)


def inputs(count=48, features=64):
    return torch.randn(count, features, generator=generator())


def plain(activation, *, depth=20, width=64, init=None, norm=None):
    torch.manual_seed(0)
    layers, size = [], 64
    for _ in range(depth):
        linear = nn.Linear(size, width)
        if init is not None:
            init(linear)
        layers += [linear, *([norm(width)] if norm else []), activation()]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, 10))


def weights(value):
    return lambda linear: nn.init.constant_(linear.weight, value)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        for layer in (self.a, self.b):
            nn.init.kaiming_normal_(layer.weight, generator=generator())

    def forward(self, x):
        return x + self.b(torch.relu(self.a(x)))


SICK = {
    "chaotic tanh": lambda: mlp(
        64, 10, depth=40, width=64, activation="tanh", sigma_w=1.89, generator=generator()
    ),
    "ReLU by torch's default": lambda: plain(nn.ReLU),
    "ReLU, weights too large": lambda: plain(nn.ReLU, init=lambda m: nn.init.normal_(m.weight, std=3 / 8)),
    "GELU by torch's default": lambda: plain(nn.GELU),
    "SiLU by torch's default": lambda: plain(nn.SiLU),
    "sigmoid by torch's default": lambda: plain(nn.Sigmoid, depth=12),
    "softplus by torch's default": lambda: plain(nn.Softplus),
    "LeakyReLU with a slope of its own": lambda: plain(lambda: nn.LeakyReLU(0.3)),
    "constant weights": lambda: plain(nn.ReLU, depth=10, init=weights(0.1)),
    "NaN weights": lambda: plain(nn.ReLU, depth=10, init=weights(math.nan)),
    "dead units": lambda: plain(nn.ReLU, depth=10, init=lambda m: nn.init.constant_(m.bias, -5.0)),
    "layer norm, torch's default": lambda: plain(nn.ReLU, depth=60, norm=nn.LayerNorm),
    "residual branches unscaled": lambda: nn.Sequential(*[Block(64) for _ in range(15)], nn.Linear(64, 10)),
}


# the others take seconds each with every call checked for types
QUICK = ("ReLU by torch's default", "GELU by torch's default", "constant weights")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SICK]
)
def test_a_sick_network_is_fixed(name):
    model = SICK[name]()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    result = firstlight.fix(model, inputs())
    assert not result.before.healthy
    assert result.healthy
    assert result.kept
    # the given model is as it was; the copy's parameters give the same audit when they are copied into it
    assert all(torch.equal(v, state[k]) or v.isnan().any() for k, v in model.state_dict().items())
    result.apply_(model)
    again = firstlight.audit(model, inputs())
    assert [v.code for v in again.verdicts] == [v.code for v in result.after.verdicts]


@pytest.mark.slow
def test_batch_norm_of_odd_width_needs_leave_to_replace_activations():
    model = plain(nn.ReLU, depth=40, width=63, norm=nn.BatchNorm1d)
    kept = firstlight.fix(model, inputs())
    assert not kept.healthy
    assert not kept.changed
    assert [v.code for v in kept.after.verdicts if v.severity == "unhealthy"] == ["batch-norm-explosion"]
    result = firstlight.fix(model, inputs(), structural=True)
    assert result.healthy
    assert result.structural
    with pytest.raises(DomainError, match=r"use the fixed copy in \.model"):
        result.apply_(model)


def test_a_healthy_model_is_left_alone():
    model = mlp(64, 10, depth=3, width=64, activation="tanh", generator=generator())
    result = firstlight.fix(model, inputs())
    assert result.healthy
    assert result.attempts == ()
    assert result.model is not model
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), result.model.parameters(), strict=True))
    assert "after:  Healthy" in str(result)


def test_what_parameters_cannot_mend_is_said():
    model = plain(nn.Tanh, depth=8)
    result = firstlight.fix(model, 200 * inputs())
    assert not result.healthy
    assert "input-scale" in [v.code for v in result.after.verdicts if v.severity == "unhealthy"]
    assert not result.changed
    assert "divide by the standard deviation of the training data" in str(result)


def test_frozen_weights_are_left_and_named():
    result = firstlight.fix(plain(nn.ReLU, depth=15).requires_grad_(False), inputs())
    assert not result.healthy
    assert not result.changed
    assert result.left[0] == "0: its weight is frozen"


def test_weight_norm_is_written_through_its_own_parameters():
    weight_norm = nn.utils.parametrizations.weight_norm
    model = nn.Sequential(*[m for _ in range(15) for m in (weight_norm(nn.Linear(64, 64)), nn.ReLU())])
    result = firstlight.fix(model, inputs(), remedies="looks-linear")
    assert not result.before.healthy
    assert result.healthy
    result.apply_(model)
    assert firstlight.audit(model, inputs()).healthy


def test_the_same_seed_gives_the_same_fix():
    model = plain(nn.SiLU, depth=8)
    first, second = (firstlight.fix(model, inputs(), seed=5) for _ in range(2))
    assert all(
        torch.equal(a, b) for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True)
    )
    assert first.attempts == second.attempts


@pytest.mark.slow
def test_dtypes_and_compiled_wrappers():
    half = plain(nn.ReLU, depth=20).bfloat16()
    result = firstlight.fix(half, inputs().bfloat16())
    assert result.healthy
    assert next(result.model.parameters()).dtype == torch.bfloat16
    wrapped = nn.DataParallel(plain(nn.ReLU, depth=20))
    assert firstlight.fix(wrapped, inputs()).healthy


@pytest.mark.slow
def test_warnings_are_fixed_on_request_only():
    model = plain(nn.ReLU, depth=30, init=lambda m: nn.init.kaiming_normal_(m.weight))
    first = firstlight.fix(model, inputs())
    assert first.before.healthy
    assert not first.attempts
    warned = [v.code for v in first.before.verdicts if v.severity == "warning"]
    second = firstlight.fix(model, inputs(), warnings=True)
    assert second.kept
    assert len([v for v in second.after.verdicts if v.severity == "warning"]) < len(warned)


@pytest.mark.slow
def test_apply_refuses_another_model_whole():
    model = SICK["ReLU by torch's default"]()
    result = firstlight.fix(model, inputs(), remedies="looks-linear")
    other = plain(nn.ReLU, width=32)
    before = [p.detach().clone() for p in other.parameters()]
    with pytest.raises(DomainError, match="nothing was written"):
        result.apply_(other)
    assert all(torch.equal(a, b) for a, b in zip(before, other.parameters(), strict=True))


def test_json_and_html_hold_both_audits(tmp_path):
    result = firstlight.fix(SICK["chaotic tanh"](), inputs(), name="my <net>", remedies="edge-of-chaos")
    told = json.loads(result.to_json(tmp_path / "fix.json").read_text())
    assert told["format"] == "firstlight-fix/1"
    assert told["healthy"] is True
    assert told["attempts"][-1]["kept"] is True
    assert told["before"]["profile"] != told["after"]["profile"]
    page = result.to_html(tmp_path / "fix.html").read_text()
    assert "Fix of my &lt;net&gt;" in page
    assert page.count("<svg") >= 4
    assert "src=" not in page
    assert "<script" not in result._repr_html_()


def test_a_model_without_data_is_not_tried():
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    result = firstlight.fix(model, inputs())
    assert not result.healthy
    assert result.attempts == ()


class Uncopiable(nn.Sequential):
    def __deepcopy__(self, memo):
        raise TypeError("holds a socket")


def test_a_model_that_cannot_be_copied_is_refused():
    model = Uncopiable(*plain(nn.ReLU, depth=20))
    with pytest.raises(AuditError, match=r"copy\.deepcopy can copy, got TypeError: holds a socket"):
        firstlight.fix(model, inputs())


def test_rounds_must_be_positive():
    with pytest.raises(DomainError, match="rounds ≥ 1"):
        firstlight.fix(plain(nn.ReLU, depth=2), inputs(), rounds=0)


@pytest.mark.slow
def test_an_activation_no_formula_knows_is_scaled_by_what_is_measured():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.where(x.abs() < 0.3, 0.2 * x, x.sign() * (x.abs() + 1).log())

    result = firstlight.fix(plain(Odd, depth=12), inputs())
    assert not result.before.healthy
    assert result.healthy


@pytest.mark.slow
def test_a_fixed_network_learns_what_the_sick_one_cannot():
    from firstlight.data import load

    data = load("digits")
    x, y = data.inputs.flatten(1), data.targets
    model = plain(nn.ReLU, depth=30)
    fixed = firstlight.fix(model, x[:256], targets=y[:256]).model

    def accuracy(net):
        torch.manual_seed(0)
        optimiser = torch.optim.Adam(net.parameters(), 1e-3)
        for _ in range(2):
            for rows in torch.randperm(1400).split(64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
                optimiser.step()
        with torch.no_grad():
            return float((net(x[1400:]).argmax(1) == y[1400:]).float().mean())

    assert accuracy(model) < 0.2
    assert accuracy(fixed) > 0.75


@pytest.mark.slow
def test_the_page_says_how_to_load_the_fix_and_shows_what_training_gave():
    from firstlight.fixing.page import fix_html

    targets = torch.randint(0, 10, (48,), generator=generator())
    deep = mlp(64, 10, depth=20, width=32, activation="tanh", sigma_w=2.5, generator=generator())
    result = firstlight.fix(deep, inputs(), targets, train_steps=5)
    assert result.kept
    page = fix_html(result, saved="out/fixed.safetensors")
    assert "model.load_state_dict(safetensors.torch.load_file(&#x27;out/fixed.safetensors&#x27;))" in page
    assert "--out" not in page.split("Use the fixed model")[1].split("</section>")[0]
    assert "torch.load(&#x27;fixed.pt&#x27;, weights_only=True)" in fix_html(result, saved="fixed.pt")
    table = page.split("Short trainings")[1].split("</section>")[0]
    # the model as it came and each copy that was kept, by two optimisers at two rates each
    assert table.count("<tr>") == 1 + 4 * (1 + len(result.kept))
    assert f"after {result.kept[0].remedy}" in table


@pytest.mark.slow
def test_the_page_says_where_leave_to_replace_modules_would_help():
    # of odd width: mirrored units, which would help without replacing a module, need pairs
    deep = plain(nn.ReLU, depth=40, width=63, norm=nn.BatchNorm1d)
    result = firstlight.fix(deep, inputs())
    assert result.structural_help == ("isometric-batch-norm",)
    page = result.to_html()
    assert "these remedies may help: <code>isometric-batch-norm</code>." in page
    assert "structural=True" in page
    assert "Use the fixed model" not in page
