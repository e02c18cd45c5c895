import itertools
import math

import numpy as np
import pytest
import torch

from firstlight import activations
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.theory import LayerMap, kernels, posterior


def inputs(n, d, seed=0, same_norm=False):
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x / x.norm(dim=1, keepdim=True) * math.sqrt(d) if same_norm else x


def plain(net, x, y):
    """The same recursion, written for one pair at a time."""
    layer = LayerMap.of(net)
    w, b = net.sigma_w**2, net.sigma_b**2
    out = np.zeros((2, len(x), len(y)))
    for i, u in enumerate(x):
        for j, v in enumerate(y):
            q1, q2, k = (w * float((s * t).mean()) + b for s, t in ((u, u), (v, v), (u, v)))
            ntk = k if net.parametrisation == "ntk" else float(u @ v) + 1
            for width in net.widths[:-1]:
                c = max(-1.0, min(1.0, k / math.sqrt(q1 * q2)))
                dual = float(activations.dual(net.phi, q1, q2, c, closed=net.phi.degree == 1))
                slope = float(activations.dual_slope(net.phi, q1, q2, c, closed=net.phi.degree == 1))
                own, branch = net.skip**2, net.branch**2
                last = w * dual + b if net.parametrisation == "ntk" else width * dual + 1
                ntk = branch * last + (own + branch * w * slope) * ntk
                k = own * k + branch * (w * dual + b)
                q1, q2 = float(layer.variance(q1)), float(layer.variance(q2))
            out[:, i, j] = k, ntk
    return out


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "hardtanh"])
@pytest.mark.parametrize("same_norm", [True, False])
def test_against_the_recursion_pair_by_pair(activation, same_norm):
    net = RandomNetwork(
        depth=3, width=7, activation=activation, sigma_w=1.3, sigma_b=0.2, parametrisation="ntk"
    )
    x, y = inputs(2, 5, same_norm=same_norm), inputs(2, 5, 1, same_norm)
    found = kernels(net, x, y)
    nngp, ntk = plain(net, x, y)
    # hardtanh with one norm goes through an interpolant of 1e-11
    tolerance = 1e-9 if activation == "hardtanh" and same_norm else 1e-10
    np.testing.assert_allclose(found.nngp, nngp, rtol=tolerance, atol=tolerance * 1e-1)
    np.testing.assert_allclose(found.ntk, ntk, rtol=50 * tolerance, atol=tolerance)


def trapezoid(phi, q1, q2, k):
    """E φφ and E φ'φ' of a smooth φ by equal steps in both Gaussians, whose error falls exponentially with them."""
    g = torch.arange(-9.5, 9.5, 1 / 8, dtype=torch.float64)
    w = torch.exp(-g * g / 2) / (8 * math.sqrt(2 * math.pi))
    first = math.sqrt(q1) * g
    second = k / math.sqrt(q1) * g[:, None] + math.sqrt(max(q2 - k * k / q1, 0.0)) * g
    return tuple(float(w * f(first) @ f(second) @ w) for f in (phi, phi.derivative))


# The first pair is far apart, the second nearly parallel, the third nearly opposite.
DEEP = torch.tensor(
    [[1.5, 0.2, -0.7], [0.3, -1.1, 0.4], [0.9, 0.8, 0.1], [0.7, 0.9, 0.2], [1, 2, 0], [-1, -2, 0.05]]
)


@pytest.mark.parametrize(
    ("activation", "sigma_w", "sigma_b"),
    [("tanh", 1.5**0.5, 0.0), ("tanh", 2.5**0.5, 0.1**0.5), ("silu", 1.2, 0.2)],
)
def test_hundred_smooth_layers(activation, sigma_w, sigma_b):
    """Errors of 1e-15 a layer grow like χ₁^depth in chaos: measured 3e-12 after a hundred layers."""
    net = RandomNetwork(
        depth=100, width=8, activation=activation, sigma_w=sigma_w, sigma_b=sigma_b, parametrisation="ntk"
    )
    x, w, b = DEEP.double(), net.sigma_w**2, net.sigma_b**2
    found = kernels(net, x)
    for i in (0, 2, 4):
        q1, q2, k = (w * float((x[r] * x[s]).mean()) + b for r, s in ((i, i), (i + 1, i + 1), (i, i + 1)))
        ntk = k
        for _ in range(net.depth - 1):
            dual, slope = trapezoid(net.phi, q1, q2, k)
            k, q1, q2 = w * dual + b, *(w * trapezoid(net.phi, q, q, q)[0] + b for q in (q1, q2))
            ntk = k + w * slope * ntk
        assert abs(float(found.nngp[i, i + 1]) / k - 1) < 1e-11
        assert abs(float(found.ntk[i, i + 1]) / ntk - 1) < 1e-11


