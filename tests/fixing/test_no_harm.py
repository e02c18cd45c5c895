"""A fix does no harm: what is sound stays, what remains does not get worse, and gradient descent still learns."""

import copy
import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import firstlight
from firstlight.auditing import AuditResult
from firstlight.diagnosis import Verdict
from firstlight.errors import DomainError
from firstlight.fixing import remedies
from firstlight.fixing._comparison import unimproved
from firstlight.fixing._training import harm, learns, learns_clearly_better, learns_no_worse
from firstlight.fixing.remedies import Course, learnt_direction
from firstlight.probe import probe


def generator():
    return torch.Generator().manual_seed(0)


def classes(x, count=3):
    return torch.randint(0, count, (len(x),), generator=generator())


def chain(*, width=32, depth=3, phi=nn.GELU, inputs=16, outputs=3):
    torch.manual_seed(0)
    sizes = [inputs, *[width] * depth]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), phi())]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def trained(model, x, y, *, steps=300, rate=1e-3):
    optimiser = torch.optim.Adam(model.parameters(), rate)
    for step in range(steps):
        rows = slice(32 * (step % (len(x) // 32)), 32 * (step % (len(x) // 32)) + 32)
        optimiser.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimiser.step()
    return model


class Bare(nn.Module):
    """Weights that no layer holds, multiplied in four ways."""

    def __init__(self, how, fault):
        super().__init__()
        self.how = how
        shape = (16, 24) if how in ("matmul", "einsum") else (24, 16)
        value = torch.zeros(shape) if fault == "zero" else torch.ones(shape)
        self.w = nn.Parameter(value)
        self.o = nn.Linear(24, 3)

    def forward(self, v):
        if self.how == "matmul":
            z = v @ self.w
        elif self.how == "einsum":
            z = torch.einsum("bi,io->bo", v, self.w)
        elif self.how == "transposed":
            z = v @ self.w.T
        else:
            z = F.linear(v, self.w)
        return self.o(torch.relu(z))


@pytest.mark.parametrize("fault", ["zero", "constant"])
@pytest.mark.parametrize("how", ["matmul", "einsum", "transposed", "linear"])
def test_a_bare_parameter_is_written_at_the_scale_of_its_fan_in(how, fault):
    x = torch.randn(64, 16, generator=generator())
    torch.manual_seed(0)
    result = firstlight.fix(Bare(how, fault), x, targets=classes(x), warnings=True)
    assert result.kept
    assert result.healthy
    # E w² = σ_w²/fan-in with fan-in 16, and σ_w = 1 for inputs with q = 1; 384 entries: se = √(2/384)
    assert float(result.model.w.detach().square().mean()) * 16 == pytest.approx(1.0, abs=5 * (2 / 384) ** 0.5)


def test_one_bad_head_is_drawn_again_alone():
    model = chain()
    x = torch.randn(64, 16, generator=generator())
    good = copy.deepcopy(model)
    with torch.no_grad():
        model[6].weight[0, 0] = float("nan")
        model[6].bias[1] = float("inf")
    result = firstlight.fix(model, x, targets=classes(x))
    assert [a.remedy for a in result.kept] == ["draw-again"]
    for index in (0, 2, 4):
        assert torch.equal(result.model[index].weight, good[index].weight)
        assert torch.equal(result.model[index].bias, good[index].bias)
    assert bool(result.model[6].weight.isfinite().all())
    assert bool(result.model[6].bias.isfinite().all())


def test_one_layer_out_of_line_is_brought_back_alone():
    model = chain(depth=8, phi=nn.Tanh, width=64)
    for m in model:
        if isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, std=m.weight.shape[1] ** -0.5, generator=generator())
    good = copy.deepcopy(model)
    with torch.no_grad():
        model[8].weight.mul_(30.0)
    x = torch.randn(64, 16, generator=generator())
    profile = probe(model, x).profile
    assert [line.split(":")[0] for line in remedies.in_line(model, profile, generator())] == ["8"]
    # all had one scale, so the one that left it comes back as it was
    for index in range(0, 17, 2):
        assert torch.allclose(model[index].weight, good[index].weight, rtol=1e-4)


def test_zeros_that_are_meant_stay():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)
            nn.init.zeros_(self.b.weight)

        def forward(self, x):
            return x + self.b(torch.relu(self.a(x)))

    torch.manual_seed(0)
    model = nn.Sequential(Branch(), Branch(), nn.Linear(16, 3))
    x = torch.randn(64, 16, generator=generator())
    profile = firstlight.audit(model, x, targets=classes(x)).profile
    assert remedies.redraw(model, profile, generator()) == []
    # two zeros in a row wait for one another: the first one is drawn, the last one is still meant
    nn.init.zeros_(model[1].a.weight)
    nn.init.zeros_(model[1].a.bias)
    profile = firstlight.audit(model, x, targets=classes(x)).profile
    changes = remedies.redraw(model, profile, generator())
    assert [line.split(":")[0] for line in changes] == ["1.a"]
    assert not bool(model[1].b.weight.any())


class Adapted(nn.Module):
    """A frozen layer beside a product of two matrices, of which the second one starts at zero (LoRA)."""

    def __init__(self, width=16, rank=4):
        super().__init__()
        self.base = nn.Linear(width, width).requires_grad_(False)
        self.a, self.b = nn.Linear(width, rank, bias=False), nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x):
        return self.base(x) + self.b(self.a(x))


