"""The figures of starts for residual networks and transformers, by second ways to the same numbers."""

import math

import pytest
import torch
from tests.recipes.networks import seeded
from torch import nn

import firstlight


class Block(nn.Module):
    """A branch of two weights; with a learned factor or a normaliser at its end, where asked for."""

    def __init__(self, width=64, end=""):
        super().__init__()
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        self.factor = nn.Parameter(torch.ones(1)) if end == "factor" else None
        self.norm = nn.LayerNorm(width) if end == "norm" else None

    def forward(self, x):
        z = self.b(torch.relu(self.a(x)))
        z = z if self.factor is None else self.factor * z
        return x + (z if self.norm is None else self.norm(z))


def residual(blocks=8, width=64, end=""):
    return nn.Sequential(
        nn.Linear(64, width), *[Block(width, end) for _ in range(blocks)], nn.Linear(width, 10)
    )


def test_fixup_is_zero_at_the_ends_and_small_inside():
    net, x = residual(16), torch.randn(64, 64, generator=seeded())
    firstlight.initialise_(net, "fixup", x, generator=seeded())
    assert not any(bool(block.b.weight.any()) for block in net[1:-1])
    assert not bool(net[-1].weight.any())
    squares = torch.stack([block.a.weight.detach() for block in net[1:-1]]).double().square().flatten()
    # m = 2 weights in a branch: He times L^{−1/2}
    assert abs(float((squares.mean() - 2 / 64 / 16) / (squares.std() / math.sqrt(len(squares))))) < 5


@pytest.mark.parametrize("recipe", ["rezero", "skipinit"])
@pytest.mark.parametrize("end", ["factor", "norm", ""])
def test_blocks_start_as_the_identity(recipe, end):
    net, x = residual(4, end=end), torch.randn(16, 64, generator=seeded())
    firstlight.initialise_(net, recipe, x, generator=seeded())
    stream = net[0](x)
    torch.testing.assert_close(net[1:-1](stream), stream)
    if end:  # the weights are there: the factor alone is zero
        assert bool(net[1].b.weight.any())


class Attention(nn.Module):
    """One attention layer beside a stream."""

    def __init__(self, width, heads):
        super().__init__()
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True, bias=False)

    def forward(self, x):
        return x + self.attend(x, x, x, need_weights=False)[0]


def test_second_moment_behind_attention():
    """K = C_V C_U [ρ + (1 − ρ) e^{s²}/T], s² = C_Q C_K (1 − ρ), for tokens of correlation ρ.

    The formula holds for T ≫ e^{s²}; the mean over 24 draws is compared within its own standard error.
    """
    width, tokens, rho, c_v, c_u, c_q, c_k = 512, 256, 0.3, 1.5, 0.8, 0.9, 0.7
    net = Attention(width, 1)
    spec = f"transformer(c_q={c_q}, c_k={c_k}, c_v={c_v}, c_u={c_u})"
    found = []
    for seed in range(24):
        g = seeded(seed)
        shared, own = torch.randn(1, width, generator=g), torch.randn(tokens, width, generator=g)
        x = (math.sqrt(rho) * shared + math.sqrt(1 - rho) * own).unsqueeze(0)
        x = x / x.square().mean(-1, keepdim=True).sqrt()
        firstlight.initialise_(net, spec, x, generator=g, force=True)
        with torch.no_grad():
            found.append(float((net(x) - x).square().mean()))
    mean = sum(found) / len(found)
    error = torch.tensor(found).std().item() / math.sqrt(len(found))
    s2 = c_q * c_k * (1 - rho)
    wanted = c_v * c_u * (rho + (1 - rho) * math.exp(s2) / tokens)
    assert abs(mean - wanted) < 5 * error
    assert abs(mean - c_v * c_u * (rho + (1 - rho) / tokens)) < 20 * error  # the softmax adds little here


def test_learning_rates_of_attention_become_groups():
    net, x = Attention(32, 2), torch.randn(2, 8, 32, generator=seeded())
    done = firstlight.initialise_(net, "spectral", x, generator=seeded())
    assert done.rates["attend.in_proj_weight"] == 1.0
    groups = done.parameter_groups(net, 0.1)
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))


