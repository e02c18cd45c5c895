"""Kernels of convolutional networks against neural-tangents, networks drawn, and what must hold between them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from firstlight import activations
from firstlight.errors import DomainError
from firstlight.network import RandomNetwork
from firstlight.theory import (
    ConvolutionalNetwork,
    PiecewiseLinear,
    convolutional_kernels,
    kernels,
    posterior,
)

REFERENCE = json.loads((Path(__file__).parents[2] / "reference/convolution.json").read_text())["cases"]
GEOMETRY = ("kernel", "stride", "padding", "readout")


def images(n, *shape, seed=0):
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def net(depth=3, width=8, activation="relu", readout="pool", **kw):
    geometry = {key: kw.pop(key) for key in GEOMETRY if key in kw}
    scales = {"sigma_w": 1.4, "sigma_b": 0.3, "parametrisation": "ntk"} | kw
    layers = RandomNetwork(depth=depth, width=width, activation=activation, **scales)
    return ConvolutionalNetwork(layers=layers, readout=readout, **geometry)


@pytest.mark.parametrize(
    "case", REFERENCE, ids=lambda c: "-".join(str(c[k]) for k in ("activation", *GEOMETRY))
)
def test_against_neural_tangents(case):
    scales = {key: case[key] for key in ("depth", "activation", "sigma_w", "sigma_b", "skip")}
    network = net(**scales, **{key: case[key] for key in GEOMETRY})
    x1, x2 = (torch.tensor(case[key], dtype=torch.float64) for key in ("x1", "x2"))
    found = convolutional_kernels(network, x1, x2)
    # the same sums in float64, in another order
    np.testing.assert_allclose(found.nngp, case["nngp"], rtol=1e-12)
    np.testing.assert_allclose(found.ntk, case["ntk"], rtol=1e-12)


def drawn(network, x, generator):
    """Outputs of one network with unit weights times scales ("ntk") or scaled weights, and its parameters."""
    layers, parameters, h = network.layers, [], x
    ntk = layers.parametrisation == "ntk"
    for i, n in enumerate(layers.widths):
        last = i == layers.depth - 1
        if last:
            h = h.mean((-2, -1)) if network.readout == "pool" else h.flatten(1)
        shape = (n, h.shape[1]) if last else (n, h.shape[1], network.kernel, network.kernel)
        scale = layers.sigma_w / math.sqrt(math.prod(shape[1:]))
        w = torch.randn(shape, generator=generator, dtype=torch.float64)
        b = torch.randn(n, generator=generator, dtype=torch.float64)
        parameters += [w, b] if ntk else [scale * w, layers.sigma_b * b]
        w, b = (v.requires_grad_() for v in parameters[-2:])
        w, b = (scale * w, layers.sigma_b * b) if ntk else (w, b)
        if last:
            return functional.linear(h, w, b), parameters
        if network.padding != "valid":
            before = (network.kernel - 1) // 2
            after = network.kernel - 1 - before
            mode = "circular" if network.padding == "circular" else "constant"
            h = functional.pad(h, (before, after, before, after), mode=mode)
        h = layers.phi(functional.conv2d(h, w, b, stride=network.stride))
    raise AssertionError("the last layer returns")


@pytest.mark.parametrize(
    ("kw", "parametrisation"),
    [
        ({"activation": "tanh", "padding": "circular", "readout": "pool"}, "ntk"),
        ({"activation": "hardtanh", "padding": "zero", "readout": "flatten", "stride": 2}, "standard"),
        ({"activation": "silu", "padding": "valid", "readout": "pool", "kernel": 2}, "standard"),
    ],
)
def test_against_networks_drawn(kw, parametrisation):
    """Means over networks of f(x)f(x') and ⟨∂f, ∂f'⟩; the correction of order 1/width is below the noise."""
    network = net(width=(96, 96, 16), parametrisation=parametrisation, **kw)
    x, g = images(2, 2, 4, 4), torch.Generator().manual_seed(7)
    exact = convolutional_kernels(
        network.__class__(**{**vars(network), "layers": network.layers.with_(width=(96, 96, 1))}), x
    )
    nngp, ntk = [], []
    for _ in range(50):
        out, parameters = drawn(network, x, g)
        nngp.append((out @ out.T / out.shape[1]).detach().numpy())
        rows = [
            torch.cat([v.flatten() for v in torch.autograd.grad(out[i, 0], parameters, retain_graph=True)])
            for i in range(2)
        ]
        ntk.append([[float(a @ b) for b in rows] for a in rows])
    for found, expected in ((nngp, exact.nngp), (ntk, exact.ntk)):
        values = np.array(found)
        z = (values.mean(0) - expected.numpy()) / (values.std(0, ddof=1) / math.sqrt(len(values)))
        assert np.abs(z).max() < 5


@pytest.mark.parametrize("activation", ["relu", "tanh", "hardtanh"])
@pytest.mark.parametrize("parametrisation", ["ntk", "standard"])
def test_one_position_is_a_dense_network(activation, parametrisation):
    network = net(activation=activation, kernel=1, parametrisation=parametrisation)
    x, y = images(3, 5, 1, 1), images(2, 5, 1, 1, seed=1)
    found, dense = convolutional_kernels(network, x, y), kernels(network.layers, x.flatten(1), y.flatten(1))
    for name in ("nngp", "ntk", "q1", "q2"):
        torch.testing.assert_close(getattr(found, name), getattr(dense, name), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("readout", ["flatten", "pool"])
@pytest.mark.parametrize("activation", ["gelu", "softplus", "relu6"])
def test_half_is_the_whole_and_the_diagonal_the_variance(activation, readout):
    network, x = net(activation=activation, readout=readout), images(4, 1, 5)
    half, whole = convolutional_kernels(network, x), convolutional_kernels(network, x, x.clone())
    torch.testing.assert_close(half.nngp, whole.nngp, rtol=1e-13, atol=0)
    torch.testing.assert_close(half.ntk, whole.ntk, rtol=1e-13, atol=0)
    # a Hermite series ends at 1e-13 of φ's power, and the slope's one derivative earlier
    torch.testing.assert_close(half.nngp.diagonal(), half.q1, rtol=1e-10, atol=0)
    assert float(torch.linalg.eigvalsh(half.ntk)[0]) > 0


def test_pooling_with_circular_padding_does_not_see_shifts():
    network, x = net(), images(2, 2, 4, 6)
    moved = convolutional_kernels(network, x.roll((1, 2), (-2, -1)), x)
    torch.testing.assert_close(moved.nngp, convolutional_kernels(network, x, x.clone()).nngp)


def test_a_shallow_network_and_dark_images():
    x = images(2, 1, 3, 3)
    flat = convolutional_kernels(net(depth=1, readout="flatten"), x)
    torch.testing.assert_close(flat.nngp, kernels(net(depth=1).layers, x.flatten(1)).nngp)
    dark = convolutional_kernels(net(activation="tanh", sigma_b=0.0), torch.zeros(1, 1, 3, 3))
    assert (float(dark.nngp), float(dark.ntk)) == pytest.approx((0.0, 0.0), abs=1e-100)


@pytest.mark.parametrize("name", ["hardtanh", "relu6", "crelu(0.7, 1.1)", "softshrink", "cst(0.4, 1.0)"])
def test_piecewise_linear_moments(name):
    phi = activations.get(name)
    lines = PiecewiseLinear.of(phi)
    q1, q2, c = (
        torch.tensor(v, dtype=torch.float64) for v in ([0.3, 1.0], [1.0001, 2.0], [-1.0, -0.9, 0.2, 1 - 1e-9])
    )
    a, b, rho = torch.broadcast_tensors(q1[:, None, None], q2[:, None], c)
    value, slope = lines.pair(a, b, rho)
    torch.testing.assert_close(value, activations.dual(phi, a, b, rho), rtol=1e-11, atol=1e-12)
    # two kinks at nearly the same z meet in a layer thinner than the rule's last panel
    torch.testing.assert_close(slope, activations.dual_slope(phi, a, b, rho), rtol=1e-7, atol=2e-8)


@pytest.mark.parametrize("name", ["tanh", "elu", "sign", "hardswish", "log_periodic"])
def test_what_is_not_piecewise_linear_is_refused(name):
    assert PiecewiseLinear.of(activations.get(name)) is None


@pytest.mark.slow
def test_digits_by_the_gaussian_process_of_a_convolutional_network():
    """Real digits, 300 for training: better than the fully connected process on the same data."""
    from firstlight.data import load

    data = load("digits", count=600, seed=0)
    x, labels = data.inputs.double().reshape(600, 1, 8, 8), data.targets
    y = functional.one_hot(labels).double() - 0.1
    share = []
    for network, inputs in (
        (net(depth=4, readout="flatten", sigma_w=math.sqrt(2), sigma_b=0.1), x),
        (RandomNetwork(depth=4, width=8, activation="relu", sigma_w=2**0.5, sigma_b=0.1), x.flatten(1)),
    ):
        found = posterior(network, inputs[:300], y[:300], inputs[300:], noise=1e-2)
        share.append(float((found.labels == labels[300:]).double().mean()))
        assert bool((found.variance >= 0).all())
    assert share[0] > 0.95
    assert share[0] > share[1]


def test_bad_input_is_named():
    with pytest.raises(DomainError, match="stride"):
        net(stride=0)
    with pytest.raises(DomainError, match="padding"):
        net(padding="reflect")
    with pytest.raises(DomainError, match="readout"):
        net(readout="max")
    with pytest.raises(DomainError, match="normaliser"):
        net(norm="layer")
    with pytest.raises(DomainError, match="under a skip"):
        net(skip=1.0, stride=2)
    x = images(2, 1, 4, 4)
    with pytest.raises(DomainError, match="at least 3 positions"):
        convolutional_kernels(net(depth=4, padding="valid"), x)
    with pytest.raises(DomainError, match="one shape"):
        convolutional_kernels(net(), x, images(2, 1, 4, 5))
    with pytest.raises(DomainError, match="finite images"):
        convolutional_kernels(net(), x * math.nan)
    with pytest.raises(DomainError, match="among"):
        convolutional_kernels(net(), x, get=("hessian",))
