"""Phase diagrams: what a deep network does for every pair of scales."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from firstlight import activations
from firstlight.activations import Activation
from firstlight.clean_room import clean
from firstlight.errors import DomainError

PHASES = ("ordered", "chaotic", "vanishing", "exploding")
_GRID = np.geomspace(1e-9, 1e9, 1441)


@dataclass(frozen=True, eq=False)
class PhaseDiagram:
    """Stationary variance and gradient factor on a grid of scales.

    Attributes
    ----------
    sigma_w, sigma_b
        The axes.
    q
        Variance that a signal of variance ``q0`` tends to, (sigma_b, sigma_w); 0 or inf where there is none.
    chi
        χ₁ there.
    slope
        V' there.
    phase
        Index into ``PHASES``: vanishing and exploding tell what the variance does, ordered and chaotic what
        correlations and gradients do at a stationary variance.
    """

    phi: Activation
    q0: float
    sigma_w: np.ndarray
    sigma_b: np.ndarray
    q: np.ndarray
    chi: np.ndarray
    slope: np.ndarray
    phase: np.ndarray

    def __repr__(self) -> str:
        from firstlight.render.brief import one_line

        return one_line("PhaseDiagram", activation=self.phi.name, q0=self.q0, grid=self.q.shape)


@clean
def phase_diagram(
    activation: object,
    *,
    sigma_w: object = None,
    sigma_b: object = None,
    q0: float = 1.0,
    depth: int = 2000,
) -> PhaseDiagram:
    """The phase diagram of an activation: ``depth`` layers from variance ``q0`` for every pair of scales.

    Parameters
    ----------
    activation
        A name, module, callable or ``Activation``.
    sigma_w, sigma_b
        Axes, increasing; by default 0.05 … 4 and 0 … 2.
    q0
        Variance of the first pre-activations: with several stable variances, it decides which one is reached.
    depth
        Layers to iterate.

    Raises
    ------
    DomainError
        Negative scales, or a moment that diverges.

    Examples
    --------
    >>> import numpy as np
    >>> from firstlight.theory import PHASES, phase_diagram
    >>> diagram = phase_diagram("tanh", sigma_w=np.array([0.8, 2.0]), sigma_b=np.array([0.2]))
    >>> [PHASES[i] for i in diagram.phase[0]]
    ['ordered', 'chaotic']
    """
    phi = activations.get(activation)
    w = np.linspace(0.05, 4.0, 80) if sigma_w is None else np.asarray(sigma_w, dtype=np.float64)
    b = np.linspace(0.0, 2.0, 60) if sigma_b is None else np.asarray(sigma_b, dtype=np.float64)
    if (w < 0).any() or (b < 0).any() or not q0 > 0:
        raise DomainError("while drawing a phase diagram: expected scales ≥ 0 and q0 > 0, got negative ones")
    m = activations.moments(phi, torch.from_numpy(_GRID))
    grid = np.log(_GRID)
    with np.errstate(divide="ignore"):
        log_second = np.log(np.maximum(m.second.numpy(), 1e-300))
    w2, b2 = np.meshgrid(w**2, b**2)
    t = np.full(w2.shape, np.log(float(q0)))
    with np.errstate(divide="ignore"):
        for _ in range(depth):
            # outside the table the second moment goes on as the power of q that it ends with
            after = np.interp(t, grid, log_second)
            after += np.where(t < grid[0], (t - grid[0]) * _end(log_second, grid, 0), 0.0)
            after += np.where(t > grid[-1], (t - grid[-1]) * _end(log_second, grid, -1), 0.0)
            new = np.clip(np.log(w2 * np.exp(np.clip(after, -690, 690)) + b2), -600.0, 600.0)
            if np.max(np.abs(new - t)) < 1e-12:
                t = new
                break
            t = new
    chi = w2 * np.interp(t, grid, m.slope.numpy())
    slope = w2 * np.interp(t, grid, m.growth.numpy())
    low, high = t < np.log(1e-4), t > grid[-1]
    # Near criticality a decaying variance is still far from zero: it vanishes if nothing holds it.
    phase = np.where(high, 3, np.where(low & (b2 == 0) & (slope <= 1 + 1e-9), 2, np.where(chi > 1, 1, 0)))
    q = np.where(high, np.inf, np.where(phase == 2, 0.0, np.exp(np.minimum(t, 600))))
    return PhaseDiagram(phi, float(q0), w, b, q, chi, slope, phase)


def _end(values: np.ndarray, grid: np.ndarray, at: int) -> float:
    i, j = (0, 1) if at == 0 else (-2, -1)
    return float((values[j] - values[i]) / (grid[j] - grid[i]))
