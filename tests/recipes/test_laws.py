"""Recipes that give each weight a law and a scale: the entries have it, on every kind of layer."""

import math

import pytest
import torch
from torch import nn

import firstlight
from firstlight import activations, pairs, recipes, weights
from firstlight.errors import DomainError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def chain(phi=nn.Tanh, width=256, depth=4):
    layers = [nn.Linear(64, width)]
    for _ in range(depth - 2):
        layers += [phi(), nn.Linear(width, width)]
    return nn.Sequential(*layers, phi(), nn.Linear(width, 10))


def z_of_variance(weight, variance):
    """How many standard errors the mean square of the entries is off the variance; the error is measured."""
    squares = weight.detach().double().flatten().square()
    return float((squares.mean() - variance) / (squares.std() / math.sqrt(len(squares))))


@pytest.mark.parametrize(
    ("recipe", "variance"),
    [
        ("glorot", 2 / 512),
        ("glorot(law='normal')", 2 / 512),
        ("he", 2 / 256),
        ("he(law='uniform')", 2 / 256),
        ("lecun", 1 / 256),
        ("torch-default", 1 / (3 * 256)),
        ("flax-default", 1 / 256),
        ("keras-default", 2 / 512),
        ("kumar", 1 / 256),
    ],
)
def test_the_entries_have_the_variance_of_the_paper(recipe, variance):
    net = chain()
    firstlight.initialise_(net, recipe, generator=seeded())
    assert abs(z_of_variance(net[2].weight, variance)) < 5


@pytest.mark.parametrize(
    ("phi", "variance"), [("sigmoid", 12.8), ("tanh", 1.0), ("relu", 2.0), ("leaky_relu(0.1)", 2 / 1.01)]
)
def test_variances_of_kumar(phi, variance):
    # the formula of the paper by itself: 1/(φ'(0)²(1 + φ(0)²)); for the sigmoid 1/((1/16)(5/4))
    assert recipes.kumar_variance(activations.get(phi)) == pytest.approx(variance, rel=1e-12)


def test_torch_defaults_are_torchs_own_numbers():
    torch.manual_seed(3)
    wanted = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4), nn.Embedding(5, 7))
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4), nn.Embedding(5, 7))
    firstlight.initialise_(net, "torch-default", generator=seeded(3), force=True)
    for (name, mine), (_, theirs) in zip(net.named_parameters(), wanted.named_parameters(), strict=True):
        # torch draws U(a, b) as a + (b − a)u and we draw U(±√3) and scale: the same numbers to rounding
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("phi", [nn.Tanh, nn.ReLU, nn.GELU, nn.Sigmoid, nn.SiLU])
def test_critical_scales_have_slope_one(phi):
    """χ₁ = σ_w² E φ'² = 1 and q = σ_w² E φ² + σ_b², by plain sums over a million normals."""
    net = chain(phi)
    firstlight.initialise_(net, "critical", generator=seeded())
    name = activations.get(phi())
    sigma_w, sigma_b, q = recipes.critical_scales(name, 4)
    x = math.sqrt(q) * torch.randn(1_000_000, generator=seeded(1), dtype=torch.float64)
    x.requires_grad_()
    values = phi()(x)
    (slope,) = torch.autograd.grad(values.sum(), x)
    squares = sigma_w**2 * slope.square()
    assert abs(float((squares.mean() - 1) / (squares.std() / 1000))) < 5
    if phi is not nn.Sigmoid and phi is not nn.ReLU:
        second = sigma_w**2 * values.detach().square() + sigma_b**2
        assert abs(float((second.mean() - q) / (second.std() / 1000))) < 5
    assert abs(z_of_variance(net[2].weight, sigma_w**2 / 256)) < 5


