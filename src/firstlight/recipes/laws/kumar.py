"""The start for any activation that is differentiable at zero."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from firstlight.activations import Activation
from firstlight.recipes.laws.fans import Law
from firstlight.recipes.layout.slots import Slot
from firstlight.recipes.recipe import Draft, Need, Recipe


def kumar_variance(phi: Activation) -> float | None:
    """N · Var w of an activation; 2 for ReLU and similar functions with a kink at 0, and None where φ'(0) = 0.

    Examples
    --------
    >>> from firstlight import activations
    >>> from firstlight.recipes import kumar_variance
    >>> round(kumar_variance(activations.get("sigmoid")), 9), kumar_variance(activations.get("tanh"))
    (12.8, 1.0)
    """
    if 0.0 in phi.kinks:
        # of degree one, as ReLU: the second moment is kept
        sides = phi(torch.tensor([1.0, -1.0], dtype=torch.float64))
        power = 0.5 * float(sides.square().sum())
        return 1.0 / power if phi.degree == 1 and power > 0 else None
    zero = torch.zeros(1, dtype=torch.float64)
    value, slope = float(phi(zero)[0]), float(phi.derivative(zero)[0])
    return None if slope == 0.0 else 1.0 / (slope**2 * (1.0 + value**2))


@dataclass(frozen=True)
class Kumar(Recipe):
    r"""The variance that a linearised activation keeps.

    .. math:: \operatorname{Var} w = \frac{1}{N\, φ'(0)^2\, (1 + φ(0)^2)}, \qquad \text{ReLU: } 2/N

    For tanh this is 1/N, for the sigmoid 12.8/N: forward signals keep their size, yet χ₁ = .354 there, so that
    gradients vanish in a deep network; ``critical`` keeps both where that is possible.

    Attributes
    ----------
    law
        ``"normal"``, ``"uniform"`` or ``"orthogonal"``.
    """

    law: Law = "normal"
    word: ClassVar[str] = "kumar"
    purpose: ClassVar[str] = "shallow networks of any activation that is differentiable at 0"
    needs: ClassVar[tuple[Need, ...]] = ("graph",)
    source: ClassVar[str] = "Kumar, On weight initialization in deep neural networks, 2017 (catalogue 49)"

    def draft(self, draft: Draft) -> None:
        """Every weight."""

        def scale(slot: Slot) -> tuple[float, str]:
            if slot.reads != "activation" or slot.phi is None:
                return 1.0, "reads no activation that is known"
            variance = kumar_variance(slot.phi)
            if variance is None:
                return 1.0, f"{slot.phi.name} has no slope at 0"
            return math.sqrt(variance), f"{slot.phi.name} linearised at 0"

        draft.draw_each(scale, law=self.law)
