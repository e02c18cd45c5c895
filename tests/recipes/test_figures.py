"""The figures that the catalogue quotes, by the recipes themselves and by second ways to the same numbers."""

import math

import pytest
import torch
from torch import nn

import firstlight
from firstlight import activations, builders, recipes
from firstlight.errors import DomainError


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def chain(phi, inputs=64, width=256, depth=4, outputs=10):
    layers = [nn.Linear(inputs, width)]
    for _ in range(depth - 2):
        layers += [phi(), nn.Linear(width, width)]
    return nn.Sequential(*layers, phi(), nn.Linear(width, outputs))


class Sine(nn.Module):
    def forward(self, x):
        return torch.sin(30.0 * x)


class Bell(nn.Module):
    def forward(self, x):
        return torch.exp(-(x**2) / 2)


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


@pytest.mark.parametrize(
    ("phi", "gain"),
    [("relu", 1.71286), ("silu", 1.7872), ("gelu", 1.7009), ("tanh", 1.5925), ("mish", 1.5920)],
)
def test_gains_of_scaled_weight_standardisation(phi, gain):
    net = chain(lambda: builders.activation_module(phi))
    firstlight.initialise_(net, "normaliser-free", generator=seeded())
    rows = net[2].weight.detach().double()
    # every unit: mean 0, and norm exactly the gain that the paper prints (to its last digit)
    assert float(rows.mean(1).abs().max()) < 1e-7
    assert rows.norm(dim=1).tolist() == pytest.approx([gain] * 256, abs=6e-5)


@pytest.mark.parametrize("s", [0.05, 1.0, 3.0])
def test_stationary_deviation_of_a_bell(s):
    found = recipes.stationary_deviation(lambda x: torch.exp(-(x**2) / (2 * s**2)))
    assert found == pytest.approx(s * math.sqrt(1 + math.sqrt(2)), rel=1e-8)


def test_vi3nr_keeps_its_deviation_and_its_gradient():
    """σ_p in every layer, and σ_p² Eφ'² = Eφ²: the backward factor is 1 by plain sums."""
    net, x = chain(Bell, width=512, depth=8), 3.0 * torch.randn(256, 64, generator=seeded(1)) + 1.0
    firstlight.initialise_(net, "vi3nr", x, generator=seeded())
    target = math.sqrt(1 + math.sqrt(2))
    rows = firstlight.audit(net, x).profile.select("weight")
    # each q has a standard error of about √(2/512) = 6 % over the units of one draw
    assert [float(q) for q in rows["q"]] == pytest.approx([target**2] * 8, rel=0.3)
    z = target * torch.randn(1_000_000, generator=seeded(2), dtype=torch.float64)
    phi = torch.exp(-(z**2) / 2)
    difference = target**2 * (z * phi) ** 2 - phi**2
    assert abs(float(difference.mean() / (difference.std() / 1000))) < 5


def test_siren_has_the_fixed_point_and_the_gain_of_its_map():
    """q = 1 − e^{−2q} at .7968 and χ₁ = 1 + e^{−2q} = 1.203, measured in a wide network."""
    net = chain(Sine, inputs=2, width=512, depth=12, outputs=512)
    x = torch.rand(512, 2, generator=seeded(1)) * 2 - 1
    firstlight.initialise_(net, "siren", x, generator=seeded())
    profile = firstlight.audit(net, x).profile.select("weight")
    arguments = [900 * float(q) for q in profile["q"][3:-1]]
    # 512 units: 2 √(2/512)/√8 = 4 % for the mean over eight layers
    assert sum(arguments) / len(arguments) == pytest.approx(0.7968, rel=0.1)
    chi = [float(c) for c in profile["chi"][3:-1]]
    assert sum(chi) / len(chi) == pytest.approx(1.203, rel=0.05)
    assert float(net[2].weight.detach().abs().max()) <= math.sqrt(6 / 512) / 30 * (1 + 1e-6)
    with pytest.raises(DomainError, match="without a sine"):
        firstlight.initialise_(chain(nn.ReLU), "siren")