@pytest.mark.parametrize("remedies", [None, "edge-of-chaos"])
def test_of_two_zero_matrices_of_each_adapter_the_first_is_drawn_and_the_second_stays(remedies):
    torch.manual_seed(0)
    model = nn.Sequential(Adapted(), nn.ReLU(), Adapted(), nn.ReLU(), Adapted(), nn.Linear(16, 3))
    for part in (model[0], model[2], model[4]):
        nn.init.zeros_(part.a.weight)
    x = torch.randn(64, 16, generator=generator())
    result = firstlight.fix(model, x, targets=classes(x), remedies=remedies)
    assert [v.code for v in result.before.verdicts if v.severity == "unhealthy"] == ["two-zeros"]
    assert result.healthy
    for index in (0, 2, 4):
        # 64 entries of variance 1/16: the mean square has a standard error of √(2/64)
        assert float(result.model[index].a.weight.detach().square().mean()) * 16 == pytest.approx(
            1.0, abs=5 * (2 / 64) ** 0.5
        )
        assert not bool(result.model[index].b.weight.any())
        assert torch.equal(result.model[index].base.weight, model[index].base.weight)


def course(optimiser, first, last):
    return Course(optimiser, 0.1, first, last)


def test_a_copy_is_enough_where_its_loss_falls_with_each_optimiser():
    came = (course("sgd", 2.3, 2.3), course("adam", 2.3, 2.3))
    slow = (course("sgd", 2.3, 2.25), course("adam", 2.3, 1.5))
    fast = (course("sgd", 2.3, 1.7), course("adam", 2.3, 1.5))
    assert not learns(slow, came)
    assert learns(fast, came)
    # from 3.9 down to a guess
    assert not learns((course("sgd", 3.9, 2.27), course("adam", 3.9, 2.36)), came)
    assert learns_no_worse(slow, came)
    assert not learns_no_worse(came, fast)
    # 1.02 of the other's loss, and a quarter of its fall
    assert not learns_no_worse(
        (course("sgd", 2.3, 2.28), course("adam", 2.3, 1.5)),
        (course("sgd", 2.3, 2.22), course("adam", 2.3, 1.5)),
    )
    # a model that is not finite as it came falls nowhere
    assert learns_no_worse(slow, (course("sgd", math.nan, math.inf), course("adam", math.nan, math.inf)))
    assert learns_clearly_better(fast, came)
    assert not learns_clearly_better(came, fast)
    assert not learns_clearly_better(came, came)
    lost = (course("sgd", 2.3, math.inf), course("adam", 2.3, math.inf))
    half = (course("sgd", 2.3, math.inf), course("adam", 2.3, 1.5))
    assert learns_clearly_better(half, lost)
    assert learns_clearly_better(fast, half)
    assert not learns_clearly_better(half, fast)
    assert not learns_clearly_better(lost, lost)


@pytest.mark.slow
def test_forty_batch_normed_layers_start_as_an_isometry_from_weights_alone():
    torch.manual_seed(0)
    model = nn.Sequential(
        *[layer for _ in range(40) for layer in (nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU())],
        nn.Linear(64, 3),
    )
    x = torch.randn(48, 64, generator=generator())
    result = firstlight.fix(model, x, targets=classes(x))
    assert [v.code for v in result.before.verdicts if v.severity == "unhealthy"] == ["batch-norm-explosion"]
    assert [a.remedy for a in result.kept] == ["looks-linear"]
    assert not result.structural
    F.cross_entropy(result.model(x), classes(x)).backward()
    norms = [float(m.weight.grad.norm()) for m in result.model if isinstance(m, nn.Linear)][:-1]
    assert max(norms) < 10 * min(norms)  # before, the first layer's is thousands of times the last one's
    F.cross_entropy(model(x), classes(x)).backward()
    came = [float(m.weight.grad.norm()) for m in model if isinstance(m, nn.Linear)][:-1]
    assert came[0] > 100 * came[-1]


