"""The weight scale that keeps a second moment through an activation."""

from __future__ import annotations

import math

from firstlight.activations.moments import moments
from firstlight.activations.registry import get
from firstlight.clean_room import clean
from firstlight.errors import DomainError


@clean
def gain(activation: object, *, q: float = 1.0, centred: bool = False) -> float:
    r"""The weight scale that keeps the second moment q through φ, for any activation.

    .. math:: \text{gain} = \sqrt{q / E φ(\sqrt q G)^2}

    With ``centred``, the variance of φ takes the place of its second moment: the gain of scaled weight
    standardisation, whose weights sum to zero. ``theory.gain`` gives the reasons and the consequences.

    Raises
    ------
    DomainError
        φ vanishes on N(0, q), or its moment diverges.

    Examples
    --------
    >>> from firstlight import activations
    >>> round(activations.gain("relu"), 5), round(activations.gain("relu", centred=True), 5)
    (1.41421, 1.71286)
    """
    phi = get(activation)
    m = moments(phi, q)
    power = float(m.second - m.mean**2 if centred else m.second)
    if not power > 0:
        raise DomainError(
            f"while computing the gain of {phi.name!r}: expected a signal, got none (E φ² = {power:g} at q = {q:g})"
        )
    return math.sqrt(float(q) / power)
