"""The native kernel against the exact function and the pure module, and what happens where it cannot be built."""

import copy
import math
import os
import pickle
import stat
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from firstlight import pairs, weights
from firstlight.errors import DomainError
from firstlight.pairs.modules import kernel

KINDS = ["odd", "positive", "critical"]
NAN, INF = float("nan"), float("inf")


@pytest.fixture(scope="module", autouse=True)
def built(tmp_path_factory):
    """One build for this file, in a folder of its own."""
    before = os.environ.get("FIRSTLIGHT_CACHE")
    os.environ["FIRSTLIGHT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    kernel.load.cache_clear()
    try:
        kernel.load()
        yield
    except kernel.BuildError as error:
        if "expected a C++ compiler" not in str(error):
            raise
        pytest.skip("this machine has no C++ compiler")
    finally:
        if before is None:
            del os.environ["FIRSTLIGHT_CACHE"]
        else:
            os.environ["FIRSTLIGHT_CACHE"] = before


@pytest.mark.parametrize("theta", [2.0, 2.05, 2.5, 3.0, 10.0, 25.0])
@pytest.mark.parametrize("kind", KINDS)
def test_against_the_exact_function(theta, kind):
    pair = pairs.weibull(theta, kind=kind)
    phi = pair.native().activation
    x = torch.linspace(-12, 12, 4001).requires_grad_()
    y = phi(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    at = x.detach().double().numpy()
    # eight units in the last place of φ, which is below 12 there
    assert np.abs(y.detach().double().numpy() - pair.exact(at)).max() < 1e-6
    away = np.abs(at - pair.exact.kink) > 1e-3
    assert np.abs(slope.double().numpy() - pair.exact.derivative(at))[away].max() < 1e-6
    torch.testing.assert_close(y, pair.activation(x), atol=4e-6, rtol=1e-6)  # 2e-6 each


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("theta", [2.05, 3.0, 10.0])
def test_tail_of_value_and_slope(theta, kind):
    pair = pairs.weibull(theta, kind=kind)
    phi = pair.native().activation
    far = [14.99, 15.01, 17.0, 40.0, 300.0, 1e4]
    x = torch.tensor(far if kind == "positive" else [*far, *(-v for v in far)], requires_grad=True)
    y = phi(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    at = x.detach().double().numpy()
    np.testing.assert_allclose(y.detach().numpy(), pair.exact(at), rtol=1e-5)
    # φ' = γφ/x (1 + O(log x/x²)); the fit of the tail is to φ, and its derivative costs digits
    np.testing.assert_allclose(slope[:5].numpy(), pair.exact.derivative(at[:5]), rtol=2e-4)
    deep = phi(torch.tensor([1e20, 1e25]))
    assert float(torch.log10(deep[1] / deep[0])) / 5 == pytest.approx(1 - 2 / theta, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_monotone_odd_and_special_values(kind):
    phi = pairs.weibull(3.0, kind=kind).native().activation
    x = torch.linspace(-30, 30, 8001)
    assert bool((torch.diff(phi(x)) >= 0).all())
    y = phi(torch.tensor([NAN, INF, 3e38, 1e-40, 0.0, -0.0]))
    assert bool(y[0].isnan())
    assert float(y[1]) == INF
    assert math.isfinite(float(y[2]))
    if kind == "odd":
        assert torch.equal(phi(-x), -phi(x))
        assert float(y[3]) == pytest.approx(math.gamma(2 / 3) * 1e-40, rel=1e-4)  # a denormal's own digits
        assert y[4:].tolist() == [0.0, 0.0]
        assert float(phi(torch.tensor([-INF]))) == -INF
    if kind == "positive":
        assert phi(torch.tensor([-INF])) == phi(torch.tensor([-3e38]))


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_forward_mode_and_transforms(kind):
    pair = pairs.weibull(3.0, kind=kind)
    native, pure = pair.native().activation, pair.activation
    x = torch.tensor([-15.5, -2.2, -0.9, 0.3, 1.7, 14.0], requires_grad=True)

    def second(phi):
        (slope,) = torch.autograd.grad((phi(x) * torch.arange(6.0)).sum(), x, create_graph=True)
        return torch.autograd.grad((slope**2).sum(), x)[0]

    torch.testing.assert_close(second(native), second(pure), atol=2e-5, rtol=1e-5)
    at, step = x.detach(), torch.ones(6)
    # the constant of the pure module's tail is right to 2 %: compare within its fit
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(at[1:5], step[1:5])
        tangent = torch.autograd.forward_ad.unpack_dual(native(dual)).tangent
    expected = torch.func.jvp(pure, (at[1:5],), (step[1:5],))[1]
    torch.testing.assert_close(tangent, expected, atol=4e-6, rtol=1e-6)
    torch.testing.assert_close(
        torch.func.vmap(torch.func.grad(native))(at[1:5]), expected, atol=4e-6, rtol=1e-6
    )
    double = at.double().requires_grad_()
    assert torch.autograd.gradcheck(native, double, atol=1e-6)  # by the pure module


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_are_computed_in_single(dtype):
    phi = pairs.weibull(3.0).native().activation
    x = torch.linspace(-5, 5, 101).to(dtype).requires_grad_()
    y = phi(x)
    y.float().sum().backward()
    assert torch.equal(y, phi(x.float()).to(dtype))
    assert x.grad.dtype == dtype


def test_shapes_strides_and_expanded_gradients():
    phi = pairs.weibull(3.0, kind="critical").native().activation
    for shape in [(), (0,), (5, 0), (2, 3, 4), (17,)]:
        x = torch.randn(shape).requires_grad_()
        phi(x).sum().backward()  # a gradient of stride 0
        assert x.grad.shape == x.shape
    image = torch.randn(2, 3, 5, 4).to(memory_format=torch.channels_last).requires_grad_()
    y = phi(image)
    assert y.stride() == image.stride()
    (grad,) = torch.autograd.grad(y, image, torch.randn(2, 3, 5, 4).copy_(y.detach()))
    torch.testing.assert_close(y, phi(image.contiguous()), atol=0, rtol=0)
    again = image.detach().contiguous().requires_grad_()
    torch.testing.assert_close(grad, torch.autograd.grad(phi(again), again, y.detach())[0], atol=0, rtol=0)
    wide = torch.randn(6, 10)
    for view in (wide.T[::2], wide[:, 1:4], wide[:1].expand(3, 10)):
        assert torch.equal(phi(view), phi(view.contiguous()))


def test_threads_give_the_same_numbers():
    phi = pairs.weibull(3.0, kind="critical").native().activation
    x = torch.randn(100_001) * 8  # a few are past the table
    before, alone = torch.get_num_threads(), phi(x)
    try:
        torch.set_num_threads(3)
        assert torch.equal(phi(x), alone)
    finally:
        torch.set_num_threads(before)


def test_copies_state_export_and_the_rest_of_a_pair():
    pair = pairs.weibull(3.0, kind="critical")
    native = pair.native()
    x = torch.randn(100)
    for other in (copy.deepcopy(native.activation), pickle.loads(pickle.dumps(native.activation))):
        assert torch.equal(other(x), native.activation(x))
    assert not native.activation.state_dict()
    assert native.activation.double()(x).dtype == torch.float32
    assert native.activation.kinks == pair.activation.kinks
    assert native.native() is native
    assert native.check() == pair.check()
    net = nn.Sequential(nn.Linear(100, 8), native.activation)
    program = torch.export.export(net, (x[None],))
    assert not [node for node in program.graph.nodes if "firstlight" in str(node.target)]
    torch.testing.assert_close(program.module()(x[None]), net(x[None]), atol=4e-6, rtol=1e-6)
    assert isinstance(pairs.weibull(math.inf).native().activation, nn.Identity)


def test_partners_without_a_fit_get_a_fast_module_or_a_reason():
    pair = pairs.partner(weights.chi(3))
    x = torch.linspace(-12, 12, 501)
    torch.testing.assert_close(pair.native().activation(x), pair.activation(x), atol=1e-6, rtol=0)
    with pytest.raises(DomainError, match="infinite slope"):
        pairs.partner(weights.uniform()).native()


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty cache, and a kernel that is not loaded."""
    monkeypatch.setenv("FIRSTLIGHT_CACHE", str(tmp_path / "cache"))
    kernel.load.cache_clear()
    yield tmp_path
    kernel.load.cache_clear()


def test_without_the_instructions_of_this_machine(elsewhere, monkeypatch):
    expected = pairs.weibull(3.0, kind="critical").native().activation
    x = (torch.randn(5000) * 8).requires_grad_()
    y = expected(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    monkeypatch.setattr(kernel, "_BASE", (*kernel._BASE, "-U__AVX512F__"))
    kernel._name.cache_clear()
    kernel.load.cache_clear()
    plain = expected(x)
    assert len(list((elsewhere / "cache").iterdir())) == 2
    torch.testing.assert_close(plain, y, atol=1e-6, rtol=1e-6)  # a few roundings each
    torch.testing.assert_close(torch.autograd.grad(plain.sum(), x)[0], slope, atol=1e-6, rtol=1e-6)
    special = expected(torch.tensor([NAN, INF, -INF]))
    assert bool(special[0].isnan())
    assert special[1:].tolist() == [INF, -INF]
    kernel._name.cache_clear()


def test_no_compiler_is_a_clear_message(elsewhere, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(elsewhere))
    with pytest.raises(kernel.BuildError, match=r"expected a C\+\+ compiler"):
        pairs.weibull(3.0).native()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(kernel.BuildError, match="no-such-compiler"):
        kernel.build()


def test_a_failing_compiler_leaves_nothing_behind(elsewhere, monkeypatch):
    false = elsewhere / "broken"
    false.write_text("#!/bin/sh\necho half > kernel.so\necho no room >&2\nexit 1\n")
    false.chmod(false.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(false))
    monkeypatch.chdir(elsewhere)
    with pytest.raises(kernel.BuildError, match="no room"):
        kernel.build()
    assert list((elsewhere / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_a_clear_message(elsewhere, monkeypatch):
    (elsewhere / "file").write_text("")
    monkeypatch.setenv("FIRSTLIGHT_CACHE", str(elsewhere / "file" / "below"))
    with pytest.raises(kernel.BuildError, match="FIRSTLIGHT_CACHE"):
        kernel.build()


def test_a_module_loaded_without_its_library_runs_by_the_pure_one(monkeypatch, tmp_path):
    phi = pairs.weibull(3.0).native().activation
    text = pickle.dumps(phi)
    monkeypatch.setenv("FIRSTLIGHT_CACHE", str(tmp_path))
    with pytest.warns(UserWarning, match="pure module"):
        other = pickle.loads(text)
    x = torch.randn(10)
    assert torch.equal(other(x), phi.pure(x))


_COMPILED = """
import torch
from firstlight import pairs

phi = pairs.weibull(3.0, kind="critical").native().activation
x = torch.randn(1000, requires_grad=True)
y = torch.compile(phi, fullgraph=True)(x)
(grad,) = torch.autograd.grad(y.sum(), x)
assert torch.equal(y, phi(x)), "forward"
assert torch.equal(grad, torch.autograd.grad(phi(x).sum(), x)[0]), "backward"
"""


@pytest.mark.slow
def test_compile_without_graph_breaks():
    done = subprocess.run([sys.executable, "-c", _COMPILED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


_HOSTILE = (
    '#include <stdlib.h>\n__attribute__((constructor)) static void ran(void) { system("touch RAN"); }\n'
)


def test_no_other_file_is_loaded_as_the_library(elsewhere, monkeypatch):
    cache = elsewhere / "cache"
    path = kernel.build()
    whole = path.read_bytes()
    (elsewhere / "bad.c").write_text(_HOSTILE.replace("RAN", str(elsewhere / "RAN")))
    compiler = kernel._compiler()
    subprocess.run(
        [compiler, "-x", "c", "-shared", "-fPIC", "bad.c", "-o", "bad.so"], cwd=elsewhere, check=True
    )
    hostile = (elsewhere / "bad.so").read_bytes()
    flipped = whole[:-500] + bytes([whole[-500] ^ 1]) + whole[-499:]
    for wrong in (hostile, whole[:3000], flipped, b"", whole.replace(b"library", b"Library", 1)):
        path.write_bytes(wrong)
        kernel.load.cache_clear()
        assert not kernel.is_built()
    assert float(pairs.weibull(3.0).native().activation(torch.ones(1))) > 0
    assert path.read_bytes().startswith(b'{"firstlight-file": 1, "kind": "library"')
    assert not (elsewhere / "RAN").exists()
    assert [p.name for p in cache.iterdir()] == [path.name]


@pytest.mark.parametrize("rights", [0o770, 0o777])
def test_a_cache_in_which_others_may_write_gives_no_library(elsewhere, rights):
    kernel.build().parent.chmod(rights)
    kernel.load.cache_clear()
    with pytest.raises(kernel.BuildError, match="chmod go-w"):
        kernel.load()