def test_winner_adds_what_the_spectrum_asks_for():
    t = torch.linspace(0, 1, 512).unsqueeze(1)
    target = torch.sin(2 * math.pi * 32 * t)
    net = chain(Sine, inputs=1, width=256, depth=4, outputs=1)
    firstlight.initialise_(net, "winner", t, targets=target, generator=seeded())
    centroid = recipes.spectral_centroid(target)
    first, second = 3500 * (1 - math.exp(-7 * centroid)), 3 * centroid
    squares = net[2].weight.detach().double().square().flatten()
    wanted = 6 / 256 / 900 / 3 + (second / 30) ** 2
    assert abs(float((squares.mean() - wanted) / (squares.std() / 256))) < 5
    squares = net[0].weight.detach().double().square().flatten()
    assert abs(float((squares.mean() - 1 / 3 - (first / 30) ** 2) / (squares.std() / 16))) < 5


def test_fourier_features_are_a_gaussian_kernel():
    """2 E cos(w·x + b) cos(w·y + b) = exp(−(2πs)²‖x − y‖²/2), over the 20 000 units of one layer."""
    net = nn.Sequential(nn.Linear(2, 20_000), builders.activation_module("cos"), nn.Linear(20_000, 2))
    firstlight.initialise_(net, "fourier-features(scale=0.5)", generator=seeded())
    x = torch.tensor([[0.1, 0.2], [0.3, 0.1]])
    with torch.no_grad():
        features = net[1](net[0](x)).double()
    products = 2 * features[0] * features[1]
    wanted = math.exp(-0.5 * math.pi**2 * 0.05)
    assert abs(float((products.mean() - wanted) / (products.std() / math.sqrt(20_000)))) < 5


def test_bandlimited_rows_have_no_power_outside_the_band():
    net = chain(nn.Tanh)
    firstlight.initialise_(net, "bandlimited(low=0.0, high=0.25)", generator=seeded())
    power = torch.fft.rfft(net[0].weight.detach().double(), dim=1).abs().square().sum(0)
    assert float(power[9:].sum() / power.sum()) < 1e-12  # rounding of float32
    assert net[0].weight.detach().square().mean(1).tolist() == pytest.approx([1 / 64] * 256, rel=1e-5)


@pytest.mark.parametrize(
    ("recipe", "phi", "sigma_w2", "sigma_b2"),
    [
        ("sparse(slope=None)", "crelu(1.0364333894937898)", 6.667, 0.5368),
        ("sparse(slope=0.5)", "crelu(1.0364333894937898, 0.8095281637078419)", 8.507, 0.6605),
        ("sparse(slope=0.7)", None, 7.335, 0.5953),
    ],
)
def test_scales_of_sparse_networks(recipe, phi, sigma_w2, sigma_b2):
    if phi is None:
        phi = firstlight.theory.sparse_tuning("crelu", sparsity=0.85, slope=0.7).activation
    net = chain(lambda: builders.activation_module(phi), width=300)
    firstlight.initialise_(net, recipe, generator=seeded())
    weights, biases = (t.detach().double().flatten().square() for t in (net[2].weight, net[2].bias))
    assert abs(float((weights.mean() - sigma_w2 / 300) / (weights.std() / 300))) < 5
    assert abs(float((biases.mean() - sigma_b2) / (biases.std() / math.sqrt(300)))) < 5
    with pytest.raises(DomainError, match="crelu"):
        firstlight.initialise_(chain(nn.ReLU), recipe)


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


def test_spectral_condition_moves_features_alike_at_every_width():
    """One step of SGD: the relative change of a hidden layer stays, and grows with the width by the standard start."""

    def change(width, recipe, rate):
        net, g = (
            nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.Linear(width, 1)),
            seeded(),
        )
        done = firstlight.initialise_(net, recipe, generator=g)
        x, y = torch.randn(64, 64, generator=seeded(1)), torch.randn(64, 1, generator=seeded(2))
        before = net[:3](x).detach()
        nn.functional.mse_loss(net(x), y).backward()
        torch.optim.SGD(done.parameter_groups(net, rate)).step()
        after = net[:3](x).detach()
        return float((after - before).norm() / before.norm())

    spectral = [change(width, "spectral", 0.1) for width in (64, 256, 1024)]
    standard = [change(width, "he", 0.1) for width in (64, 256, 1024)]
    assert max(spectral) < 2.5 * min(spectral)
    assert max(spectral) / min(spectral) < max(standard) / min(standard)


