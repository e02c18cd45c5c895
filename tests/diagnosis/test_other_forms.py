"""Faults and sound starts in the forms in which other people write them; each was also trained."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from tests.diagnosis.forward import Forward
from torch import nn

import firstlight
from firstlight.errors import AuditError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def found(model, batch, targets=None, **how):
    return {v.code: v for v in firstlight.audit(model, batch, targets, **how).verdicts}


def severities(model, batch, targets=None, **how):
    return {code: v.severity for code, v in found(model, batch, targets, **how).items()}


def mlp(outputs=4, inputs=16):
    return nn.Sequential(nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, outputs))


X = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(64) % 4


# ------------------------------------------------------------------------------------------- gradients that stop
@pytest.mark.parametrize("number", [lambda t: t.item(), lambda t: float(t.detach()), lambda t: t.tolist()])
def test_what_becomes_a_python_number_gets_no_gradient(number):
    model = Forward(lambda s, v: s.a(v) * number(s.b(v).mean()), a=nn.Linear(16, 4), b=nn.Linear(16, 1))
    told = found(model, X, LABELS)["cut-gradients"]
    assert told.severity == "unhealthy"
    assert set(told.layers) >= {"b.weight"}
    assert "Python numbers" in told.evidence
    F.cross_entropy(model(X), LABELS).backward()
    assert model.b.weight.grad is None


def test_a_number_that_is_only_looked_at_cuts_nothing():
    def forward(s, v):
        h = s.a(v)
        s.size = h.norm().item()
        return s.b(torch.relu(h))

    assert firstlight.audit(Forward(forward, a=nn.Linear(16, 32), b=nn.Linear(32, 4)), X, LABELS).healthy


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("heads", [1, 2])
def test_queries_and_keys_that_are_both_zero_wait_for_each_other(fused, heads):
    def forward(s, v):
        q, k, v = (f(v).unflatten(-1, (heads, -1)).transpose(1, 2) for f in (s.q, s.k, s.v))
        if fused:
            h = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            h = (q @ k.transpose(2, 3)).softmax(-1) @ v
        return s.o(h.transpose(1, 2).flatten(2)).mean(1)

    model = Forward(
        forward, q=nn.Linear(16, 16), k=nn.Linear(16, 16), v=nn.Linear(16, 16), o=nn.Linear(16, 4)
    )
    for layer in (model.q, model.k):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    batch = torch.randn(32, 6, 16)
    assert severities(model, batch, LABELS[:32])["two-zeros"] == "unhealthy"
    model.k.reset_parameters()  # one of the two is a published start
    assert firstlight.audit(model, batch, LABELS[:32]).healthy


def test_a_square_at_zero_is_no_dead_unit():
    """Its slope is zero there and nowhere beside it."""
    model = Forward(lambda s, v: s.b(s.a(v).square()), a=nn.Linear(16, 32), b=nn.Linear(32, 4))
    nn.init.zeros_(model.a.weight)
    nn.init.zeros_(model.a.bias)
    assert "dead-units" not in severities(model, X, LABELS)


def test_a_branch_that_a_frozen_mask_switches_off_is_a_note():
    class Both(nn.Module):
        """A numeric and a symbolic branch, as Liu et al. 2024 write Kolmogorov–Arnold networks."""

        def __init__(self):
            super().__init__()
            self.numeric, self.symbolic = nn.Linear(16, 4), nn.Module()
            self.symbolic.weight = nn.Parameter(torch.randn(4, 16))
            self.symbolic.mask = nn.Parameter(torch.zeros(4, 16), requires_grad=False)

        def forward(self, v):
            return self.numeric(v) + F.linear(v.sin(), self.symbolic.weight * self.symbolic.mask)

    told = found(Both(), X, LABELS)
    assert told["zero-gradients"].severity == "note"
    assert "mask" in told["zero-gradients"].evidence
    assert "healthy" in told


# ---------------------------------------------------------------------------------------------------- copies
def test_copies_that_never_part_are_no_ensemble():
    one = mlp()
    model = Forward(
        lambda s, v: sum(m(v) for m in s.members) / 3,
        members=nn.ModuleList(copy.deepcopy(one) for _ in range(3)),
    )
    told = found(model, X, LABELS)["copied-layers"]
    assert told.severity == "unhealthy"
    assert "for ever" in told.why
    F.cross_entropy(model(X), LABELS).backward()
    first, second = (m[0].weight.grad for m in model.members[:2])
    assert torch.equal(first, second)
    for member in model.members:
        member[0].reset_parameters()
    assert severities(model, X, LABELS).get("copied-layers") != "unhealthy"


def test_matrices_that_start_as_a_design_are_no_copies():
    """Identities and ladders of decays stand in every layer of hyper-connections and state spaces."""

    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Parameter(torch.eye(16))
            self.decay = nn.Parameter(torch.log(torch.arange(1.0, 17.0)).expand(16, 16).clone())
            self.l = nn.Linear(16, 16)

        def forward(self, v):
            return v @ self.mix + torch.tanh(self.l(v)) @ torch.exp(-torch.exp(self.decay))

    model = nn.Sequential(Mixed(), Mixed(), nn.Linear(16, 4))
    assert "copied-layers" not in severities(model, X, LABELS)


# ------------------------------------------------------------------------------------------------------ losses
def test_a_generator_that_is_asked_to_look_real():
    generator = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16), nn.Tanh())
    critic = mlp(1).requires_grad_(False)
    told = severities(
        nn.Sequential(generator, critic), X, torch.ones(64, 1), loss=F.binary_cross_entropy_with_logits
    )
    assert "first-loss" not in told
    assert "unhealthy" not in told.values()


def test_a_rare_outcome_without_a_prior_is_a_warning_that_names_the_prior():
    x = torch.randn(2000, 16)
    rare = torch.zeros(2000, 1)
    rare[:4] = 1.0
    told = found(mlp(1), x, rare, loss=F.binary_cross_entropy_with_logits)["first-loss"]
    assert told.severity == "warning"
    assert "log-odds" in told.remedy
    model = mlp(1)
    nn.init.constant_(model[2].bias, math.log(4 / 1996))
    assert "first-loss" not in severities(model, x, rare, loss=F.binary_cross_entropy_with_logits)


def test_logits_that_were_learnt_are_not_too_large():
    labels = X[:, :4].argmax(1)
    model = mlp()
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(80):
        loss = F.cross_entropy(model(X), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        model[2].weight.mul_(4.0)
        model[2].bias.mul_(4.0)
    told = severities(model, X, labels)
    assert not {"logit-scale", "first-loss"} & set(told)
    assert told.get("mean-shift", "note") == "note"


@pytest.mark.parametrize("sign", [F.softplus, lambda z: F.relu(1 + z)])
def test_losses_by_hand_that_compare_every_output_with_every_target(sign):
    signs = 2.0 * (X[:, 0] > 0) - 1.0
    model = mlp(1)
    told = found(model, X, signs, loss=lambda o, t: sign(-o * t).mean())
    assert told["broadcast-loss"].severity == "unhealthy"
    assert "64×64" in told["broadcast-loss"].evidence
    assert "broadcast-loss" not in severities(model, X, signs, loss=lambda o, t: sign(-o[:, 0] * t).mean())


def test_cosines_without_a_scale_keep_a_cross_entropy_up():
    """The best scores are 1 and −1: the loss stays above ln(1 + 49 e⁻²)."""
    weight = torch.randn(50, 16)

    def model(scale):
        return Forward(
            lambda s, v: scale * (F.normalize(s.f(v), dim=1) @ F.normalize(s.w, dim=1).T)
            if scale != 1
            else F.normalize(s.f(v), dim=1) @ F.normalize(s.w, dim=1).T,
            f=nn.Linear(16, 16), w=nn.Parameter(weight.clone()),
        )  # fmt: skip

    labels = torch.arange(64) % 50
    told = found(model(1), X, labels)["squashed-logits"]
    assert told.severity == "warning"
    assert "scale" in told.remedy
    assert told.measured == pytest.approx(math.log1p(49 * math.exp(-2)) / math.log(50))
    assert "squashed-logits" not in severities(model(20), X, labels)


# ------------------------------------------------------------------------------------- what a rule must not read
def test_a_mask_of_minus_infinity_is_no_broken_input():
    model = Forward(
        lambda s, v, m: s.o(F.scaled_dot_product_attention(s.q(v), s.k(v), s.v(v), attn_mask=m)),
        q=nn.Linear(16, 16), k=nn.Linear(16, 16), v=nn.Linear(16, 16), o=nn.Linear(16, 4),
    )  # fmt: skip
    mask = torch.full((6, 6), -torch.inf).triu(1)
    assert firstlight.audit(model, (torch.randn(32, 6, 16), mask)).healthy
    with pytest.raises(AuditError, match="infinite entries"):
        firstlight.audit(model, (torch.randn(32, 6, 16), mask + torch.randn(6, 6)))


def test_the_search_for_a_fixed_point_has_nothing_to_remember():
    """Every call is given the input again: early calls need not reach the output, as they do in a sequence."""

    def forward(s, v):
        u = s.u(v)
        z = torch.zeros_like(u)
        for _ in range(20):
            z = torch.tanh(s.w(z) + u)
        return s.o(z)

    model = Forward(forward, u=nn.Linear(16, 32), w=nn.Linear(32, 32, bias=False), o=nn.Linear(32, 4))
    nn.init.orthogonal_(model.w.weight, 0.4)
    assert firstlight.audit(model, X, LABELS).healthy

    def steps(s, v):
        u = s.u(v)
        z = torch.zeros(len(v), 32)
        for t in range(v.shape[1]):
            z = torch.tanh(s.w(z) + u[:, t])
        return s.o(z)

    model = Forward(steps, u=nn.Linear(4, 32), w=model.w, o=nn.Linear(32, 4))
    assert "vanishing-through-time" in severities(model, torch.randn(64, 20, 4), LABELS)


def test_a_gate_beside_the_stream_is_not_the_stream():
    """Squeeze and excitation: pooled channels are alike, and the readout reads the map that they gate."""

    def forward(s, v):
        h = torch.relu(s.c(v))
        gate = torch.sigmoid(s.up(torch.relu(s.down(h.mean((2, 3))))))
        return s.o((h * gate[:, :, None, None]).flatten(1))

    model = Forward(
        forward, c=nn.Conv2d(3, 16, 3), down=nn.Linear(16, 8), up=nn.Linear(8, 16), o=nn.Linear(16 * 36, 4)
    )
    told = severities(model, torch.randn(32, 3, 8, 8), LABELS[:32])
    assert not {"rank-collapse", "ordered"} & set(told), told


def test_the_cosine_of_one_number_is_not_read():
    def forward(s, v):
        h = torch.relu(s.f(v))
        score = s.score(h)
        top, at = score[..., 0].topk(4, 1)
        return s.o((h.gather(1, at[..., None].expand(-1, -1, 32)) * torch.tanh(top)[..., None]).mean(1))

    model = Forward(forward, f=nn.Linear(16, 32), score=nn.Linear(32, 1), o=nn.Linear(32, 1))
    assert "ordered" not in severities(model, torch.randn(64, 12, 16))


def test_an_activation_with_a_parameter_bends():
    told = severities(nn.Sequential(nn.Linear(16, 32), nn.PReLU(32), nn.Linear(32, 4)), X, LABELS)
    assert "linear-network" not in told


def test_samples_that_are_apart_in_narrow_layers_later_on_never_collapsed():
    class Joined(nn.Module):
        """A constant start, the same for all samples, into which the samples come later, as atoms of one kind do."""

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(1, 16), nn.Linear(16, 16)
            self.c, self.d, self.o = nn.Linear(19, 4), nn.Linear(4, 4), nn.Linear(4, 1)

        def forward(self, x):
            h = torch.tanh(self.b(torch.tanh(self.a(torch.ones(len(x), 1)))))
            return self.o(torch.tanh(self.d(torch.tanh(self.c(torch.cat([h, 3 * x], 1))))))

    torch.manual_seed(0)
    assert "ordered" not in {v.code for v in firstlight.audit(Joined(), torch.randn(32, 3)).verdicts}