@pytest.mark.parametrize(
    "law", ["normal", "uniform", "student", "weibull", "orthogonal", "positive", "mirrored"]
)
@pytest.mark.parametrize("shape", [(64, 64), (32, 8, 3, 3), (16, 64)])
def test_a_fresh_draw_of_any_law_shows_no_learnt_direction(law, shape):
    g = generator()
    w = torch.randn(shape, generator=g)
    if law == "uniform":
        w = torch.rand(shape, generator=g) - 0.5
    elif law == "positive":
        w = torch.rand(shape, generator=g)
    elif law == "student":
        w = w / torch.randn((3, *shape), generator=g).square().mean(0).sqrt()
    elif law == "weibull":
        w = torch.rand(shape, generator=g).log().neg().square() * w.sign()
    elif law == "orthogonal":
        torch.manual_seed(0)
        nn.init.orthogonal_(w)
    elif law == "mirrored":
        half = w[: shape[0] // 2, : shape[1] // 2]
        w = torch.cat([torch.cat([half, -half], 1), torch.cat([-half, half], 1)])
        w = w if w.shape == shape else torch.randn(shape, generator=g)
    assert learnt_direction(w) == 1.0


def test_weights_that_were_trained_are_left():
    g = generator()
    x = torch.randn(512, 64, generator=g)
    y = (x @ torch.randn(64, 3, generator=g)).argmax(1)
    model = trained(chain(inputs=64, width=64), x, y)
    before = copy.deepcopy(model.state_dict())
    assert sum(learnt_direction(m.weight) > 1.1 for m in model if isinstance(m, nn.Linear)) >= 2
    with torch.no_grad():
        model[6].weight.fill_(float("nan"))
    result = firstlight.fix(model, x[:64], targets=y[:64])
    assert [a.remedy for a in result.kept] == ["draw-again"]
    assert all(torch.equal(result.model.state_dict()[n], before[n]) for n in before if not n.startswith("6"))
    assert any("the network looks trained" in line for line in result.left)


def pixels():
    g = generator()
    x = torch.randint(0, 256, (128, 64), generator=g).float()
    return x, (x[:, :32].sum(1) > x[:, 32:].sum(1)).long()


@pytest.mark.parametrize("phi", [nn.ReLU, nn.Tanh])
def test_raw_pixels_are_not_made_up_for_by_a_small_first_weight(phi):
    x, y = pixels()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), phi(), nn.Linear(64, 64), phi(), nn.Linear(64, 2))
    result = firstlight.fix(model, x, targets=y)

    def loss(net):
        net = copy.deepcopy(net)
        optimiser = torch.optim.SGD(net.parameters(), lr=1e-3)
        for _ in range(200):
            value = F.cross_entropy(net(x), y)
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
        return value.item()

    assert loss(result.model) <= 1.01 * loss(model)
    assert "divide by the standard deviation of the training data" in str(result)


