"""MeasureTester: a number taken from a matrix, over kinds of tensors and degenerate contents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass

import torch
from torch import Tensor

from firstlight.errors import DomainError
from firstlight.testing.failure import DeclarationError, expect_true

_ROWS, _COLUMNS = 24, 40


@dataclass(frozen=True)
class MeasureTester:
    """Holds a measure to the same numbers for every kind of tensor that shows the same matrix.

    Every method raises `DeclarationError` with both numbers where the measure does not keep to them.

    Parameters
    ----------
    measure
        A function of one matrix. It gives numbers: one, or several in a tensor, tuple, dict or dataclass.
    rtol, atol
        How far numbers may lie apart between dtypes and layouts.

    Examples
    --------
    >>> from firstlight.measure import moments
    >>> from firstlight.testing import MeasureTester
    >>> MeasureTester(moments).all()
    """

    measure: Callable[[Tensor], object]
    rtol: float = 2e-6
    atol: float = 2e-6

    def all(self) -> None:
        """Every method in turn."""
        self.dtypes()
        self.layouts()
        self.purity()
        self.degenerate()
        self.refusals()

    @staticmethod
    def matrix() -> Tensor:
        """24 × 40 multiples of 1/8 below 16, which every floating dtype holds exactly; so all of them must agree."""
        generator = torch.Generator().manual_seed(7)
        drawn = torch.randn(_ROWS, _COLUMNS, generator=generator, dtype=torch.float64)
        return (drawn * 8).round() / 8 + 0.25

    def dtypes(self) -> None:
        """The four floating dtypes give the same numbers.

        Raises
        ------
        DeclarationError
            A dtype whose numbers are others.
        """
        x = self.matrix()
        expected = self.measure(x)
        for dtype in (torch.float32, torch.float16, torch.bfloat16):
            self._same(f"in {dtype}", self.measure(x.to(dtype)), expected)

    def layouts(self) -> None:
        """A transposed matrix, one with gaps, one at an offset and one that requires a gradient give the same numbers.

        Raises
        ------
        DeclarationError
            A layout whose numbers are others.
        """
        x = self.matrix().float()
        expected = self.measure(x)
        padded = torch.full((2 * _ROWS, 3 * _COLUMNS), math.nan)
        padded[::2, ::3] = x
        offset = torch.cat([torch.full((3,), math.nan), x.reshape(-1)])[3:].view(_ROWS, _COLUMNS)
        layouts = {
            "transposed": x.T.contiguous().T,
            "with gaps": padded[::2, ::3],
            "at an offset": offset,
            "that requires a gradient": x.clone().requires_grad_(),
        }
        for name, layout in layouts.items():
            self._same(name, self.measure(layout), expected)

    def purity(self) -> None:
        """The same numbers twice, the argument as it was, and torch's global generator as it was.

        Raises
        ------
        DeclarationError
            One of the three fails.
        """
        x = self.matrix().float()
        x[3, 4], x[5, 6] = math.nan, math.inf
        before, state = x.clone(), torch.random.get_rng_state()
        first, second = _numbers(self.measure(x)), _numbers(self.measure(x))
        # as text, where NaN is NaN
        expect_true("a measure twice: expected the same numbers", str(first) == str(second), second)
        same = torch.equal(x.nan_to_num(), before.nan_to_num())
        expect_true("a measure: expected its argument as it was", same, "an argument with other entries")
        kept = torch.equal(state, torch.random.get_rng_state())
        expect_true("a measure: expected torch's global generator as it was", kept, "another state")

    def degenerate(self) -> None:
        """Matrices of one entry, of no rows, constant, infinite or tiny give numbers (NaN too), and no error.

        Raises
        ------
        DeclarationError
            A matrix that gives no number, or an error.
        """
        x = self.matrix().float()
        signs = torch.sign(x[:4, :5] + 1e-3)
        cases = {
            "one entry": torch.ones(1, 1),
            "one row": x[:1],
            "one column": x[:, :1],
            "zero": torch.zeros(4, 5),
            "constant": torch.full((4, 5), 3.0),
            "all NaN": torch.full((4, 5), math.nan),
            "all infinite": torch.full((4, 5), -math.inf),
            "no rows": torch.empty(0, 5),
            "no columns": torch.empty(4, 0),
            "largest": torch.finfo(torch.float32).max * signs,
            "smallest": 1e-45 * signs,
        }
        for name, case in cases.items():
            try:
                found = _numbers(self.measure(case))
            except Exception as error:
                got = f"{type(error).__name__}: {error}"
                raise DeclarationError(
                    f"while testing a measure on a matrix ({name}): expected numbers, got {got}"
                ) from error
            expect_true(f"a measure on a matrix ({name}): expected numbers", bool(found), "none")

    def refusals(self) -> None:
        """A meta tensor and a tensor of integers are refused: a `DomainError`, or a `TypeError` of a type checker.

        Raises
        ------
        DeclarationError
            A number where there can be none.
        """
        refused = {
            "a meta tensor": (torch.empty(4, 5, device="meta"), "meta tensor"),
            "integers": (torch.ones(4, 5, dtype=torch.int64), "floating-point"),
        }
        for name, (case, word) in refused.items():
            try:
                found = self.measure(case)
            except DomainError as error:
                expect_true(
                    f"a measure on {name}: expected {word!r} in the message", word in str(error), str(error)
                )
            except TypeError:
                continue  # where a shape is annotated, a type checker speaks before the function does
            else:
                raise DeclarationError(
                    f"while testing a measure on {name}: expected a DomainError, got {found}"
                )

    def _same(self, what: str, got: object, expected: object) -> None:
        ours, theirs = _numbers(got), _numbers(expected)
        expect_true(
            f"a matrix {what}: expected {len(theirs)} numbers",
            len(ours) == len(theirs),
            f"{len(ours)} numbers",
        )
        for a, b in zip(ours, theirs, strict=True):
            alike = (math.isnan(a) and math.isnan(b)) or a == b
            alike = alike or math.isclose(a, b, rel_tol=self.rtol, abs_tol=self.atol)
            expect_true(f"a matrix {what}: expected {b:.9g}", alike, f"{a:.9g}")


def _numbers(result: object) -> list[float]:
    """Every number in a result, in a fixed order."""
    if isinstance(result, Tensor):
        return [float(value) for value in result.reshape(-1)]
    if is_dataclass(result) and not isinstance(result, type):
        return _numbers(asdict(result))
    if isinstance(result, Mapping):
        return [n for value in result.values() for n in _numbers(value)]
    if isinstance(result, tuple | list):
        return [n for value in result for n in _numbers(value)]
    if not isinstance(result, int | float):
        raise DeclarationError(
            f"while testing a measure: expected numbers, tensors, or tuples, dicts and dataclasses of them, got "
            f"{type(result).__name__}"
        )
    return [float(result)]
