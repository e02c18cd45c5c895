"""Gradients of parameters: what is exactly zero, not finite or cut is named."""

import math

import pytest
import torch
import torch.nn.functional as F
from tests.diagnosis.forward import Forward
from tests.diagnosis.layers import parameter, samples, zero
from tests.diagnosis.severities import severities
from torch import nn

import firstlight
from firstlight.diagnosis import diagnose
from firstlight.probe import probe


@pytest.fixture
def x():
    return samples()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# ------------------------------------------------------------------ unhealthy and named
SICK = {
    "softmax of one": (
        lambda: nn.Sequential(nn.Linear(16, 1), nn.Softmax(1)), "one-unit-softmax",
    ),
    "log-softmax of one": (
        lambda: nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 1), nn.LogSoftmax(-1)), "one-unit-softmax",
    ),
    "softmax over the wrong axis of a map": (
        lambda: Forward(lambda s, v: s.c(v.view(32, 1, 4, 4)).softmax(1).flatten(1), c=nn.Conv2d(1, 1, 3)),
        "one-unit-softmax",
    ),
    "sign of a weight": (
        lambda: Forward(lambda s, v: s.b(torch.tanh(F.linear(v, s.w.sign()))), w=parameter(8, 16), b=nn.Linear(8, 1)),
        "step-function",
    ),
    "round of a signal": (
        lambda: Forward(lambda s, v: s.b(torch.round(4 * s.a(v)) / 4), a=nn.Linear(16, 8), b=nn.Linear(8, 2)),
        "step-function",
    ),
    "sign of a convolution": (
        lambda: Forward(lambda s, v: s.c(v.view(32, 1, 16)).sign().mean((1, 2)), c=nn.Conv1d(1, 4, 3)),
        "step-function",
    ),
    "detach between layers": (
        lambda: Forward(lambda s, v: s.b(s.a(v).detach()), a=nn.Linear(16, 8), b=nn.Linear(8, 1)), "cut-gradients",
    ),
    "no_grad around a layer": (
        lambda: Forward(_no_grad, a=nn.Linear(16, 8), b=nn.Linear(8, 1)), "cut-gradients",
    ),
    "data of a hidden layer": (
        lambda: Forward(
            lambda s, v: s.c(torch.relu(s.b(torch.relu(s.a(v)).data))),
            a=nn.Linear(16, 8), b=nn.Linear(8, 8), c=nn.Linear(8, 1),
        ),
        "cut-gradients",
    ),
    "a trip through numpy": (
        lambda: Forward(
            lambda s, v: s.b(torch.from_numpy(s.a(v).detach().numpy())), a=nn.Linear(16, 8), b=nn.Linear(8, 1)
        ),
        "cut-gradients",
    ),
    "a tensor that is built anew": (
        lambda: Forward(lambda s, v: s.b(torch.tensor(s.a(v).tolist())), a=nn.Linear(16, 8), b=nn.Linear(8, 1)),
        "cut-gradients",
    ),
    "the class that is largest": (
        lambda: Forward(
            lambda s, v: F.one_hot(s.a(v).argmax(1), 4).float() @ s.w, a=nn.Linear(16, 4), w=parameter(4, 1)
        ),
        "cut-gradients",
    ),
    "low rank, both factors zero": (
        lambda: Forward(
            lambda s, v: s.o(torch.tanh(s.w(v) + v @ s.a @ s.b)),
            w=nn.Linear(16, 8), o=nn.Linear(8, 2), a=nn.Parameter(torch.zeros(16, 2)),
            b=nn.Parameter(torch.zeros(2, 8)),
        ),
        "two-zeros",
    ),
    "two zero convolutions": (
        lambda: Forward(
            lambda s, v: s.o((v.view(32, 1, 16) + s.b(s.a(v.view(32, 1, 16)))).flatten(1)),
            a=zero(nn.Conv1d(1, 4, 1)), b=zero(nn.Conv1d(4, 1, 1)), o=nn.Linear(16, 2),
        ),
        "two-zeros",
    ),
    "a gate of zero on a branch that ends at zero": (
        lambda: Forward(
            lambda s, v: s.o(v + s.g * s.b(torch.tanh(s.a(v)))),
            a=nn.Linear(16, 16), b=zero(nn.Linear(16, 16)), g=nn.Parameter(torch.zeros(1)), o=nn.Linear(16, 2),
        ),
        "two-zeros",
    ),
    "every ReLU dead": (
        lambda: Forward(
            lambda s, v: s.b(torch.relu(s.a(v) - 100)), a=nn.Linear(16, 8), b=nn.Linear(8, 2, bias=False)
        ),
        "zero-gradients",
    ),
    "layer norm of one feature": (
        lambda: nn.Sequential(nn.Linear(16, 1), nn.LayerNorm(1), nn.Linear(1, 2)), "one-entry-norm",
    ),
    "one group for each channel": (
        lambda: nn.Sequential(nn.Linear(16, 8), nn.GroupNorm(8, 8), nn.Linear(8, 2)), "one-entry-norm",
    ),
    "zeroed gains": (
        lambda: nn.Sequential(
            nn.Linear(16, 16), zero(nn.LayerNorm(16)), nn.Tanh(), nn.Linear(16, 16), zero(nn.LayerNorm(16)), nn.Tanh(),
            nn.Linear(16, 2),
        ),
        "zero-gains",
    ),
    "zeroed gains before ReLU": (
        lambda: nn.Sequential(
            nn.Linear(16, 16), zero(nn.BatchNorm1d(16)), nn.ReLU(), nn.Linear(16, 16), zero(nn.BatchNorm1d(16)),
            nn.ReLU(), nn.Linear(16, 2),
        ),
        "zero-gains",
    ),
}  # fmt: skip