def test_looks_linear_is_an_isometry():
    net, x = (
        chain(nn.ReLU, inputs=64, width=128, depth=20, outputs=64),
        torch.randn(32, 64, generator=seeded()),
    )
    firstlight.initialise_(net, "looks-linear", generator=seeded())
    with torch.no_grad():
        ratios = net(x).norm(dim=1) / x.norm(dim=1)
    torch.testing.assert_close(ratios, ratios[:1].expand(32), rtol=1e-4, atol=0)
    with torch.no_grad():
        torch.testing.assert_close(net(-x), -net(x), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (12, 5), (5, 12), (64, 3)])
def test_matrices_of_zero_and_idinit(rows, columns):
    hadamard = recipes.zero_matrix(rows, columns)
    if rows <= columns:
        torch.testing.assert_close(hadamard @ hadamard.T, torch.eye(rows, dtype=torch.float64))
    else:
        assert float(hadamard.abs().min()) > 0  # no two units read the same inputs alone
        assert len(torch.unique(hadamard, dim=1)[0]) == columns
    if rows in (8, 64):  # no row of H is cut
        torch.testing.assert_close(hadamard.T @ hadamard, torch.eye(columns, dtype=torch.float64))
    assert int(torch.linalg.matrix_rank(recipes.padded_identity(rows, columns))) == min(rows, columns)


def test_zero_needs_no_random_number():
    first, second = chain(nn.ReLU), chain(nn.ReLU)
    firstlight.initialise_(first, "zero", generator=seeded(0))
    firstlight.initialise_(second, "zero", generator=seeded(1))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_maximal_slope_of_graphs():
    """Chains multiply; a sum takes the mean of its parts, and its branch alone is a part as well."""
    chain_ = [(), (0,), (1,), (2,)]
    assert recipes.maximal_slope(["input", *["activation"] * 3], chain_, 1.2) == pytest.approx(1.2**3)
    # input, activation, activation, sum(input, activation): the branch has 1.2², the block (1 + 1.2²)/2
    links = [(), (0,), (1,), (0, 2), (3,)]
    kinds = ["input", "activation", "activation", "residual", "activation"]
    whole = (1 + 1.2**2) / 2 * 1.2
    assert recipes.maximal_slope(kinds, links, 1.2) == pytest.approx(max(1.2**2, whole))
    assert recipes.local_slope(["input", *["activation"] * 3], chain_, 1.5) == pytest.approx(1.5 ** (1 / 3))


@pytest.mark.parametrize(
    ("phi", "slope"), [("tanh", 1.05), ("softplus", 1.02), ("gelu", 1.05), ("sin", 1.03)]
)
def test_shapes_of_dks_by_plain_sums(phi, slope):
    """Q(1) = 1, C(0) = 0, C'(1) = the slope and Q'(1) = 1, over two million normals."""
    known = activations.get(phi)
    shape = recipes.dks_shape(known, slope)
    g = torch.randn(2_000_000, generator=seeded(), dtype=torch.float64)
    u = shape.alpha * g + shape.beta
    value, bend = shape.gamma * (known(u) + shape.delta), shape.gamma * shape.alpha * known.derivative(u)
    for sample, wanted in ((value**2, 1.0), (value, 0.0), (bend**2, slope), (value * bend * g, 1.0)):
        assert abs(float((sample.mean() - wanted) / (sample.std() / math.sqrt(2e6)))) < 5


