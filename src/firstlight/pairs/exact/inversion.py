"""The law of |φ(X)| from its Mellin transform, by the numerical inversion of the weight laws."""

from __future__ import annotations

from typing import ClassVar

from firstlight.pairs.exact.magnitude import Magnitude
from firstlight.weights.inversion import MellinInversion, NoLawError


class NoPartnerError(NoLawError):
    """The quotient of moments is not the moments of a law."""


class MellinMagnitude(MellinInversion, Magnitude):
    """The law with a given log E|Y|^s, analytic for Re s > −1.

    Raises
    ------
    NoPartnerError
        When there is no such law; the message says where it fails.
    """

    refusal: ClassVar[type[NoLawError]] = NoPartnerError