def _no_grad(s, v):
    with torch.no_grad():
        h = s.a(v)
    return s.b(h)


@pytest.mark.parametrize("name", SICK)
def test_a_gradient_that_cannot_train_is_named(name, x):
    build, code = SICK[name]
    assert severities(build(), x)[code] == "unhealthy"


@pytest.mark.parametrize(
    "loss",
    [lambda o, t: 0.0 * o.sum(), lambda o, t: o.clamp(50, 60).mean(), lambda o, t: (o.sum() * 0.0).exp()],
)
def test_a_loss_that_depends_on_nothing(loss, x):
    model = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4))
    result = firstlight.audit(model, x, loss=loss)
    assert not result.healthy
    assert {v.code for v in result.verdicts} & {"constant-loss", "zero-gradients"}


def test_cross_entropy_with_one_class(x):
    found = severities(nn.Linear(16, 1), x, targets=torch.zeros(32, dtype=torch.long))
    assert found["one-unit-softmax"] == "unhealthy"


@pytest.mark.parametrize(
    "end",
    [
        lambda h: h.square().sum(1).sqrt(),
        lambda h: (h.sum(1) - h.sum(1).detach()).square().sum(0).sqrt(),
        lambda h: h.abs().pow(0.5).sum(1),
        lambda h: torch.where(h == 0, torch.zeros_like(h), h / h.abs().sqrt() / h.abs().sqrt()).sum(1),
    ],
)
def test_gradients_that_are_not_finite_with_a_finite_loss(end, x):
    model = Forward(lambda s, a, b: end(s.l(a) - s.l(b)), l=nn.Linear(16, 4))
    other = x.flip(0).clone()
    other[3] = x[3]
    result = firstlight.audit(model, (x, other), loss=lambda o, t: o.mean())
    by_hand = torch.autograd.grad(model(x, other).mean(), model.l.weight)[0]
    assert not torch.isfinite(by_hand).all()
    assert math.isfinite(result.measurement.meta["loss_value"])
    found = {v.code: v for v in result.verdicts}
    assert found["non-finite-gradients"].severity == "unhealthy"
    assert "the loss is finite" in found["non-finite-gradients"].evidence


