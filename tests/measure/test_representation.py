"""Measures of representations against closed forms and slower second ways."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firstlight import activations, measure
from firstlight.errors import DomainError


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_any_axis_may_hold_the_units(dim):
    x = normal(3, 6, 4)
    rows = x.movedim(dim, -1).reshape(-1, x.shape[dim])
    names = tuple(measure.REPRESENTATION_MEASURES)
    assert measure.representation(x, names, dim=dim) == measure.representation(rows, names)


def test_no_such_axis_and_no_such_name():
    with pytest.raises(DomainError, match="axis of units 2"):
        measure.von_neumann_entropy(normal(3, 4), dim=2)
    with pytest.raises(DomainError, match="did you mean 'vne'"):
        measure.representation(normal(3, 4), "vn")


# --- directions


def test_entropy_of_directions_by_the_correlation_of_units():
    h = normal(30, 7)
    z = torch.nn.functional.normalize(h, dim=1)
    values = torch.linalg.eigvalsh(z.T @ z / 30)
    assert measure.von_neumann_entropy(h) == pytest.approx(-float((values * values.log()).sum()), rel=1e-12)
    assert math.exp(measure.von_neumann_entropy(h)) == pytest.approx(measure.effective_rank(z), rel=1e-10)


@given(st.integers(1, 6), st.floats(0.01, 100.0))
def test_entropy_of_directions_does_not_see_the_lengths(count, scale):
    h = torch.eye(count, dtype=torch.float64) * torch.linspace(1, scale, count, dtype=torch.float64)[:, None]
    assert measure.von_neumann_entropy(h) == pytest.approx(math.log(count), abs=1e-12)
    assert measure.von_neumann_entropy(torch.cat([h, 0 * h])) == pytest.approx(math.log(count), abs=1e-12)


def test_two_directions_at_an_angle():
    for c in (0.0, 0.3, 0.99):
        h = torch.tensor([[1.0, 0.0], [c, math.sqrt(1 - c * c)]], dtype=torch.float64)
        expected = -sum(p * math.log(p) for p in ((1 + c) / 2, (1 - c) / 2))
        assert measure.von_neumann_entropy(h) == pytest.approx(expected, rel=1e-10)


def relu_ranks(depth: int, seed: int) -> list[tuple[float, float, float]]:
    """ε-rank, entropy rank and numerical rank of 50 samples behind each layer of a ReLU network of width 100."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(50, 100, generator=generator, dtype=torch.float64)
    found = []
    for _ in range(depth):
        w = torch.randn(100, 100, generator=generator, dtype=torch.float64) * math.sqrt(2 / 100)
        x = torch.relu(x @ w)
        r = measure.ranks(x)
        found.append((measure.epsilon_rank(x), r.effective, r.numerical))
    return found


# The table of docs/guide/representations.md: layer, ε-rank, entropy rank; means of 20 draws.
TABLE = (
    (1, 50.0, 19.20),
    (2, 50.0, 9.80),
    (3, 50.0, 6.07),
    (5, 48.35, 3.64),
    (10, 38.60, 2.05),
    (20, 23.30, 1.36),
)


def test_no_rank_grows_with_depth_as_a_paper_claims():
    """The claim m[1 − (1 − 2/π)^ℓ] rises from 31.8 to 50; what is measured falls, or stays at 50."""
    draws = torch.tensor([relu_ranks(20, seed) for seed in range(20)], dtype=torch.float64)
    mean, deviation = draws.mean(0), draws.std(0)
    for layer, epsilon, entropy in TABLE:
        assert mean[layer - 1, 0] == pytest.approx(epsilon, abs=0.005)
        assert mean[layer - 1, 1] == pytest.approx(entropy, abs=0.005)
    assert bool((draws[..., 2] == 50).all())
    claim = torch.tensor([50 * (1 - (1 - 2 / math.pi) ** layer) for layer in range(1, 21)])
    # at layer 1 no draw, and at layer 20 no draw by 5 deviations, is what the claim says
    assert bool((draws[:, 0, 0] - claim[0] > 18).all())
    for column in (0, 1):
        assert float((claim[-1] - mean[-1, column]) / deviation[-1, column]) > 5


