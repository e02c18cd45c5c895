"""From a name to a law, so that a command line or a network description can say ``weibull(3)``."""

from __future__ import annotations

import re
from collections.abc import Callable

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import ArgumentError, DomainError, did_you_mean
from firstlight.weights.closed import Normal, PowerUniform, Rademacher, uniform, weibull
from firstlight.weights.discrete import Discrete
from firstlight.weights.families import (
    GeneralisedGamma,
    SquaredBeta,
    Student,
    arcsine,
    chi,
    generalised_normal,
    sphere_marginal,
    symmetric_gamma,
)
from firstlight.weights.law import WeightLaw
from firstlight.weights.matrix import Orthogonal

LAWS: dict[str, Callable[..., WeightLaw]] = {
    "normal": Normal,
    "orthogonal": Orthogonal,
    "uniform": uniform,
    "rademacher": Rademacher,
    "weibull": weibull,
    "arcsine": arcsine,
    "sphere_marginal": sphere_marginal,
    "student": Student,
    "generalised_normal": generalised_normal,
    "laplace": lambda: generalised_normal(1.0),
    "symmetric_gamma": symmetric_gamma,
    "generalised_gamma": GeneralisedGamma,
    "squared_beta": SquaredBeta,
    "power_uniform": PowerUniform,
    "chi": chi,
    "discrete": lambda *levels: Discrete(*zip(*levels, strict=True)),
}
_CALL = re.compile(r"\s*([A-Za-z_-]+)\s*(?:\(([^()]*)\))?\s*")
_SCALED = re.compile(r"\s*([0-9.eE+-]+)\s*\*\s*(.+)")


@checked
@clean
def get(law: str | WeightLaw) -> WeightLaw:
    """A law from itself or from its name, with parameters in brackets.

    Every law without functions of the user's in it says how it is written (``spelling``), and ``get`` reads that back.

    Parameters
    ----------
    law
        A law; a name such as ``"normal"`` or ``"weibull(3)"``; ``"discrete(1: 0.4, 2: 0.6)"`` with the magnitudes and
        their probabilities; or a number times a name, such as ``"2.5 * uniform"``.

    Raises
    ------
    DomainError
        When no law has this name, or the parameters do not fit it.

    Examples
    --------
    >>> from firstlight import weights
    >>> weights.get("weibull(3)")
    SymmetricWeibull(theta=3.0)
    >>> weights.get(weights.Student(5).spelling) == weights.Student(5)
    True
    """  # noqa: DOC501
    if isinstance(law, WeightLaw):
        return law
    scaled = _SCALED.fullmatch(law)
    if scaled:
        return get(scaled[2]).scaled(_number(scaled[1], law))
    match = _CALL.fullmatch(law)
    word = match[1].lower().replace("-", "_") if match else ""
    if match is None or word not in LAWS:
        raise DomainError(
            f"while looking up a weight law: expected one of {', '.join(LAWS)}, with parameters in brackets "
            f"such as 'weibull(3)', got {law!r}{did_you_mean(law, LAWS)}"
        )
    arguments = [_argument(part, law) for part in (match[2] or "").split(",") if part.strip()]
    try:
        return LAWS[word](*arguments)
    except (TypeError, ValueError) as error:
        if isinstance(error, DomainError) and not isinstance(error, ArgumentError):
            raise
        raise DomainError(
            f"while making the weight law {law!r}: its parameters do not fit ({error})"
        ) from error


def _argument(part: str, law: str) -> float | tuple[float, ...]:
    """One number, or the pair of a magnitude and its probability."""
    numbers = tuple(_number(text, law) for text in part.split(":"))
    return numbers if len(numbers) > 1 else numbers[0]


def _number(text: str, law: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise DomainError(
            f"while reading the weight law {law!r}: expected numbers, got {text.strip()!r}; its parameters do not fit"
        ) from error
