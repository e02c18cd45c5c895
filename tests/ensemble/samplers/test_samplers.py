"""Every sampler equals in law the construction with explicit matrices, forward and backward together."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from firstlight.ensemble.samplers import NormalWeights, Sampler, StreamedWeights, cheapest, sampler_for
from firstlight.ensemble.samplers._homogeneous import slopes, squared_ratio
from firstlight.weights import weibull

NETS = 100_000
SIGMA_W, SIGMA_B = 1.3, 0.4


def activations(fan_in: int, inputs: int, rank: int) -> Tensor:
    """Fixed activations of a given rank, of unequal column norms, in float64."""
    g = torch.Generator().manual_seed(fan_in + 10 * inputs)
    left = torch.randn(fan_in, rank, generator=g, dtype=torch.float64)
    right = torch.randn(rank, inputs, generator=g, dtype=torch.float64)
    return left @ right / math.sqrt(rank)


def delta_of(z: Tensor) -> Tensor:
    """Gradients that depend on the forward pass, so that a wrong dependence would show."""
    return torch.sin(z) + 0.3 * z + 0.5


CASES = [
    ("normal", None, 6, 3, 1, 1),
    ("normal", "qr", 6, 3, 3, 3),
    ("normal", "qr", 6, 3, 3, 1),
    ("normal", "qr", 3, 4, 5, 3),
    ("normal", "direct", 5, 3, 2, 2),
    ("orthogonal", None, 6, 6, 1, 1),
    ("orthogonal", None, 7, 7, 2, 2),
    ("orthogonal", None, 7, 7, 3, 1),
    ("orthogonal", None, 4, 4, 4, 4),
    ("orthogonal", None, 4, 4, 6, 4),
    ("orthogonal", None, 3, 8, 2, 2),
    ("orthogonal", None, 9, 9, 2, 1),
    ("orthogonal", None, 8, 3, 2, 2),
    ("weibull(3)", None, 5, 4, 2, 2),
    ("uniform", None, 5, 4, 1, 1),
]


@pytest.mark.parametrize("nets", [20_000, pytest.param(NETS, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("law", "route", "fan_in", "fan_out", "inputs", "rank"), CASES)
def test_forward_and_backward_have_the_joint_law_of_explicit_matrices(
    law: str,
    route: str | None,
    fan_in: int,
    fan_out: int,
    inputs: int,
    rank: int,
    nets: int,
    explicit: Callable[..., Tensor],
    same_law: Callable[[Tensor, Tensor], None],
    generator: torch.Generator,
) -> None:
    h = activations(fan_in, inputs, rank)
    sampler: Sampler = sampler_for(law, sigma_w=SIGMA_W, sigma_b=SIGMA_B)
    if route is not None:
        sampler = NormalWeights(SIGMA_W, SIGMA_B, route)  # type: ignore[arg-type]
    z, memo = sampler.forward(h.repeat(nets, 1, 1), fan_out, generator, keep=True)
    grad = sampler.backward(memo, delta_of(z), generator)

    scale = SIGMA_W / math.sqrt(fan_in)
    w = explicit(law, (nets, fan_out, fan_in), generator)
    b = torch.randn(nets, fan_out, 1, generator=generator, dtype=torch.float64)
    z_direct = scale * w @ h + SIGMA_B * b
    grad_direct = scale * w.mT @ delta_of(z_direct)

    g = torch.Generator().manual_seed(5)
    for _ in range(2):
        # random projections of (Z, gradient) and products between them fix the joint law
        p = torch.randn(fan_out, inputs, generator=g, dtype=torch.float64)
        q = torch.randn(fan_in, inputs, generator=g, dtype=torch.float64)
        one, other = (z * p).sum((1, 2)), (z_direct * p).sum((1, 2))
        two, another = (grad * q).sum((1, 2)), (grad_direct * q).sum((1, 2))
        same_law(one, other)
        same_law(two, another)
        same_law(one + two, other + another)
        same_law(one * two, other * another)


def test_orthogonal_weights_keep_every_angle(generator: torch.Generator) -> None:
    """A square Haar matrix is an isometry: the Gram matrix passes through, exactly, with and without memory."""
    h = activations(40, 6, 4).repeat(9, 1, 1)
    for keep in (False, True):
        z, _ = sampler_for("orthogonal", sigma_w=1.5).forward(h, 40, generator, keep=keep)
        torch.testing.assert_close(z.mT @ z, 1.5**2 * h.mT @ h, rtol=1e-9, atol=1e-9)


def test_both_factorisations_of_a_frame_have_one_law(
    same_law: Callable[[Tensor, Tensor], None], generator: torch.Generator
) -> None:
    h = activations(9, 2, 2).repeat(NETS, 1, 1)
    sampler = sampler_for("orthogonal")
    short, _ = sampler.forward(h, 9, generator)
    long, _ = sampler.forward(h, 9, generator, keep=True)
    p = torch.randn(9, 2, generator=generator, dtype=torch.float64)
    same_law((short * p).sum((1, 2)), (long * p).sum((1, 2)))
    same_law(short[:, 0, 0] * short[:, 1, 1], long[:, 0, 0] * long[:, 1, 1])


@pytest.mark.parametrize("law", ["normal", "orthogonal", "weibull(2.5)"])
def test_one_matrix_acts_on_all_inputs_of_a_network(law: str, generator: torch.Generator) -> None:
    """Equal columns give equal columns, and three times a column three times as much, up to rounding."""
    h = activations(20, 2, 2)
    h = torch.stack([h[:, 0], h[:, 1], h[:, 0], 3 * h[:, 1]], dim=1)
    z, _ = sampler_for(law, sigma_w=2.0).forward(h.repeat(50, 1, 1), 20, generator)
    torch.testing.assert_close(z[..., 0], z[..., 2], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(3 * z[..., 1], z[..., 3], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nearly_parallel_activations_keep_their_angle(dtype: torch.dtype, generator: torch.Generator) -> None:
    """Where HᵀH is numerically singular a Cholesky factor fails; the QR route keeps the small difference."""
    h = torch.randn(400, 1, 50, generator=generator, dtype=torch.float64).mT
    h = torch.cat([h, h * (1 + 1e-5 * torch.randn(h.shape, generator=generator, dtype=torch.float64))], dim=2)
    z, _ = NormalWeights(1.0, 0.0, "qr").forward(h.to(dtype), 60, generator)
    got = (z[..., 0] - z[..., 1]).double().square().mean()
    want = (h[..., 0] - h[..., 1]).square().mean()
    # 24 000 squares of Gaussians with weights that differ little: a standard error of about 1 %
    assert abs(float(got / want) - 1) < 0.06


@pytest.mark.parametrize("law", ["normal", "orthogonal", "weibull(3)"])
def test_dead_activations_give_the_bias_alone(law: str, generator: torch.Generator) -> None:
    sampler = sampler_for(law, sigma_w=1.0, sigma_b=0.0)
    for inputs in (1, 3):
        h = torch.zeros(10, 8, inputs)
        z, memo = sampler.forward(h, 8, generator, keep=True)
        assert bool((z == 0).all())
        grad = sampler.backward(memo, torch.ones_like(z), generator)
        assert bool(torch.isfinite(grad).all())
        assert float(grad.abs().max()) > 0


@pytest.mark.parametrize("theta", [2.05, 3.0, 10.0])
def test_streamed_weibull_weights_follow_their_law_into_the_tail(
    theta: float, generator: torch.Generator
) -> None:
    from firstlight.ensemble.samplers.streamed import filler
    from firstlight.measure import ks_to_normal

    w = torch.empty(2_000_000)
    filler(weibull(theta))(w, generator)
    uniform = weibull(theta).cdf(w.double())
    assert ks_to_normal(torch.special.ndtri(uniform)) * math.sqrt(len(w)) < 2.4
    high = -math.log(1e-5)
    count = int((w.abs().double() ** theta > high).sum())
    assert abs(count - 20) < 5 * math.sqrt(20)


def test_streams_are_independent_of_block_edges(generator: torch.Generator) -> None:
    """Matrices larger than a block, and many small ones in a block, have the right second moments."""
    for nets, fan_in, fan_out in ((2, 700, 600), (3000, 3, 2)):
        h = torch.ones(nets, fan_in, 2)
        h[..., 1] = torch.arange(fan_in) % 2
        z, _ = StreamedWeights(weibull(3.0)).forward(h, fan_out, generator)
        gram = (z.mT @ z).sum(0) / (nets * fan_out)
        want = weibull(3.0).variance * (h.mT @ h)[0] / fan_in
        # products of near-Gaussians: relative standard error below √2/√(rows)
        assert float((gram / want - 1).abs().max()) < 5 * math.sqrt(3 / (nets * fan_out))


@pytest.mark.parametrize(
    ("up", "down"), [(1.0, 0.0), (1.0, 1.0), (1.0, 0.2), (1.0, -1.0)], ids=["relu", "linear", "leaky", "abs"]
)
@pytest.mark.parametrize("width", [1, 3, 64])
def test_chi_square_law_of_homogeneous_activations(
    up: float, down: float, width: int, same_law: Callable[[Tensor, Tensor], None], generator: torch.Generator
) -> None:
    ratio = squared_ratio(NETS, width, (up, down), generator)
    g = torch.randn(NETS, width, generator=generator, dtype=torch.float64)
    direct = torch.where(g > 0, up * g, down * g).square().mean(dim=1)
    same_law(ratio, direct)


def test_only_homogeneous_activations_have_slopes() -> None:
    from firstlight import activations as phi

    assert slopes(phi.get("relu")) == (1.0, 0.0)
    assert slopes(phi.get("tanh")) is None
    assert slopes(phi.get(lambda x: torch.maximum(x, 0.3 * x))) == pytest.approx((1.0, 0.3))


@pytest.mark.parametrize(
    ("shape", "route"),
    [((10, 10, 1), "norm"), ((1000, 1000, 10), "qr"), ((8, 8, 8), "direct"), ((100, 100, 2), "qr")],
)
def test_route(shape: tuple[int, int, int], route: str) -> None:
    assert cheapest(*shape) == route