def test_epsilon_rank_by_the_singular_values():
    u, v = torch.linalg.qr(normal(9, 5))[0], torch.linalg.qr(normal(8, 5, seed=1))[0]
    x = u @ torch.diag(torch.tensor([3.0, 1.0, 0.1, 0.02, 1e-5], dtype=torch.float64)) @ v.T
    assert [measure.epsilon_rank(x, epsilon=e) for e in (0.5, 0.1, 0.01, 1e-4, 1e-8)] == [1, 2, 3, 4, 5]
    with pytest.raises(DomainError, match="share of the largest"):
        measure.epsilon_rank(x, epsilon=1.0)


# --- diffusion


def test_diffusion_of_two_points_in_closed_form():
    for distance in (0.1, 5.0, 12.0):
        g = math.exp(-((distance / 10) ** 2) / 2)
        values = (1.0, (1 - g) / (1 + g))
        expected = -sum(v / sum(values) * math.log2(v / sum(values)) for v in values)
        x = torch.tensor([[0.0, 0.0], [distance, 0.0]], dtype=torch.float64)
        assert measure.diffusion_spectral_entropy(x) == pytest.approx(expected, rel=1e-9)
        assert measure.diffusion_spectral_entropy(x, trivial=False) == 0.0


def test_diffusion_by_its_random_walk():
    """The walk D⁻¹G, which is not symmetric, has the same spectrum."""
    x = normal(12, 5) * 4
    g = torch.exp(-torch.cdist(x, x).square() / 200)
    values = torch.linalg.eigvals(g / g.sum(1, keepdim=True)).real.abs() ** 2
    p = values / values.sum()
    expected = -float((p * p.log2()).sum())
    assert measure.diffusion_spectral_entropy(x, steps=2) == pytest.approx(expected, rel=1e-6)


def test_diffusion_counts_clusters():
    centres = torch.eye(4, dtype=torch.float64) * 1e4
    x = centres.repeat_interleave(8, 0)
    assert measure.diffusion_spectral_entropy(x) == pytest.approx(2.0, abs=1e-9)


# --- patterns


def test_patterns_by_every_pair():
    x = normal(9, 14)
    pairs = itertools.combinations((x > 0).tolist(), 2)
    slow = [sum(a != b for a, b in zip(p, q)) / 14 for p, q in pairs]
    assert measure.activation_patterns(x).distance == pytest.approx(sum(slow) / len(slow), rel=1e-12)


@pytest.mark.parametrize("c", [0.0, 0.5, 0.95])
def test_signs_of_correlated_normal_entries_differ_as_the_angle_says(c):
    n = 200_000
    u, v = normal(2, n)
    both = torch.stack([u, c * u + math.sqrt(1 - c * c) * v])
    p = math.acos(c) / math.pi
    z = (measure.activation_patterns(both).distance - p) / math.sqrt(p * (1 - p) / n)
    assert abs(z) < 5


def test_one_layer_does_not_fold_a_line_and_a_tent_does():
    t = torch.linspace(0, 1, 501, dtype=torch.float64)[:, None]
    line = torch.lerp(normal(1, 8), normal(1, 8, seed=1), t)
    assert measure.space_folding(line @ normal(8, 40, seed=2)) == 0.0
    # a tent of slope 2 on [0, 1], and on top of it one unit whose sign turns where the tent passes 3/4: there and back
    tent = 1 - (2 * t - 1).abs()
    assert measure.space_folding(tent - 0.75) == 0.5
    twice = 1 - (2 * tent - 1).abs()
    assert measure.space_folding(twice - 0.75) == 0.75


# --- entries


@pytest.mark.parametrize("name", ["relu", "gelu", "tanh", "sigmoid", "silu"])
def test_dc_share_of_activations_is_what_theory_says(name):
    n, phi = 400_000, activations.get(name)
    y = phi(normal(n))
    expected = float(activations.moments(phi, 1.0).dc_share)
    # the share is m²/q: its error by the deviations of m and q
    m, q = float(y.mean()), float(y.square().mean())
    error = float((2 * m / q * y - m * m / q**2 * y.square()).std()) / math.sqrt(n)
    assert abs(measure.dc_share(y) - expected) < 5 * error + 1e-9