def test_critical_reads_a_callable_of_the_models_own():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(64, 128), nn.Linear(128, 128)

        def forward(self, x):
            z = self.first(x)
            return self.second(z * torch.sigmoid(1.5 * z))

    net = Own()
    with pytest.raises(DomainError, match="pass batch"):
        firstlight.initialise_(net, "critical")
    firstlight.initialise_(net, "critical", torch.randn(32, 64, generator=seeded()), generator=seeded())
    wanted = recipes.critical_scales(activations.get(lambda z: z * torch.sigmoid(1.5 * z)), 2)[0]
    assert abs(z_of_variance(net.second.weight, wanted**2 / 128)) < 5


def test_orthogonal_linear_layers_are_isometries():
    net = chain()
    firstlight.initialise_(net, "orthogonal(gain=1.0)", generator=seeded())
    w = net[2].weight.double()
    torch.testing.assert_close(w @ w.T, torch.eye(256).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 16, 3, padding=1, padding_mode="circular", bias=False),
        nn.Conv2d(8, 16, 3, padding=1, padding_mode="circular", groups=4, bias=False),
        nn.Conv2d(8, 32, 2, stride=2, bias=False),
        nn.Conv1d(4, 4, 5, padding=2, padding_mode="circular", bias=False),
    ],
    ids=["plain", "groups", "stride", "1d"],
)
def test_orthogonal_kernels_keep_norms(layer):
    """The whole operator is an isometry up to σ_w: ‖conv(x)‖² = σ_w² · max(rows, columns)/columns · ‖x‖²."""
    firstlight.initialise_(layer, "orthogonal(gain=1.0)", generator=seeded())
    x = torch.randn(3, layer.in_channels, *((16,) * (layer.weight.ndim - 2)), generator=seeded(1))
    with torch.no_grad():
        ratios = layer(x).flatten(1).square().sum(1) / x.flatten(1).square().sum(1)
    torch.testing.assert_close(ratios, ratios[:1].expand(3), rtol=1e-5, atol=0)


def test_channel_reducing_kernels_have_orthonormal_rows():
    layer = nn.Conv2d(16, 4, 3, bias=False)
    firstlight.initialise_(layer, "orthogonal(gain=1.0)", generator=seeded())
    middle = layer.weight.detach()[:, :, 1, 1].double()
    torch.testing.assert_close(middle @ middle.T, torch.eye(4).double(), atol=1e-6, rtol=0)
    assert float(layer.weight.detach().square().sum()) == pytest.approx(4.0)


def test_transposed_convolution_is_the_transpose_of_an_isometry():
    layer = nn.ConvTranspose2d(8, 16, 2, stride=2, bias=False)
    firstlight.initialise_(layer, "orthogonal(gain=1.0)", generator=seeded())
    x = torch.randn(3, 8, 5, 5, generator=seeded(1))
    with torch.no_grad():
        ratios = layer(x).flatten(1).square().sum(1) / x.flatten(1).square().sum(1)
    torch.testing.assert_close(ratios, ratios[:1].expand(3), rtol=1e-5, atol=0)


def test_pair_law_is_the_weibull_law_of_the_paper():
    net = chain()
    done = firstlight.initialise_(net, "pair(theta=3.0)", generator=seeded())
    # E W² = Γ(1 + 2/θ), not scaled to 1; W has variance Γ(1 + 2/3)/256
    assert abs(z_of_variance(net[2].weight, math.gamma(1 + 2 / 3) / 256)) < 5
    assert "not φ of this pair" in next(line.why for line in done.lines if line.name == "2.weight")
    own = nn.Sequential(nn.Linear(64, 64), pairs.weibull(3.0).activation, nn.Linear(64, 8))
    done = firstlight.initialise_(own, "pair(theta=3.0)", generator=seeded())
    assert "not φ" not in next(line.why for line in done.lines if line.name == "2.weight")