def test_one_layer_has_no_activation():
    x = inputs(3, 4)
    found = kernels(RandomNetwork(depth=1, width=7, activation="tanh", sigma_w=1.3, parametrisation="ntk"), x)
    torch.testing.assert_close(found.nngp, 1.69 * x @ x.T / 4, rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(found.ntk, found.nngp, rtol=0, atol=0)


@pytest.mark.parametrize("activation", ["relu", "erf", "sin"])
@pytest.mark.parametrize("parametrisation", ["standard", "ntk"])
@pytest.mark.parametrize("kw", [{}, {"skip": 1.0, "branch": 0.3}, {"sigma_b": 0.0}])
def test_parametrisations_and_residuals(activation, parametrisation, kw):
    scales = {"sigma_w": 1.3, "sigma_b": 0.2, "parametrisation": parametrisation, **kw}
    net = RandomNetwork(depth=3, width=7, activation=activation, **scales)
    x, y = inputs(2, 5), inputs(1, 5, 1)
    found = kernels(net, x, y)
    nngp, ntk = plain(net, x, y)
    np.testing.assert_allclose(found.nngp, nngp, rtol=1e-10)
    np.testing.assert_allclose(found.ntk, ntk, rtol=1e-9)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_symmetric_half_equals_whole_and_blocks(activation):
    net = RandomNetwork(depth=5, width=7, activation=activation, sigma_w=1.3, sigma_b=0.2)
    x = inputs(190, 6)  # 18 145 pairs: more than one tile
    half, whole = kernels(net, x), kernels(net, x, x.clone())
    assert torch.equal(half.nngp, half.nngp.T)
    # On the diagonal, whose correlation is 1 to rounding only, the whole kernel is the less exact one.
    apart = ~torch.eye(len(x), dtype=torch.bool)
    # A covariance near zero is the rest of terms of the size of σ_b² = 0.04, which are rounded.
    torch.testing.assert_close(half.nngp[apart], whole.nngp[apart], rtol=1e-13, atol=1e-15)
    # An NTK adds five layers of such terms, each up to 1 in size: 2e-14 was measured where the processor lacks AVX-512.
    torch.testing.assert_close(half.ntk[apart], whole.ntk[apart], rtol=1e-12, atol=4e-14)
    torch.testing.assert_close(half.nngp.diagonal(), half.q1, rtol=0, atol=0)
    torch.testing.assert_close(half.nngp, whole.nngp, rtol=1e-11, atol=1e-15)
    assert float(torch.linalg.eigvalsh(half.nngp)[0]) > -1e-10 * float(half.q1.sum())


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh", "gelu"])
@pytest.mark.parametrize("parametrisation", ["standard", "ntk"])
def test_diagonal_is_the_kernel_of_an_input_with_itself(activation, parametrisation):
    """Its correlation is 1, where rounding would move an angle by 1e-8."""
    net = RandomNetwork(
        depth=30, width=7, activation=activation, sigma_w=1.3, sigma_b=0.1, parametrisation=parametrisation
    )
    x = inputs(3, 5)
    half, whole = kernels(net, x), kernels(net, x, x.clone())
    layer, q = LayerMap.of(net), 1.69 * (x * x).mean(1) + 0.01
    ntk = (x * x).sum(1) + 1 if parametrisation == "standard" else q
    for _ in range(29):
        second = (layer.variance(q) - 0.01) / 1.69
        ntk = layer.chi(q) * ntk + (7 * second + 1 if parametrisation == "standard" else layer.variance(q))
        q = layer.variance(q)
    torch.testing.assert_close(half.nngp.diagonal(), q, rtol=1e-13, atol=0)
    torch.testing.assert_close(half.ntk.diagonal(), ntk, rtol=1e-12, atol=0)
    torch.testing.assert_close(half.ntk, whole.ntk, rtol=1e-6, atol=0)


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_normalisers_of_single_inputs(norm, activation):
    """Two layers by hand: φ sees unit variances and the correlation."""
    net = RandomNetwork(
        depth=2, width=7, activation=activation, sigma_w=1.3, sigma_b=0.1, norm=norm, parametrisation="ntk"
    )
    x, y = inputs(2, 5), inputs(3, 5, 1)
    found = kernels(net, x, y)
    q1, q2, k = 1.69 * (x * x).mean(1) + 0.01, 1.69 * (y * y).mean(1) + 0.01, 1.69 * x @ y.T / 5 + 0.01
    scale = torch.rsqrt(q1[:, None] * q2)
    after = 1.69 * activations.dual(net.phi, 1.0, 1.0, k * scale, closed=False) + 0.01
    slope = activations.dual_slope(net.phi, 1.0, 1.0, k * scale, closed=False)
    torch.testing.assert_close(found.nngp, after, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.ntk, after + 1.69 * slope * scale * k, rtol=1e-9, atol=1e-11)


def test_silent_inputs_and_weights():
    """Zero inputs without bias have variance 0, and σ_w = 0 leaves the bias alone."""
    x = torch.stack([torch.zeros(4), torch.ones(4)]).double()
    for activation in ("relu", "erf"):
        quiet = kernels(RandomNetwork(depth=4, width=7, activation=activation, sigma_w=1.3), x)
        assert quiet.nngp[0].tolist() == [0.0, 0.0]
        assert torch.isfinite(quiet.ntk).all()
        constant = kernels(
            RandomNetwork(depth=4, width=7, activation=activation, sigma_w=0.0, sigma_b=0.5), x
        )
        assert constant.nngp.flatten().tolist() == [0.25] * 4


def test_any_function_of_degree_one_is_a_closed_form():
    bent = lambda x: torch.maximum(1.7 * x, -0.4 * x)  # noqa: E731
    net = RandomNetwork(depth=3, width=7, activation=bent, sigma_w=1.1, sigma_b=0.2)
    x, y = inputs(2, 5), inputs(1, 5, 1)
    found = kernels(net, x, y)
    assert activations.closed_form(net.phi) is not None
    nngp, ntk = plain(net.with_(activation=activations.get(bent)), x, y)
    np.testing.assert_allclose(found.nngp, nngp, rtol=1e-10)
    np.testing.assert_allclose(found.ntk, ntk, rtol=1e-9)


def test_against_gradients_of_wide_networks():
    """Empirical NTK of the standard parametrisation: mean over networks of ⟨∂f, ∂f⟩; width correction O(1/n)."""
    n, depth, count = 128, 3, 40
    net = RandomNetwork(depth=depth, width=(n, n, 1), activation="tanh", sigma_w=1.4, sigma_b=0.3)
    x = inputs(2, 4, same_norm=True)
    exact = kernels(net, x)
    g = torch.Generator().manual_seed(1)
    found = []
    for _ in range(count):
        ws, sizes = [], [4, n, n, 1]
        for a, b in itertools.pairwise(sizes):
            w = torch.randn(b, a, generator=g, dtype=torch.float64) * 1.4 / math.sqrt(a)
            ws += [
                w.requires_grad_(),
                (0.3 * torch.randn(b, generator=g, dtype=torch.float64)).requires_grad_(),
            ]
        outs = []
        for row in x:
            h = row
            for i in range(depth):
                h = ws[2 * i] @ h + ws[2 * i + 1]
                h = torch.tanh(h) if i < depth - 1 else h
            outs.append(torch.cat([v.reshape(-1) for v in torch.autograd.grad(h.sum(), ws)]))
        found.append(float(outs[0] @ outs[1]))
    z = (np.mean(found) - float(exact.ntk[0, 1])) / (np.std(found, ddof=1) / math.sqrt(count))
    assert abs(z) < 5


def test_regression_recovers_a_function_and_its_variance():
    net = RandomNetwork(depth=3, width=8, activation="erf", sigma_w=1.5, sigma_b=0.3)
    t = torch.linspace(-1, 1, 25, dtype=torch.float64)
    x = torch.stack([t, torch.ones_like(t)], 1)
    found = posterior(net, x[::2], torch.sin(3 * t)[::2, None], x, noise=1e-6)
    assert float((found.mean[:, 0] - torch.sin(3 * t)).abs().max()) < 0.02
    assert float(found.variance[::2].max()) <= 1e-6 < float(found.variance[1::2].max())
    assert float(found.variance.min()) >= 0


def test_classification_of_digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    x = torch.from_numpy(data.data / 8.0 - 1)
    y = torch.nn.functional.one_hot(torch.from_numpy(data.target)).double() - 0.1
    net = RandomNetwork(depth=4, width=8, activation="relu", sigma_w=2**0.5, sigma_b=0.1)
    found = posterior(net, x[:800], y[:800], x[800:1200], noise=1e-2)
    assert float((found.labels == torch.from_numpy(data.target)[800:1200]).double().mean()) > 0.93
    assert math.isfinite(found.log_evidence)


def test_dependent_inputs_need_a_jitter_that_is_reported():
    x = inputs(12, 2)
    y = x @ torch.tensor([[1.0], [-2.0]], dtype=torch.float64)
    found = posterior(RandomNetwork(depth=2, width=4, activation="linear"), x, y, x, noise=0.0)
    assert found.jitter > 0
    torch.testing.assert_close(found.mean, y, rtol=1e-3, atol=1e-3)


def test_bad_input_is_named():
    net = RandomNetwork(depth=2, width=4)
    x = torch.ones(2, 3)
    with pytest.raises(DomainError, match="one size"):
        kernels(net, x, torch.ones(2, 4))
    with pytest.raises(DomainError, match="finite"):
        kernels(net, x * math.nan)
    with pytest.raises(DomainError, match="among"):
        kernels(net, x, get=("hessian",))
    with pytest.raises(DomainError, match="batch norm"):
        kernels(net.with_(norm="batch"), x)
    with pytest.raises(DomainError, match="target"):
        posterior(net, x, torch.ones(3, 1), x)
    with pytest.raises(DomainError, match="noise"):
        posterior(net, x, torch.ones(2, 1), x, noise=-1.0)
