"""The fast modules against the exact function: accuracy, derivatives, dtypes, copies, compilers."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from firstlight import pairs
from firstlight.pairs.modules import _coefficients as coefficients
from firstlight.pairs.modules._lawson import fit
from firstlight.pairs.modules.fast import chunked
from firstlight.pairs.modules.ship import COMMON

KINDS = ["odd", "positive", "critical"]


@pytest.mark.parametrize("theta", COMMON)
@pytest.mark.parametrize("kind", KINDS)
def test_float32_accuracy(theta, kind):
    pair = pairs.weibull(theta, kind=kind)
    x = torch.linspace(-12, 12, 6001)
    exact = pair.exact(x.double().numpy())
    for route in (pair.activation(x), pair.activation.single.evaluate(x)[0]):
        assert np.abs(route.double().numpy() - exact).max() <= 2e-6
    away = np.abs(x.double().numpy() - pair.exact.kink) > 1e-3
    slope = pair.exact.derivative(x.double().numpy())
    got = torch.func.vmap(torch.func.grad(pair.activation))(x).double().numpy()
    # at θ = 2 itself, φ of a split pair leaves its bounded ends as fast as a Gaussian tail falls
    assert np.abs(got - slope)[away].max() < (5e-6 if theta == 2 else 4e-6)


@pytest.mark.parametrize("theta", [2.05, 3.0, 10.0])
@pytest.mark.parametrize("kind", KINDS)
def test_float64_accuracy(theta, kind):
    pair = pairs.weibull(theta, kind=kind)
    x = torch.linspace(-12, 12, 3001, dtype=torch.float64)
    error = np.abs(pair.activation(x).numpy() - pair.exact(x.numpy())).max()
    # twice the error of the fit's own grid; a positive φ keeps its value at −6, which is below 2e-9
    assert error <= 2 * pair.activation.fine.error + 2e-9 * (kind == "positive")
    assert error < 1e-8


@pytest.mark.parametrize("theta", [2.05, 3.0, 10.0])
@pytest.mark.parametrize("kind", KINDS)
def test_tail_is_the_right_power_law(theta, kind):
    pair = pairs.weibull(theta, kind=kind)
    x = torch.tensor([13.0, 50.0, 1e3, 1e6], dtype=torch.float64)
    ratio = pair.activation(x).numpy() / pair.exact(x.numpy())
    np.testing.assert_allclose(ratio, 1, atol=0.02)  # the exact power: what the constant leaves
    far = pair.activation(torch.tensor([1e11, 1e12], dtype=torch.float64))
    assert float(torch.log10(far[1] / far[0])) == pytest.approx(1 - 2 / theta, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_monotone_and_odd(kind, dtype):
    phi = pairs.weibull(3.0, kind=kind).activation
    x = torch.linspace(-30, 30, 8001, dtype=dtype)
    y = phi(x)
    # Sixteen roundings of a value: the polynomial behind it rounds differently with each processor's instructions.
    assert bool((torch.diff(y) >= -16 * torch.finfo(dtype).eps * y[1:].abs()).all())
    if kind == "odd":
        assert torch.equal(phi(-x), -phi(x))


@pytest.mark.parametrize("kind", KINDS)
def test_first_and_second_derivatives(kind):
    phi = pairs.weibull(3.0, kind=kind).activation
    x = torch.tensor([-15.0, -2.2, -0.9, 0.3, 1.7, 14.0], dtype=torch.float64, requires_grad=True)
    # the derivative has its own fit: it differs from that of the value by the errors of the fits
    assert torch.autograd.gradcheck(phi, x, atol=1e-6)
    assert torch.autograd.gradgradcheck(phi, x, atol=1e-5)


def test_exact_module_has_exact_derivatives():
    phi = pairs.ExactModule(pairs.weibull(2.5, split=0.3).exact)
    x = torch.tensor([-3.0, -1.0, 0.2, 2.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(phi, x, atol=1e-8)
    assert torch.autograd.gradgradcheck(phi, x, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_every_route_gives_the_same_numbers(kind):
    phi = pairs.weibull(4.0, kind=kind).activation
    x = torch.randn(3, 40_000) * 4
    x[0, :3] = torch.tensor([float("nan"), 13.0, -13.0])
    plain, plain_slope = phi.single.evaluate(x)
    value, slope = chunked(x, phi.single, slope=True)
    torch.testing.assert_close(value, plain, atol=4e-6, rtol=1e-6, equal_nan=True)  # 2e-6 each
    torch.testing.assert_close(slope, plain_slope, atol=1e-5, rtol=1e-5, equal_nan=True)
    assert torch.equal(phi(x[1:]), value[1:])
    y = torch.randn(50)
    expected = torch.func.jvp(phi, (y,), (torch.ones(50),))[1]
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(phi))(y), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(torch.func.vmap(phi)(x[1:]), phi(x[1:]), atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_are_computed_in_single(dtype):
    phi = pairs.weibull(3.0).activation
    x = torch.linspace(-5, 5, 101).to(dtype).requires_grad_()
    y = phi(x)
    y.float().sum().backward()
    assert y.dtype == dtype
    assert torch.equal(y, phi(x.float()).to(dtype))
    assert x.grad.dtype == dtype


@pytest.mark.parametrize("shape", [(), (0,), (5, 0), (2, 3, 4)])
def test_shapes_and_strides(shape):
    phi = pairs.weibull(3.0).activation
    x = torch.randn(shape).requires_grad_()
    phi(x).sum().backward()
    assert x.grad.shape == x.shape
    wide = torch.randn(6, 10)
    torch.testing.assert_close(phi(wide.T[::2]), phi(wide.T[::2].contiguous()))


def test_copies_and_state():
    phi = pairs.weibull(3.0, kind="critical").activation
    x = torch.randn(100)
    for other in (copy.deepcopy(phi), pickle.loads(pickle.dumps(phi))):
        assert torch.equal(other(x), phi(x))
    assert not phi.state_dict()
    assert phi.double()(x.double()).dtype == torch.float64
    assert "theta=3" in repr(phi)


def test_export():
    net = nn.Sequential(nn.Linear(4, 8), pairs.weibull(3.0, kind="critical").activation)
    x = torch.randn(5, 4)
    program = torch.export.export(net, (x,))
    torch.testing.assert_close(program.module()(x), net(x), atol=2e-6, rtol=1e-6)


_COMPILED = """
import torch
from firstlight import pairs

