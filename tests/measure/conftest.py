"""The one tester that every measure passes through: kinds of tensors it must take, and what must hold."""

import math
from collections.abc import Callable
from dataclasses import asdict, is_dataclass

import pytest
import torch
from torch import Tensor


def numbers(result: object) -> list[float]:
    """Every number in a result, in a fixed order."""
    if isinstance(result, Tensor):
        return [float(value) for value in result.reshape(-1)]
    if is_dataclass(result) and not isinstance(result, type):
        return [n for value in asdict(result).values() for n in numbers(value)]
    if isinstance(result, (tuple, list)):
        return [n for value in result for n in numbers(value)]
    if isinstance(result, dict):
        return [n for value in result.values() for n in numbers(value)]
    assert isinstance(result, (int, float)), f"a measure must give numbers, got {type(result)}"
    return [float(result)]


def assert_same(got: object, expected: object, *, rtol: float, atol: float) -> None:
    got_numbers, expected_numbers = numbers(got), numbers(expected)
    assert len(got_numbers) == len(expected_numbers)
    for a, b in zip(got_numbers, expected_numbers):
        both_nan = math.isnan(a) and math.isnan(b)
        assert both_nan or a == b or math.isclose(a, b, rel_tol=rtol, abs_tol=atol), (got, expected)


class MeasureTester:
    """Runs one measure, a function of one matrix, over dtypes, layouts and degenerate contents."""

    @staticmethod
    def matrix(rows: int = 24, columns: int = 40) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        # Multiples of 1/8 below 16 are exact in every dtype, so all dtypes must agree.
        return (torch.randn(rows, columns, generator=generator, dtype=torch.float64) * 8).round() / 8 + 0.25

    def dtypes(self, measure: Callable[[Tensor], object], *, rtol: float = 2e-6, atol: float = 2e-6) -> None:
        x = self.matrix()
        expected = measure(x)
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            assert_same(measure(x.to(dtype)), expected, rtol=rtol, atol=atol)

    def layouts(self, measure: Callable[[Tensor], object], *, rtol: float = 2e-6, atol: float = 2e-6) -> None:
        x = self.matrix().float()
        expected = measure(x)
        padded = torch.full((48, 120), math.nan)
        padded[::2, ::3] = x
        offset = torch.cat([torch.full((3,), math.nan), x.reshape(-1)])[3:].view(24, 40)
        for layout in (x.T.contiguous().T, padded[::2, ::3], offset, x.clone().requires_grad_()):
            assert torch.equal(layout.detach(), x)
            assert_same(measure(layout), expected, rtol=rtol, atol=atol)

    def purity(self, measure: Callable[[Tensor], object]) -> None:
        x = self.matrix().float()
        x[3, 4], x[5, 6] = math.nan, math.inf
        before, state = x.clone(), torch.random.get_rng_state()
        first, second = numbers(measure(x)), numbers(measure(x))
        assert str(first) == str(second), "the same tensor must give the same numbers"
        assert torch.equal(x.nan_to_num(), before.nan_to_num()), "it wrote into its argument"
        assert torch.equal(state, torch.random.get_rng_state()), "it drew from the global generator"

    def degenerate(self, measure: Callable[[Tensor], object]) -> None:
        x = self.matrix().float()
        cases = {
            "one entry": torch.ones(1, 1),
            "one row": x[:1],
            "one column": x[:, :1],
            "zero": torch.zeros(4, 5),
            "constant": torch.full((4, 5), 3.0),
            "all nan": torch.full((4, 5), math.nan),
            "all inf": torch.full((4, 5), -math.inf),
            "no rows": torch.empty(0, 5),
            "no columns": torch.empty(4, 0),
            "largest": torch.full((4, 5), torch.finfo(torch.float32).max) * torch.sign(x[:4, :5] + 1e-3),
            "smallest": torch.full((4, 5), 1e-45) * torch.sign(x[:4, :5] + 1e-3),
        }
        for name, case in cases.items():
            values = numbers(measure(case))
            assert values, name

    def meta(self, measure: Callable[[Tensor], object]) -> None:
        from firstlight.errors import DomainError

        with pytest.raises(DomainError, match="meta tensor"):
            measure(torch.empty(4, 5, device="meta"))
        # where a shape is annotated, the type checker of the tests speaks before the function does
        with pytest.raises((DomainError, TypeError), match=r"floating-point|Float"):
            measure(torch.ones(4, 5, dtype=torch.int64))

    def all(self, measure: Callable[[Tensor], object], *, rtol: float = 2e-6, atol: float = 2e-6) -> None:
        self.dtypes(measure, rtol=rtol, atol=atol)
        self.layouts(measure, rtol=rtol, atol=atol)
        self.purity(measure)
        self.degenerate(measure)
        self.meta(measure)


@pytest.fixture(scope="session")
def tester() -> MeasureTester:
    return MeasureTester()