def test_zeros_and_the_largest_over_the_median():
    y = torch.relu(normal(1000))
    assert measure.zero_share(y) == float((y == 0).double().mean())
    # the largest of n normal entries has a spread of about 1/√(2 log n), here 4 % of it
    expected = math.sqrt(2 * math.log(100_001)) / 0.6745
    assert measure.top_over_median(normal(100_001)) == pytest.approx(expected, rel=0.15)
    assert measure.top_over_median(torch.tensor([0.0, 0.0, 1.0])) == math.inf


def test_the_fit_of_massive_activations_finds_the_curve():
    truth = measure.MassiveFit(120.0, 0.35, 35.0, 4e-4, 1.3, 1.0)
    steps = [0, *(2**k for k in range(9)), *range(1000, 20_001, 1000)]
    noise = normal(len(steps)) * 0.3
    fit = measure.fit_massive(steps, [truth(t) + float(e) for t, e in zip(steps, noise)])
    # the residual is at most the noise's, whose variance over the curve's is below one in a thousand
    assert fit.r_squared > 0.999
    for t in (500.0, 4500.0, 15_000.0):
        assert fit(t) == pytest.approx(truth(t), abs=3 * 0.3)
    with pytest.raises(DomainError, match="at least 6 steps"):
        measure.fit_massive([1, 2, 3], [1, 2, 3])


# --- information


@pytest.mark.parametrize("estimator", ["bins", "kernel"])
def test_information_of_layers_whose_information_is_known(estimator):
    labels = torch.arange(8).repeat(16)
    per_class = labels.double()[:, None] * torch.ones(3, dtype=torch.float64)
    found = measure.mutual_information(per_class, labels, estimator=estimator)
    assert (found.inputs, found.labels) == (pytest.approx(3.0, abs=1e-9), pytest.approx(3.0, abs=1e-9))
    half = measure.mutual_information((labels >= 4).double()[:, None], labels, estimator=estimator)
    assert (half.inputs, half.labels) == (pytest.approx(1.0, abs=1e-9), pytest.approx(1.0, abs=1e-9))
    constant = measure.mutual_information(torch.ones(128, 3), labels, estimator=estimator)
    assert (constant.inputs, constant.labels) == (0.0, 0.0)
    apart = measure.mutual_information(normal(128, 5), labels, estimator=estimator)
    assert apart.inputs == pytest.approx(7.0, abs=1e-6)


@pytest.mark.parametrize("estimator", ["bins", "kernel"])
def test_information_does_not_depend_on_the_scale(estimator):
    t = torch.tanh(normal(64, 2) * 20)
    one, big = (measure.mutual_information(s * t, estimator=estimator).inputs for s in (1.0, 1024.0))
    assert one == pytest.approx(big, rel=1e-12)
    assert 2.0 <= one < 6.0  # four corners of saturated units are most of what is left


# --- routers


def test_a_router_that_sends_everything_to_one_expert():
    logits = torch.zeros(10, 5, dtype=torch.float64)
    logits[:, 2] = 50.0
    found = measure.router_load(logits)
    assert found.load == (0.0, 0.0, 1.0, 0.0, 0.0)
    assert (found.largest, found.idle) == (5.0, 0.8)
    assert found.balance == pytest.approx(5.0, rel=1e-9)
    assert found.entropy == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(DomainError, match="between 1 and the 5 experts"):
        measure.router_load(logits, top=6)


def test_a_random_router_is_even():
    logits = normal(6000, 6)
    found = measure.router_load(logits, top=2)
    # each expert is among two of six for a third of the tokens: a share of one sixth of the choices
    error = math.sqrt(1 / 3 * 2 / 3 / 6000) / 2
    assert all(abs(share - 1 / 6) < 5 * error for share in found.load)
    gates = torch.softmax(logits, 1)
    slow = -float((gates * gates.log()).sum(1).mean()) / math.log(6)
    assert found.entropy == pytest.approx(slow, rel=1e-12)


# --- gradients


def test_confusion_of_linear_regression_by_every_pair():
    x, w, y = normal(7, 5), normal(5, seed=1), normal(7, seed=2)
    gradients = (x @ w - y)[:, None] * x
    pairs = [
        (float(a @ b), float(a @ b / a.norm() / b.norm())) for a, b in itertools.combinations(gradients, 2)
    ]
    found = measure.gradient_confusion(gradients)
    assert found.bound == pytest.approx(max(-min(p for p, _ in pairs), 0), rel=1e-12)
    assert found.cosine == pytest.approx(min(c for _, c in pairs), rel=1e-12)
