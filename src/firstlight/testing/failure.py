"""The error of a declaration that does not hold, and how numbers are compared."""

from __future__ import annotations

import math

from firstlight.errors import FirstlightError

Z = 5.0  # standard errors that a sample may be off: one false alarm in two million


class DeclarationError(FirstlightError, AssertionError):
    """An object declares something that its own numbers contradict."""


def expect_close(what: str, declared: float, found: float, *, rtol: float, atol: float = 0.0) -> None:
    """Two numbers that should agree, or an error that shows both."""
    if not (declared == found or abs(declared - found) <= atol + rtol * abs(found)):
        raise DeclarationError(
            f"while testing {what}: expected {found:.12g}, got {declared:.12g}; the declaration and the second way "
            f"differ by more than {atol + rtol * abs(found):.1g}"
        )


def expect_mean(what: str, declared: float, mean: float, spread: float, count: int) -> None:
    """A declared expectation against a sample's mean, within five standard errors."""
    error = spread / math.sqrt(count)
    if not abs(mean - declared) <= Z * error + 1e-12 * abs(declared):
        raise DeclarationError(
            f"while testing {what}: expected {declared:.9g} as declared, got {mean:.9g} ± {error:.2g} over {count} "
            f"samples; that is {abs(mean - declared) / max(error, 1e-300):.1f} standard errors away"
        )


def expect_true(what: str, holds: bool, got: object) -> None:
    """A statement that should hold."""
    if not holds:
        raise DeclarationError(
            f"while testing {what}, got {got}; declare what is so, or correct the function"
        )