def test_gradients_are_those_of_plain_autograd(x):
    model = nn.Sequential(nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 4))
    targets = torch.arange(32) % 4
    got = probe(model, x, targets=targets).gradients
    F.cross_entropy(model(x), targets).backward()
    for name, p in model.named_parameters():
        # float32 sums over 32 samples
        assert got[name].log_norm == pytest.approx(math.log(p.grad.norm()), abs=1e-5)
        assert got[name].state == "finite"


def test_gradients_of_parameters_without_a_row(x):
    model = Forward(
        lambda s, v: s.l(v) * torch.outer(s.u, s.w).sum(), l=nn.Linear(16, 4), u=parameter(3), w=parameter(5)
    )
    got = probe(model, x).gradients
    assert {name: g.state for name, g in got.items()} == dict.fromkeys(
        ["u", "w", "l.weight", "l.bias"], "finite"
    )


def test_attention_to_one_key_is_no_fault_of_the_model(x):
    model = Forward(lambda s, v: s.o(s.a(v.view(32, 1, 16), v.view(32, 1, 16), v.view(32, 1, 16))[0]),
                    a=nn.MultiheadAttention(16, 2, batch_first=True), o=nn.Linear(16, 2))  # fmt: skip
    result = firstlight.audit(model, x)
    assert result.healthy
    assert "one-unit-softmax" not in {v.code for v in result.verdicts}


def test_frozen_and_unused_parameters_are_not_judged(x):
    model = Forward(
        lambda s, v: s.b(torch.relu(s.a(v))), a=nn.Linear(16, 8), b=nn.Linear(8, 4), c=nn.Linear(3, 3)
    )
    model.a.requires_grad_(False)
    got = probe(model, x).gradients
    assert got["a.weight"].state == "frozen"
    assert got["c.weight"].state == "unused"
    assert firstlight.audit(model, x).healthy


def test_a_parameter_that_feeds_another_output_is_not_cut(x):
    model = Forward(
        lambda s, v: (s.b(s.a(v)), s.c(s.a(v))), a=nn.Linear(16, 8), b=nn.Linear(8, 4), c=nn.Linear(8, 3)
    )
    measurement = probe(model, x)
    assert measurement.gradients["c.weight"].state == "absent"
    assert "cut-gradients" not in {v.code for v in diagnose(measurement)}


def test_a_table_of_codes_behind_a_straight_through_step_is_a_warning(x):
    def forward(s, v):
        h = s.e(v)
        q = s.c(torch.cdist(h, s.c.weight).argmin(1))
        return s.d(h + (q - h).detach())

    model = Forward(forward, e=nn.Linear(16, 8), c=nn.Embedding(5, 8), d=nn.Linear(8, 16))
    assert severities(model, x)["cut-gradients"] == "warning"


def test_the_record_keeps_gradients_and_links(x):
    from firstlight.auditing import audit_dict, audit_from_dict

    result = firstlight.audit(nn.Sequential(nn.Linear(16, 8), nn.ReLU(), zero(nn.Linear(8, 2))), x)
    again = audit_from_dict(audit_dict(result)).measurement
    assert repr(again.gradients) == repr(result.measurement.gradients)  # NaN is not equal to itself
    assert again.links == result.measurement.links


def test_a_dropout_of_everything_is_no_dropped_path():
    """p = 1 leaves nothing but the last bias; stochastic depth drops a branch."""
    torch.manual_seed(0)
    x = torch.randn(32, 16)
    net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Dropout(1.0), nn.Linear(64, 4))
    told = {v.code: v.severity for v in firstlight.audit(net, x).verdicts}
    assert told["zero-gradients"] == "unhealthy"
    net[2].p = 0.5
    assert "zero-gradients" not in {v.code for v in firstlight.audit(net, x).verdicts}


