"""The figures of starts that are nearly linear, by second ways to the same numbers."""

import math

import pytest
import torch
from tests.recipes.networks import chain, seeded
from torch import nn

import firstlight
from firstlight import activations, recipes
from firstlight.errors import DomainError


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