def test_depth_scaled_is_gpt2s_start():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.LayerNorm(64), nn.LayerNorm(64)
            self.attend = nn.MultiheadAttention(64, 4, batch_first=True)
            self.up, self.down = nn.Linear(64, 256), nn.Linear(256, 64)

        def forward(self, x):
            z = self.one(x)
            x = x + self.attend(z, z, z, need_weights=False)[0]
            return x + self.down(nn.functional.gelu(self.up(self.two(x))))

    net = nn.Sequential(nn.Embedding(100, 64), *[Layer() for _ in range(6)], nn.Linear(64, 100))
    x = torch.randint(0, 100, (4, 16), generator=seeded())
    firstlight.initialise_(net, "depth-scaled", x, generator=seeded())
    for name, parameter in net.named_parameters():
        if parameter.ndim < 2:
            continue
        variance = 0.02**2 / (12 if "out_proj" in name or "down" in name else 1)
        squares = parameter.detach().double().square().flatten()
        assert abs(float((squares.mean() - variance) / (squares.std() / math.sqrt(len(squares))))) < 5, name
    firstlight.initialise_(net, "deepnorm", x, generator=seeded())
    down = torch.stack([layer.down.weight.detach() for layer in net[1:-1]]).double().square().flatten()
    # Glorot's variance times β² = (8 · 6)^{−1/2}
    wanted = 2 / (256 + 64) / math.sqrt(48)
    assert abs(float((down.mean() - wanted) / (down.std() / math.sqrt(len(down))))) < 5


class PostNorm(nn.Module):
    """Two post-norm sums; α multiplies the stream."""

    def __init__(self, alpha=1.0):
        super().__init__()
        self.alpha = alpha
        self.parts = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16)) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(16, eps=0.0) for _ in range(2))

    def forward(self, x):
        for part, norm in zip(self.parts, self.norms, strict=True):
            x = norm(self.alpha * x + part(x))
        return x


def test_a_folded_alpha_of_deepnorm_is_the_same_function_and_the_line_is_named_otherwise():
    x, alpha = torch.randn(4, 16, generator=seeded(1)), 2**0.25
    plain, folded = PostNorm(alpha), PostNorm()
    done = firstlight.initialise_(plain, "deepnorm", x, generator=seeded())
    firstlight.initialise_(folded, "deepnorm(fold=True)", x, generator=seeded())
    torch.testing.assert_close(plain(x), folded(x))
    assert not any(left.name.startswith("the sum behind") for left in done.left)  # it has α by now

    class Written(PostNorm):
        def forward(self, x):
            for part, norm in zip(self.parts, self.norms, strict=True):
                x = norm(x + part(x))
            return x

    done = firstlight.initialise_(Written(), "deepnorm", x, generator=seeded())
    lines = [left.reason for left in done.left if left.name.startswith("the sum behind")]
    assert len(lines) == 2
    assert lines[0].startswith("write 1.18921 * x + branch(x)")


class Scaled(nn.Module):
    """Branches with a learned factor."""

    def __init__(self, count=2):
        super().__init__()
        self.first = nn.Linear(8, 16)
        self.parts = nn.ModuleList(nn.Sequential(nn.ReLU(), nn.Linear(16, 16)) for _ in range(count))
        self.factors = nn.ParameterList(nn.Parameter(torch.tensor(0.7)) for _ in range(count))

    def forward(self, x):
        x = self.first(x)
        for part, factor in zip(self.parts, self.factors, strict=True):
            x = x + factor * part(x)
        return x


def test_factors_of_branches_are_written_where_the_model_has_them():
    x = torch.randn(4, 8, generator=seeded(1))
    model = Scaled()
    firstlight.initialise_(model, "fixup", x, generator=seeded())
    assert [p.item() for p in model.factors] == [1.0, 1.0]
    done = firstlight.initialise_(model, "normaliser-free(alpha=0.5)", x, generator=seeded())
    assert [p.item() for p in model.factors] == [0.5, 0.5]
    named = [left.reason for left in done.left if left.name.startswith("the branch that ends in")]
    assert named == ["write x + branch(x / 1.11803) in its code"]  # β of the first branch is 1