phi = pairs.weibull(3.0).activation
x = torch.randn(1000, requires_grad=True)
y = torch.compile(phi, fullgraph=True)(x)
(grad,) = torch.autograd.grad(y.sum(), x)
torch.testing.assert_close(y, phi(x), atol=2e-6, rtol=1e-6)
torch.testing.assert_close(grad, torch.autograd.grad(phi(x).sum(), x)[0], atol=4e-6, rtol=1e-6)
"""


@pytest.mark.slow
def test_compile_without_graph_breaks():
    # in a process of its own: the run-time type checks of the test suite are not what users compile
    done = subprocess.run([sys.executable, "-c", _COMPILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_new_theta_is_fitted_once_and_cached(tmp_path, monkeypatch):
    monkeypatch.setenv("FIRSTLIGHT_CACHE", str(tmp_path))
    first = pairs.weibull(3.3)
    files = list(tmp_path.iterdir())
    assert len(files) == 1
    assert not [f for f in files if f.suffix == ".part"]
    coefficients.weibull_fit.cache_clear()
    again = pairs.weibull(3.3)
    assert again.activation.single == first.activation.single
    x = torch.linspace(-12, 12, 500)
    assert np.abs(first.activation(x).double().numpy() - first.exact(x.double().numpy())).max() < 2e-6
    files[0].write_text("{half")  # a damaged cache is made again, not believed
    coefficients.weibull_fit.cache_clear()
    assert pairs.weibull(3.3).activation.single == first.activation.single


def test_read_only_cache_is_not_an_error(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("FIRSTLIGHT_CACHE", str(blocked / "below"))
    coefficients.weibull_fit.cache_clear()
    assert pairs.weibull(3.4).activation(torch.zeros(1)) == 0


def test_shipped_fits_are_what_the_fitter_makes():
    exact = pairs.weibull(10.0).exact
    made = fit(exact, tail_power=coefficients.tail_power(10.0))
    shipped = coefficients.weibull_fit(exact, 10.0, precise=False)
    assert made.error == pytest.approx(shipped.error, rel=0.2)
    assert len(made.pieces[0].denominator) == len(shipped.pieces[0].denominator)


@pytest.mark.parametrize("kind", KINDS)
def test_reduced_precision_of_matrix_products_does_not_reach_the_activation(kind):
    phi = pairs.weibull(3.0, kind=kind).activation
    x = torch.linspace(-8, 8, 501)
    before, expected = torch.get_float32_matmul_precision(), phi(x)
    try:
        torch.set_float32_matmul_precision("medium")
        got = phi(x)
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(got, expected, atol=4e-6, rtol=0)  # 2e-6 each
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(phi(x), expected, atol=4e-6, rtol=0)


def test_threads_and_sizes_do_not_share_buffers():
    from concurrent.futures import ThreadPoolExecutor

    phi = pairs.weibull(3.0, kind="critical").activation
    inputs = [torch.randn(n) for n in (10, 5000, 40_000, 3) for _ in range(4)]
    alone = [phi(x) for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        for got, expected in zip(pool.map(phi, inputs), alone, strict=True):
            assert torch.equal(got, expected)


def test_extreme_entries():
    for kind in KINDS:
        phi = pairs.weibull(3.0, kind=kind).activation
        x = torch.tensor([float("nan"), 1e30, 1e18, 3e38, -3e38])
        y = phi(x)
        assert bool(y[0].isnan())
        assert bool(y[1:].isfinite().all())
        assert bool((y[1:4] > 1e5).all())


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A cache with one fit, its file, and the value of φ at 1."""
    monkeypatch.setenv("FIRSTLIGHT_CACHE", str(tmp_path))
    coefficients.weibull_fit.cache_clear()
    value = pairs.weibull(3.3).activation(torch.ones(1)).item()
    (file,) = tmp_path.iterdir()
    yield file, value
    coefficients.weibull_fit.cache_clear()


def test_a_changed_fit_is_made_again_and_not_believed(cached):
    file, value = cached
    whole = file.read_bytes()
    digit = whole.rindex(b".") + 1
    changed = whole[:digit] + bytes([whole[digit] ^ 1]) + whole[digit + 1 :]
    file.write_bytes(changed)
    coefficients.weibull_fit.cache_clear()
    assert pairs.weibull(3.3).activation(torch.ones(1)).item() == value
    assert file.read_bytes() == whole


def test_a_cache_in_which_others_may_write_is_not_used(cached):
    file, value = cached
    file.parent.chmod(0o777)
    coefficients.weibull_fit.cache_clear()
    with pytest.warns(coefficients.CacheWarning, match="chmod go-w"):
        assert pairs.weibull(3.3).activation(torch.ones(1)).item() == value
