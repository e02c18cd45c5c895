"""How numbers are written for people: few digits, true minus signs, and a sign for what is not a number."""

from __future__ import annotations

import math
from typing import SupportsFloat

_ROUNDING = 1e-7
_SUPERSCRIPT = str.maketrans("-0123456789.", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹·")


def number(value: SupportsFloat | None, *, digits: int = 3) -> str:
    """A number with ``digits`` significant digits; ``∞`` for infinity and ``–`` for what is missing.

    Examples
    --------
    >>> number(0.012345), number(-1234.6), number(3.2e-7), number(float("inf")), number(float("nan"))
    ('0.0123', '−1235', '3.2e−7', '∞', '–')
    """
    value = math.nan if value is None else float(value)
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if exponent < -4 or exponent > 6:
        mantissa, _, power = f"{value:.{digits - 1}e}".partition("e")
        if "." in mantissa:
            mantissa = mantissa.rstrip("0").rstrip(".")
        text = f"{mantissa}e{int(power)}"
    else:
        places = max(0, digits - 1 - exponent)
        text = f"{value:.{places}f}"
        if "." in text:
            text = text.rstrip("0").rstrip(".")
    return text.replace("-", "−")


def measured(value: SupportsFloat | None, error: SupportsFloat | None) -> str:
    """A number with its standard error, both over one power of ten; the number alone where it has no error.

    An error below a ten-millionth of the number is rounding: float32 holds no finer one.

    Examples
    --------
    >>> measured(2.0, 0.01), measured(3.91e-20, 1.2e-21), measured(280.4, 83.0), measured(0.5, 3e-16)
    ('2±0.01', '(3.91±0.1)e−20', '280±83', '0.5')
    """
    value = math.nan if value is None else float(value)
    error = math.nan if error is None else float(error)
    if not (math.isfinite(error) and error > _ROUNDING * abs(value) and math.isfinite(value)):
        return number(value)
    exponent = math.floor(math.log10(max(abs(value), error)))
    if -5 < exponent < 7:
        return f"{number(value)}±{number(error, digits=1)}"
    unit = 10.0**-exponent if exponent > -300 else math.inf
    if not math.isfinite(value * unit):
        return f"{number(value)}±{number(error, digits=1)}"
    return f"({number(value * unit)}±{number(error * unit, digits=1)})e{exponent}".replace("-", "−")


def power_of_ten(exponent: SupportsFloat) -> str:
    """Ten to a power, as an axis shows it.

    Examples
    --------
    >>> power_of_ten(-3), power_of_ten(0), power_of_ten(1), power_of_ten(0.5)
    ('10⁻³', '1', '10', '10⁰·⁵')
    """
    exponent = float(exponent)
    if exponent in (0, 1):
        return "1" if exponent == 0 else "10"
    text = str(int(exponent)) if exponent.is_integer() else f"{exponent:.4f}".rstrip("0")
    return "10" + text.translate(_SUPERSCRIPT)


def from_log(log: SupportsFloat, *, digits: int = 3) -> str:
    """The number whose natural logarithm is given, even where it would overflow a float.

    Examples
    --------
    >>> from_log(0.0), from_log(1000.0), from_log(float("-inf"))
    ('1', '1.97e434', '0')
    """
    log = float(log)
    if math.isnan(log):
        return "–"
    if math.isinf(log):
        return "∞" if log > 0 else "0"
    if abs(log) < 600:
        return number(math.exp(log), digits=digits)
    exponent = math.floor(log / math.log(10))
    mantissa = f"{10 ** (log / math.log(10) - exponent):.{digits - 1}f}".rstrip("0").rstrip(".")
    return f"{mantissa}e{exponent}".replace("-", "−")


def counted(count: int, word: str) -> str:
    """A count with its word: one, or several with an s.

    Examples
    --------
    >>> from firstlight.render.numbers import counted
    >>> counted(1, "seed"), counted(3, "seed")
    ('1 seed', '3 seeds')
    """
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
