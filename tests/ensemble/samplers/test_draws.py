"""Fast draws against the laws they claim, into the tails, and their reproducibility."""

from __future__ import annotations

import math

import pytest
import torch

from firstlight.ensemble.samplers._draws import fill_normal, fill_signed_uniform

SIZE = 1 << 20
SHAPES = {"fast": (SIZE,), "odd": (SIZE - 1,), "matrix": (1 << 10, 1 << 10), "small": (3, 5)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("fill", [fill_normal, fill_signed_uniform])
def test_same_state_same_numbers_and_the_state_moves_on(fill, shape: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    first, second = fill(torch.empty(shape), generator), fill(torch.empty(shape), generator)
    generator.set_state(state)
    assert torch.equal(fill(torch.empty(shape), generator), first)
    assert not torch.equal(first, second)
    assert len(first.unique()) > 0.9 * first.numel()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normals(dtype: torch.dtype) -> None:
    """Power sums against N(0,1), the tail beyond 4, and independence within and between Box–Muller pairs."""
    x = fill_normal(torch.empty(SIZE, dtype=dtype), torch.Generator().manual_seed(1)).double()
    for power, variance in ((1, 1.0), (2, 2.0), (3, 15.0), (4, 96.0)):
        mean = {1: 0.0, 2: 1.0, 3: 0.0, 4: 3.0}[power]
        assert abs(float((x**power).mean()) - mean) < 5 * math.sqrt(variance / SIZE), power
    tail = math.erfc(4 / math.sqrt(2))
    assert abs(float((x.abs() > 4).double().mean()) - tail) < 5 * math.sqrt(tail / SIZE)
    for lag in (1, SIZE // 2, SIZE // 16):
        for power in (1, 2):
            y = x**power - (power - 1)
            assert abs(float((y * y.roll(lag)).mean())) < 5 * power / math.sqrt(SIZE), (lag, power)


def test_signed_uniforms() -> None:
    u = fill_signed_uniform(torch.empty(4 * SIZE), torch.Generator().manual_seed(2)).double()
    magnitude, n = u.abs(), 4 * SIZE
    assert float(magnitude.min()) > 0
    assert float(magnitude.max()) <= 1
    assert abs(float(u.sign().mean())) < 5 / math.sqrt(n)
    assert abs(float((u.sign() * (magnitude - 0.5)).mean())) < 5 / math.sqrt(12 * n)
    for edge in (1e-5, 1e-3, 0.25, 0.5, 0.9):
        share = float((magnitude < edge).double().mean())
        assert abs(share - edge) < 5 * math.sqrt(edge * (1 - edge) / n), edge
    # small ones keep their digits: a grid of 2⁻²⁴ would hold 168 different values here
    assert len(magnitude[magnitude < 1e-5].unique()) == int((magnitude < 1e-5).sum())


@pytest.mark.parametrize("shape", [(64, 4096), (63, 5000), (4, 3)], ids=["fast", "odd rows", "small"])
def test_scaled_normals_are_the_same_normals_times_the_scale(shape: tuple[int, int]) -> None:
    scale = torch.rand(shape[1], generator=torch.Generator().manual_seed(9)) + 0.1
    plain, scaled = (torch.empty(shape) for _ in range(2))
    generator = torch.Generator().manual_seed(4)
    state = generator.get_state()
    fill_normal(scaled, generator, scale=scale)
    assert bool(torch.isfinite(scaled).all())
    if shape[0] % 2:  # by torch's own method, as tensors of an odd size are
        generator.set_state(state)
        torch.testing.assert_close(plain.normal_(generator=generator) * scale, scaled)
        return
    generator.set_state(state)
    # products in another order: a few units in the last place
    torch.testing.assert_close(fill_normal(plain, generator) * scale, scaled, rtol=1e-6, atol=0.0)
