"""From a name to a law, so that a command line or a network description can say ``weibull(3)``."""

from __future__ import annotations

import re
from collections.abc import Callable

from firstlight.errors import DomainError
from firstlight.weights.closed import Normal, PowerUniform, Rademacher, uniform, weibull
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

LAWS: dict[str, Callable[..., WeightLaw]] = {
    "normal": Normal,
    "uniform": uniform,
    "rademacher": Rademacher,
    "weibull": weibull,
    "arcsine": arcsine,
    "sphere_marginal": lambda d: sphere_marginal(int(d)),
    "student": Student,
    "generalised_normal": generalised_normal,
    "laplace": lambda: generalised_normal(1.0),
    "symmetric_gamma": symmetric_gamma,
    "generalised_gamma": GeneralisedGamma,
    "squared_beta": SquaredBeta,
    "power_uniform": PowerUniform,
    "chi": chi,
}
_CALL = re.compile(r"\s*([a-z_]+)\s*(?:\(([^()]*)\))?\s*")


def get(law: str | WeightLaw) -> WeightLaw:
    """A law from itself or from its name, with parameters in brackets.

    Raises
    ------
    DomainError
        When no law has this name, or the parameters do not fit it.

    Examples
    --------
    >>> from firstlight import weights
    >>> weights.get("weibull(3)")
    SymmetricWeibull(theta=3.0)
    """
    if isinstance(law, WeightLaw):
        return law
    match = _CALL.fullmatch(law)
    if match is None or match[1] not in LAWS:
        raise DomainError(
            f"while looking up a weight law: expected one of {', '.join(LAWS)}, with parameters in brackets "
            f"such as 'weibull(3)', got {law!r}"
        )
    try:
        arguments = [float(part) for part in (match[2] or "").split(",") if part.strip()]
        return LAWS[match[1]](*arguments)
    except DomainError:
        raise
    except (TypeError, ValueError) as error:
        raise DomainError(
            f"while making the weight law {law!r}: its parameters do not fit ({error})"
        ) from error