def test_tat_has_its_curvature():
    known = activations.get("tanh")
    shape = recipes.tat_shape(known, 0.05)
    g = torch.randn(2_000_000, generator=seeded(), dtype=torch.float64)
    u = shape.alpha * g + shape.beta
    tanh = torch.tanh(u)
    bend = shape.gamma * shape.alpha * (1 - tanh**2)
    second = shape.gamma * shape.alpha**2 * (-2 * tanh * (1 - tanh**2))
    value = shape.gamma * (tanh + shape.delta)
    for sample, wanted in ((value**2, 1.0), (bend**2, 1.0), (second**2, 0.05), (value * bend * g, 1.0)):
        assert abs(float((sample.mean() - wanted) / (sample.std() / math.sqrt(2e6)))) < 5


def test_dks_keeps_a_deep_network_alive():
    """50 layers of tanh: the correlation of two inputs at 0 stays low, where the usual start ends at 1 or at noise."""
    net = chain(nn.Tanh, inputs=128, width=128, depth=50, outputs=128)
    x = torch.randn(32, 128, generator=seeded())
    firstlight.initialise_(net, "dks", x, generator=seeded())
    rows = firstlight.audit(net, x).profile.select("weight")
    shift = [abs(float(c)) for c in rows["correlation"]][-1]
    with torch.no_grad():
        q = float(net(x).square().mean())
    assert 0.5 < q < 2.0
    assert shift < 0.5
    growth = float(rows["log_grad"][1] - rows["log_grad"][-2])
    assert abs(growth) < 1.0


def test_gradinit_lowers_the_loss_of_one_step():
    net, x = chain(nn.ReLU, width=64), torch.randn(64, 64, generator=seeded())
    y = torch.randint(0, 10, (64,), generator=seeded())

    def after_a_step():
        for parameter in net.parameters():
            parameter.grad = None
        nn.functional.cross_entropy(net(x), y).backward()
        with torch.no_grad():
            for parameter in net.parameters():
                parameter -= 0.1 * parameter.grad
            loss = float(nn.functional.cross_entropy(net(x), y))
            for parameter in net.parameters():
                parameter += 0.1 * parameter.grad
        return loss

    firstlight.initialise_(net, "he", generator=seeded())
    before = after_a_step()
    firstlight.initialise_(net, "gradinit(bound=10.0)", x, targets=y)
    assert after_a_step() < before


def test_metainit_lowers_the_gradient_quotient():
    net, x = chain(nn.Tanh, width=64), torch.randn(64, 64, generator=seeded())
    y = torch.randint(0, 10, (64,), generator=seeded())
    firstlight.initialise_(net, "lecun", generator=seeded())
    with torch.no_grad():
        for layer in net[::2]:
            layer.weight *= 3.0

    def quotient():
        """mean |(g(θ − hg) − g)/(h g)|, by a difference of gradients in place of a product with the Hessian."""
        found = torch.autograd.grad(nn.functional.cross_entropy(net(x), y), list(net.parameters()))
        step = 1e-3
        with torch.no_grad():
            for p, g in zip(net.parameters(), found, strict=True):
                p -= step * g
        moved = torch.autograd.grad(nn.functional.cross_entropy(net(x), y), list(net.parameters()))
        with torch.no_grad():
            for p, g in zip(net.parameters(), found, strict=True):
                p += step * g
        terms = [
            ((m - g) / step / (g + 1e-5 * g.sign())).abs().flatten()
            for m, g in zip(moved, found, strict=True)
        ]
        return float(torch.cat(terms).mean())

    before = quotient()
    firstlight.initialise_(net, "metainit", x, targets=y)
    assert quotient() < before


class Padded(nn.Module):
    """A convolution behind an activation and a padding of any mode."""

    def __init__(self, mode, beta=1.0):
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3)
        self.mode, self.beta = mode, beta

    def forward(self, x):
        z = torch.relu(self.first(x) / self.beta)
        return self.second(nn.functional.pad(z, (1, 1, 1, 1), mode=self.mode))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_padding_hides_no_activation(mode):
    (_, second) = recipes.blueprint(Padded(mode), torch.randn(4, 8, 8, 8, generator=seeded())).slots
    assert (second.reads, second.phi.name) == ("activation", "relu")


