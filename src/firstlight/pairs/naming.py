"""Pairs by name: "weibull-odd(3)", "weibull-critical(2.5)", "partner(uniform)"."""

from __future__ import annotations

import re
from typing import Any

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.pairs.pair import Pair, weibull
from firstlight.pairs.partner import partner
from firstlight.weights import get

_WEIBULL = re.compile(r"\s*weibull-(odd|positive|critical)\(([^()]*)\)\s*")
_PARTNER = re.compile(r"\s*partner\((.+)\)\s*")


@clean
def is_pair_name(name: str) -> bool:
    """Whether a text is written as the name of a pair; its parameters are checked here, and nothing is built.

    Raises
    ------
    DomainError
        The form of a pair's name with a shape that is no number of at least 2, or with an unknown law.

    Examples
    --------
    >>> from firstlight.pairs.naming import is_pair_name
    >>> is_pair_name("weibull-odd(3)"), is_pair_name("partner(chi(3))"), is_pair_name("tanh")
    (True, True, False)
    """
    match = _WEIBULL.fullmatch(name)
    if match:
        _theta(name, match[2])
        return True
    law = _PARTNER.fullmatch(name)
    if law:
        get(law[1])
    return law is not None


@checked
@clean
def by_name(name: str) -> Pair:
    """The pair that a name such as ``"weibull-odd(3)"`` or ``"partner(uniform)"`` stands for.

    Parameters
    ----------
    name
        ``"weibull-"`` with a kind and θ in brackets, or ``"partner"`` with a law that ``weights.get`` reads.

    Raises
    ------
    DomainError
        A name of another form, a wrong θ or law; as ``NoPartnerError``, a law without a partner.

    Examples
    --------
    >>> from firstlight.pairs import by_name
    >>> by_name("weibull-odd(3)").name
    'Weibull(θ=3), odd'
    """
    match = _WEIBULL.fullmatch(name)
    if match:
        kind: Any = match[1]
        return weibull(_theta(name, match[2]), kind=kind)
    law = _PARTNER.fullmatch(name)
    if law:
        return partner(law[1])
    raise DomainError(
        f"while looking up a pair: expected 'weibull-odd(3)' (or positive, critical) or 'partner(LAW)', got {name!r}; "
        "write the parameters in brackets"
    )


def _theta(name: str, text: str) -> float:
    try:
        theta = float(text)
    except ValueError:
        theta = 0.0
    if not theta >= 2:
        raise DomainError(
            f"while looking up the pair {name!r}: expected a shape θ, a number ≥ 2, got {text!r}; "
            "write 'weibull-odd(3)'"
        )
    return theta