def test_matched_kurtosis_is_three_over_rho():
    """k_w of the drawn entries, against 3/ρ₄ by a plain sum over normals; ReLU has no such law."""
    net = chain(width=512)
    firstlight.initialise_(net, "kurtosis-matched", generator=seeded())
    x = torch.randn(2_000_000, generator=seeded(1), dtype=torch.float64).tanh()
    rho = float(x.pow(4).mean() / x.square().mean() ** 2)
    w = net[2].weight.detach().double().flatten()
    fourth = w.pow(4) / w.square().mean() ** 2
    assert abs(float((fourth.mean() - 3 / rho) / (fourth.std() / len(fourth) ** 0.5))) < 5
    done = firstlight.initialise_(chain(nn.ReLU), "kurtosis-matched", generator=seeded())
    assert "no symmetric law" in done.lines[2].why


def test_lsuv_brings_every_layer_to_one():
    net, x = chain(), torch.randn(64, 64, generator=seeded())
    firstlight.initialise_(net, "lsuv", x, generator=seeded())
    q = [float(row) for row in firstlight.audit(net, x).profile.select("weight")["q"]]
    assert q == pytest.approx([1.0] * 4, rel=1e-4)
    scaled = chain()
    with torch.no_grad():
        scaled[2].weight.mul_(7.0)
    before = scaled[2].weight.clone()
    firstlight.initialise_(scaled, "lsuv(orthogonal=False)", x)
    ratio = scaled[2].weight / before
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio))


def test_residual_branches_end_small():
    """The stream of L blocks grows by (1 + 1/L)^L < e, where plain critical weights double it in every block."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(128, 128), nn.Linear(128, 128)

        def forward(self, x):
            return x + self.b(self.a(x).relu())

    net, x = nn.Sequential(*[Block() for _ in range(12)]), torch.randn(64, 128, generator=seeded())
    sheet = recipes.blueprint(net, x)
    assert [branch.ends for branch in sheet.branches] == [(f"{i}.b.weight",) for i in range(12)]
    firstlight.initialise_(net, "critical", x, generator=seeded())
    with torch.no_grad():
        growth = float(net(x).square().mean() / x.square().mean())
    assert 1.0 < growth < 4.0


def test_recurrent_attention_and_tables():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(50, 32, padding_idx=0)
            self.memory = nn.LSTM(32, 32, batch_first=True)
            self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
            self.head = nn.Linear(32, 50)

        def forward(self, x):
            z = self.memory(self.table(x))[0]
            return self.head(self.attention(z, z, z)[0])

    net, x = Mixed(), torch.randint(1, 50, (4, 6), generator=seeded())
    done = firstlight.initialise_(net, "orthogonal", x, generator=seeded())
    assert bool((net.table.weight[0] == 0).all())
    assert abs(z_of_variance(net.table.weight[1:], 1.0)) < 5
    for block in (*net.memory.weight_hh_l0.split(32), *net.attention.in_proj_weight.split(32)):
        torch.testing.assert_close(block @ block.T, torch.eye(32), atol=1e-5, rtol=0)
    assert {line.name for line in done.lines} >= {n for n, _ in net.named_parameters() if "weight" in n}


def test_matched_laws_come_from_the_pairs():
    assert isinstance(pairs.match_kurtosis("tanh").law, weights.WeightLaw)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_dtype_is_kept(dtype):
    net = chain().to(dtype)
    firstlight.initialise_(net, "critical", generator=seeded())
    assert {p.dtype for p in net.parameters()} == {dtype}
    if dtype == torch.float64:  # drawn in float64, not rounded to float32
        assert bool((net[2].weight != net[2].weight.float().double()).any())


@pytest.mark.parametrize("word", list(recipes.RECIPES))
def test_same_seed_same_numbers(word, case):
    torch.manual_seed(0)
    model, x, y = case(word)

    def start(seed):
        firstlight.initialise_(model, word, x, targets=y, generator=seeded(seed), force=True).revert_()
        firstlight.initialise_(model, word, x, targets=y, generator=seeded(seed), force=True)
        return nn.utils.parameters_to_vector(model.parameters()).detach()

    if word in ("gradinit", "metainit"):  # they scale what is there, and draw nothing
        assert bool(torch.isfinite(start(0)).all())
        return
    assert torch.equal(start(0), start(0))
    assert torch.equal(start(0), start(1)) == (word in ("zero", "idinit"))