@pytest.mark.parametrize("beta", [0.25, 1.0, 3.0])
def test_a_division_before_the_activation_is_the_models_own(beta):
    net = Padded("circular", beta)
    firstlight.initialise_(net, "normaliser-free", torch.randn(4, 8, 8, 8, generator=seeded()))
    norms = net.second.weight.detach().double().flatten(1).norm(dim=1)
    assert norms.tolist() == pytest.approx([1.71286] * 8, abs=6e-5)


def test_an_output_scale_multiplies_the_readout_and_divides_rates():
    one, other = chain(nn.Tanh), chain(nn.Tanh)
    firstlight.initialise_(one, "torch-default", generator=seeded())
    done = firstlight.initialise_(other, "output-scale(alpha=4.0)", generator=seeded())
    x = torch.randn(5, 64, generator=seeded(1))
    torch.testing.assert_close(other(x), 4 * one(x))
    assert set(done.rates.values()) == {1 / 16}
    assert set(done.rates) == {name for name, _ in other.named_parameters()}
    with pytest.raises(DomainError, match="factor α > 0"):
        recipes.OutputScale(alpha=0.0)


def test_a_weight_scale_multiplies_every_weight_and_no_bias():
    one, other = chain(nn.ReLU), chain(nn.ReLU)
    firstlight.initialise_(one, "he", generator=seeded())
    firstlight.initialise_(other, "weight-scale(alpha=3.0, start='he')", generator=seeded())
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(b, 3 * a if name.endswith("weight") else a)


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
    assert named == ["write x + branch(x / 1) in its code", "write x + branch(x / 1.11803) in its code"]


@pytest.mark.slow
def test_tat_of_leaky_relus_keeps_two_inputs_apart_by_eta():
    """C_f(0) of 30 drawn layers of width 1000, with the slope that PReLUs hold; orthogonal inputs."""
    net = nn.Sequential(
        nn.Linear(1000, 1000), *[m for _ in range(30) for m in (nn.PReLU(), nn.Linear(1000, 1000))]
    )
    firstlight.initialise_(net, "tat", torch.randn(4, 1000, generator=seeded(2)), generator=seeded())
    leak = recipes.tat_leak(30)
    assert all(m.weight.item() == pytest.approx(leak) for m in net if isinstance(m, nn.PReLU))
    x = torch.linalg.qr(torch.randn(1000, 2, generator=seeded(3)))[0].T * 1000**0.5
    with torch.no_grad():
        a, b = net(x)
    # a wide orthogonal network differs by about 1/√1000
    assert float(torch.cosine_similarity(a, b, dim=0)) == pytest.approx(0.9, abs=0.05)
    assert float(a.square().mean()) == pytest.approx(1.0, abs=0.1)
    # the closed form against the dual activation by quadrature
    phi = activations.get("leaky_relu(0.3)")
    for c in (-0.5, 0.0, 0.7):
        dual = float(activations.dual(phi, 1.0, 1.0, c) / activations.second(phi, 1.0))
        assert recipes.leaky_correlation(c, 0.3) == pytest.approx(dual, abs=1e-12)
    fixed = nn.Sequential(*[m for _ in range(4) for m in (nn.Linear(8, 8), nn.LeakyReLU())], nn.Linear(8, 8))
    done = firstlight.initialise_(fixed, "tat(eta=0.2)", generator=seeded())
    assert sum("write nn.LeakyReLU(" in left.reason for left in done.left) == 4


def test_sines_have_shapes_up_to_the_slope_at_which_their_offset_is_a_quarter_period():
    """2a² = e^{a²} − 1 at a² = 1.25643, by bisection here."""
    low, high = 1.0, 2.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if math.expm1(middle) > 2 * middle else (middle, high)
    phi = activations.get("sin(30)")
    for slope in (1.05, 1.5, low + 0.99):
        assert (30 * recipes.dks_shape(phi, slope).alpha) ** 2 == pytest.approx(slope - 1, rel=1e-6)
    with pytest.raises(DomainError, match="found none"):
        recipes.dks_shape(phi, low + 1.01)
