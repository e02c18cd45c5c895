"""Variance-informed start for networks of coordinates and of any activation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from firstlight import activations
from firstlight.activations import Activation
from firstlight.errors import DomainError
from firstlight.recipes.laws.fans import Law
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.recipe import Draft, Need, Recipe
from firstlight.recipes.scales import usual_moment


def stationary_deviation(phi: object) -> float:
    r"""σ_p at which signals and gradients keep their size together.

    .. math:: σ_p^2\, E φ'(σ_p G)^2 = E φ(σ_p G)^2

    Parameters
    ----------
    phi
        An activation, a name, a module or any callable.

    Raises
    ------
    DomainError
        No σ_p in [1e-3, 1e3] does this, or all do.

    Examples
    --------
    >>> import math, torch
    >>> from firstlight.recipes import stationary_deviation
    >>> found = stationary_deviation(lambda x: torch.exp(-x**2 / 2))
    >>> round(found, 6), round(math.sqrt(1 + math.sqrt(2)), 6)
    (1.553774, 1.553774)
    """
    from scipy.optimize import brentq

    known = activations.get(phi)

    def miss(log: float) -> float:
        q = math.exp(2 * log)
        m = activations.moments(known, q)
        return math.log(max(q * float(m.slope), 1e-300) / max(float(m.second), 1e-300))

    grid = [math.log(1e-3) + i * math.log(1e6) / 60 for i in range(61)]
    values = [miss(at) for at in grid]
    for low, high, one, two in zip(grid, grid[1:], values, values[1:], strict=False):
        if one * two < 0 and min(abs(one), abs(two)) > 1e-12:
            return math.exp(float(brentq(miss, low, high, xtol=1e-14)))
    raise DomainError(
        f"while looking for the stationary deviation of {known.name!r}: expected one σ_p in [1e-3, 1e3], got "
        f"{'every one' if max(map(abs, values)) < 1e-6 else 'none'}; pass sigma_p yourself"
    )


@dataclass(frozen=True)
class VI3NR(Recipe):
    r"""Pre-activations of one deviation σ_p in every layer, whatever the activation and the inputs' law.

    .. math:: \operatorname{Var} w = \frac{σ_p^2}{n\, E φ(σ_p G)^2}, \qquad
        \text{first layer: } σ_p^2 / \big(n (\text{mean}^2 + \text{std}^2)\big)

    Attributes
    ----------
    sigma_p
        σ_p; None for the stationary one of the activation (`stationary_deviation`), or 1 where there is none.
    law
        ``"normal"``, ``"uniform"`` or ``"orthogonal"``.
    """

    sigma_p: float | None = None
    law: Law = "normal"
    word: ClassVar[str] = "vi3nr"
    purpose: ClassVar[str] = "networks of coordinates with Gaussian, sinc or any other activation"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = (
        "VI3NR, variance-informed initialization for implicit neural representations (catalogue 80)"
    )

    def draft(self, draft: Draft) -> None:
        """Every weight; the first one by the moments of the inputs where there is a batch."""
        phis = [slot.phi for slot in draft.blueprint.slots if slot.phi is not None]
        target = self._deviation(phis[0]) if phis else 1.0

        def scale(slot: Slot) -> tuple[float, str]:
            if slot.reads == "activation" and slot.phi is not None:
                second = float(activations.second(slot.phi, target**2))
                return target / math.sqrt(second), f"σ_p = {target:.4g} behind {slot.phi.name}"
            q = usual_moment(slot.q_in) if slot.reads == "input" else 1.0
            return target / math.sqrt(q), f"σ_p = {target:.4g} for inputs of q = {q:.3g}"

        draft.draw_each(scale, law=self.law)

    def _deviation(self, phi: Activation) -> float:
        if self.sigma_p is not None:
            return self.sigma_p
        try:
            return stationary_deviation(phi)
        except DomainError:
            return 1.0
