"""Functions that theory replays: an activation with what is looked up of it, once for each of torch's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from firstlight import activations
from firstlight.probe.graph._expression import Expression


@dataclass(eq=False)
class Replayed:
    """An activation, and facts of its slope that do not depend on where the signal stands."""

    phi: activations.Activation

    def powers(self, t: Tensor) -> Tensor:
        """φ, φ² and φ'² of the same entries."""
        y = self.phi(t)
        return torch.stack([y, y.square(), self.phi.derivative(t).square()])

    @cached_property
    def steepest(self) -> float:
        """The largest slope of φ that units meet; 0 where φ is flat everywhere, as behind a gate of 0."""
        far = torch.logspace(1.0, 6.0, 51, dtype=torch.float64)  # φ may be shifted: relu(z − 100)
        places = torch.cat([-far, torch.linspace(-6.0, 6.0, 241, dtype=torch.float64), far])
        slopes = self.phi.derivative(places).abs()
        steepest = float(slopes[slopes.isfinite()].amax()) if slopes.isfinite().any() else 0.0
        if steepest == 0.0:
            return 0.0
        # exp and other functions that grow have no steepest slope: near the origin is what units meet
        return min(steepest, max(float(slopes[51:-51].nan_to_num(posinf=0.0).amax()), 1.0))

    @cached_property
    def steepest_if_bounded(self) -> float | None:
        """The largest slope of an activation that flattens on both sides, None for the others.

        A unit on the flat side of ReLU is off, not saturated: the word is for tanh, sigmoid and their kin.
        """
        near = self.phi.derivative(torch.linspace(-6.0, 6.0, 1201, dtype=torch.float64)).abs()
        ends = torch.tensor([-40.0, -33.3, -21.7, 21.7, 33.3, 40.0], dtype=torch.float64)
        far = self.phi.derivative(ends).abs()
        largest = float(near.max())
        return largest if largest > 0 and float(far.max()) < 0.01 * largest else None

    @cached_property
    def off(self) -> tuple[bool, bool]:
        """Whether a φ that flattens is flat from the origin on, to the left and to the right.

        The negative side of ReLU6 is as off as that of ReLU; saturated is what lies beyond 6.
        """
        slopes = self.phi.derivative(torch.tensor([-1e-3, 1e-3], dtype=torch.float64)).abs()
        left, right = (slopes < 0.05 * (self.steepest_if_bounded or 0.0)).tolist()
        return left, right


@dataclass(frozen=True)
class _Pure:
    """A function of torch's own, which its key tells from every other."""

    key: str
    apply: Callable[[Tensor], Tensor] = field(compare=False)


@lru_cache(maxsize=256)
def _recognised(function: _Pure) -> Replayed:
    """The activation of a function: kinks, parity and slope are looked for once, and not in every audit."""
    return Replayed(activations.get(function.apply))


def replayed(expression: Expression) -> Replayed:
    """The activation that an expression is.

    Raises
    ------
    FirstlightError
        If the expression is no function that can be replayed entry by entry.
    """
    if expression.pure:
        return _recognised(_Pure(expression.key, expression.apply))
    return Replayed(activations.get(expression.apply))