class Routed(nn.Module):
    """Experts by the largest share of a router, divided by the sum of the shares that are left."""

    def __init__(self, most):
        super().__init__()
        self.i, self.router, self.o = nn.Linear(16, 32), nn.Linear(32, 4, bias=False), nn.Linear(32, 4)
        self.experts = nn.ModuleList(nn.Linear(32, 32) for _ in range(4))
        self.most = most

    def forward(self, x):
        h = torch.relu(self.i(x))
        shares, chosen = self.router(h).softmax(1).topk(self.most, 1)
        shares = shares / shares.sum(1, keepdim=True)
        made = torch.stack([e(h) for e in self.experts], 1)
        return self.o((shares.unsqueeze(2) * made.gather(1, chosen.unsqueeze(2).expand(-1, -1, 32))).sum(1))


def test_a_router_whose_shares_cancel_gets_rounding_alone():
    """One share divided by itself is 1, whatever the router says."""
    torch.manual_seed(0)
    x, t = torch.randn(64, 16), torch.arange(64) % 4
    one = {v.code: v for v in firstlight.audit(Routed(1), x, t).verdicts}
    assert one["zero-gradients"].severity == "warning"
    assert one["zero-gradients"].layers == ("router",)
    assert "zero-gradients" not in {v.code for v in firstlight.audit(Routed(2), x, t).verdicts}


def test_gradients_that_vanish_by_and_by_are_no_rounding():
    torch.manual_seed(0)
    net = nn.Sequential(*[m for _ in range(40) for m in (nn.Linear(32, 32), nn.ReLU())], nn.Linear(32, 4))
    told = {v.code for v in firstlight.audit(net, torch.randn(64, 32)).verdicts}
    assert "vanishing-gradients" in told
    assert "zero-gradients" not in told


def test_a_path_of_small_layers_beside_a_skip_is_no_rounding():
    class Skipped(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.o = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(32, 4)
            self.small = nn.Sequential(*[nn.Linear(16, 16) for _ in range(3)])
            self.others = nn.Sequential(*[nn.Linear(16, 16) for _ in range(6)])
            for layer in self.small:
                layer.weight.data *= 0.003

        def forward(self, x):
            return self.o(
                torch.cat([self.small(torch.tanh(self.b(x))), torch.tanh(self.others(self.a(x)))], 1)
            )

    verdicts = firstlight.audit(Skipped(), torch.randn(32, 16)).verdicts
    found = next(v for v in verdicts if v.code == "zero-gradients")
    assert "layers on a small scale stand behind them: b" in found.evidence


class Gated(nn.Module):
    """A gate that sees one channel behind a normaliser of that channel, beside a stream; or the whole way there."""

    def __init__(self, whole):
        super().__init__()
        self.a, self.one, self.norm = nn.Linear(16, 32), nn.Linear(32, 1), nn.LayerNorm(1)
        self.b, self.o, self.whole = nn.Linear(1, 32), nn.Linear(32, 2), whole

    def forward(self, x):
        h = torch.relu(self.a(x))
        gate = self.b(self.norm(self.one(h)))
        return self.o(gate if self.whole else h * torch.sigmoid(gate))


@pytest.mark.parametrize(("whole", "severity"), [(False, "warning"), (True, "unhealthy")])
def test_a_normaliser_of_one_entry_beside_the_way_of_the_input_is_a_warning(whole, severity, x):
    assert severities(Gated(whole), x)["one-entry-norm"] == severity


def test_a_table_of_which_a_batch_reads_the_padding_alone_is_a_note():
    table = nn.Embedding(40, 16, padding_idx=0)
    model = Forward(
        lambda s, v: s.b(torch.relu(s.a(v) + s.e(torch.zeros(len(v), dtype=torch.long)))),
        a=nn.Linear(16, 16), b=nn.Linear(16, 2), e=table,
    )  # fmt: skip
    found = firstlight.audit(model, torch.randn(32, 16)).verdicts
    assert {v.code: v.severity for v in found}["zero-gradients"] == "note"
    assert next(v for v in found if v.code == "zero-gradients").evidence.startswith("1 parameter got")