def verdict(code, severity, measured, threshold, uncertainty=None):
    return Verdict(code, code, severity, "", measured=measured, threshold=threshold, uncertainty=uncertainty)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([("vanishing-gradients", "unhealthy", 4.0, 2.0), ("chaotic", "unhealthy", 3.0, 2.0)],
         [("vanishing-gradients", "unhealthy", 7.1, 2.0)], "vanishing-gradients gets worse: 4 → 7.1"),
        ([("rank-collapse", "unhealthy", 1.01, 1.02), ("chaotic", "unhealthy", 3.0, 2.0)],
         [("rank-collapse", "unhealthy", 0.5, 1.02)], "rank-collapse gets worse: 1.01 → 0.5"),
        ([("rank-collapse", "unhealthy", 1.01, 1.02), ("chaotic", "unhealthy", 3.0, 2.0)],
         [("rank-collapse", "unhealthy", 1.015, 1.02)], ""),
        ([("chaotic", "unhealthy", 3.0, 2.0)], [("ordered", "unhealthy", 3.0, 2.0)], "it adds ordered"),
        ([("chaotic", "unhealthy", 3.0, 2.0)], [("chaotic", "unhealthy", 2.5, 2.0)], "no verdict goes away"),
        ([("chaotic", "unhealthy", 3.0, 2.0)], [("chaotic", "warning", 1.5, 1.0)], ""),
        ([("chaotic", "unhealthy", 3.0, 2.0)], [("not-judged", "not judged", 0.1, 0.5)], "it adds not-judged"),
        ([("chaotic", "unhealthy", 3.0, 2.0)], [("mean-shift", "warning", 1.5, 1.0)], ""),
    ],
)  # fmt: skip
def test_a_copy_is_kept_only_if_verdicts_go_away_and_none_gets_worse(before, after, said):
    empty = firstlight.audit(nn.Linear(2, 2), torch.randn(4, 2)).measurement
    old, new = (AuditResult(empty, tuple(verdict(*v) for v in side)) for side in (before, after))
    assert unimproved(old, new).startswith(said)
    assert bool(unimproved(old, new)) is bool(said)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ((2.3, 2.0), (2.5, 1.0), ""),
        ((2.3, 2.0), (7.0, 1.0), "its first loss is 7"),
        ((2.3, 2.0), (2.3, 6.0), ""),
        ((2.3, 2.3), (2.3, 9.3), "plain gradient descent at a rate of 0.01 diverges"),
        ((2.3, 2.3), (2.3, float("inf")), "plain gradient descent at a rate of 0.01 diverges"),
        ((float("nan"), float("inf")), (2.3, 2.3), ""),
    ],
)
def test_harm_is_named(before, after, said):
    course = lambda ends: [Course("sgd", 0.01, *ends)]  # noqa: E731
    assert harm(course(before), course(after)).startswith(said)
    assert bool(harm(course(before), course(after))) is bool(said)


@pytest.mark.slow
def test_training_decides_and_says_what_the_fix_suits():
    from firstlight.data import load

    data = load("digits", count=256)
    x, y = data.inputs.flatten(1), data.targets
    model = chain(depth=10, width=32, phi=nn.ReLU, inputs=64, outputs=10)
    result = firstlight.fix(model, x, targets=y, train_steps=20)
    assert result.kept
    ours = {(c.optimiser, c.rate): c.last for c in result.kept[-1].courses}
    theirs = {(c.optimiser, c.rate): c.last for c in result.courses}
    assert set(ours) == set(theirs) == {("sgd", 0.01), ("sgd", 0.1), ("adam", 0.001), ("adam", 0.01)}
    assert min(v for (o, _), v in ours.items() if o == "adam") < min(
        v for (o, _), v in theirs.items() if o == "adam"
    )
    assert "suits: " in str(result)
    assert result.to_dict()["courses"][0]["optimiser"] == "sgd"
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=64)
    assert firstlight.fix(model, x, targets=y, train_steps=3, train=loader).courses


@pytest.mark.parametrize("moved", [lambda y: 1e4 * y, lambda y: y + 500], ids=["scale", "mean"])
def test_weights_are_not_written_for_what_the_targets_do(moved):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 1))
    x = torch.randn(64, 8, generator=generator())
    result = firstlight.fix(model, x, targets=moved(x[:, :1].sin()))
    assert [v.code for v in result.before.verdicts if v.severity == "unhealthy"]
    assert not result.changed


def test_training_wants_a_loss_and_pairs():
    model = chain(depth=10, width=32, phi=nn.ReLU)
    x = torch.randn(32, 16, generator=generator())
    with pytest.raises(DomainError, match="expected targets or a loss to train on"):
        firstlight.fix(model, x, train_steps=5)
    with pytest.raises(DomainError, match="expected training data that gives pairs"):
        firstlight.fix(model, x, targets=classes(x), train_steps=5, train=[x])
    with pytest.raises(DomainError, match="expected train_steps ≥ 0"):
        firstlight.fix(model, x, train_steps=-1)


@pytest.mark.slow
def test_a_structural_remedy_that_would_help_is_named():
    # of odd width: mirrored units, which would help without replacing a module, need pairs
    model = nn.Sequential(
        *[layer for _ in range(40) for layer in (nn.Linear(63, 63), nn.BatchNorm1d(63), nn.ReLU())],
        nn.Linear(63, 3),
    )
    result = firstlight.fix(model, torch.randn(48, 63, generator=generator()))
    assert not result.healthy
    assert result.structural_help == ("isometric-batch-norm",)
    assert "--structural" in str(result)
