"""How massive activations grow in training: a curve with five parameters, fitted to the ratio top over median."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.measure._blocks import floating

_DOING = "fitting the growth of massive activations"


@dataclass(frozen=True)
class MassiveFit:
    r"""The curve f(t) = A e^{−λx} log x + K with x = γt + t₀.

    Attributes
    ----------
    amplitude, decay, offset
        A, λ ≥ 0 and K.
    rate, start
        γ > 0 and t₀ > 0.
    r_squared
        Share of the variance of the ratios that the curve explains.
    """

    amplitude: float
    decay: float
    offset: float
    rate: float
    start: float
    r_squared: float

    def __call__(self, t: float) -> float:
        """The ratio at step t."""
        x = self.rate * t + self.start
        return float(self.amplitude * np.exp(-self.decay * x) * np.log(x) + self.offset)


@clean
def fit_massive(steps: Sequence[float], ratios: Sequence[float]) -> MassiveFit:
    r"""Fit f(t) = A e^{−λx} log x + K, x = γt + t₀, to the ratio top over median at steps of a training.

    A and K are solved for by least squares at each (λ, γ, t₀), so that three parameters are searched; steps are
    scaled by their largest for the search.

    Parameters
    ----------
    steps
        Steps of training, ≥ 0 and increasing, at least six.
    ratios
        ``measure.top_over_median`` of one layer at each.

    Raises
    ------
    DomainError
        Too few steps, or steps and ratios that do not fit together.

    Notes
    -----
    Gallego-Feliciano et al. (2025), *Hidden dynamics of massive activations in transformer training*, equation
    9: A e^{−λx} log x + K with x = γt + t₀.

    Examples
    --------
    >>> from firstlight import measure
    >>> truth = measure.MassiveFit(300.0, 0.1, 20.0, 0.02, 1.0, 1.0)
    >>> steps = list(range(0, 2000, 100))
    >>> fit = measure.fit_massive(steps, [truth(t) for t in steps])
    >>> round(fit.r_squared, 6), round(fit(950.0) / truth(950.0), 4)
    (1.0, 1.0)
    """
    t, y = _numbers(steps), _numbers(ratios)
    if t.ndim != 1 or t.shape != y.shape or len(t) < 6:
        raise DomainError(
            f"while {_DOING}: expected one ratio for each of at least 6 steps, got {t.shape} and {y.shape}"
        )
    if not (np.isfinite(t).all() and np.isfinite(y).all() and t[0] >= 0 and (np.diff(t) > 0).all()):
        raise DomainError(
            f"while {_DOING}: expected increasing steps ≥ 0 and finite ratios; leave others out"
        )
    from scipy.optimize import least_squares

    scaled = t / t[-1]

    def parts(p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        decay, rate, start = np.exp(p)
        x = rate * scaled + start
        shape = np.stack([np.exp(-decay * x) * np.log(x), np.ones_like(x)], 1)
        linear = np.linalg.lstsq(shape, y, rcond=None)[0]
        return shape @ linear - y, linear, np.array([decay, rate, start])

    size = max(float(np.abs(y).max()), 1e-300)
    starts = [(d, r, s) for d in (0.03, 0.3, 1.0) for r in (3.0, 30.0) for s in (0.5, 1.5)]
    found = [
        least_squares(lambda p: parts(p)[0] / size, np.log(start), bounds=(-12.0, 12.0), xtol=1e-12)
        for start in starts
    ]
    best = min(found, key=lambda f: float(f.cost)).x
    rest, (amplitude, offset), (decay, rate, start) = parts(best)
    spread = float(((y - y.mean()) ** 2).sum())
    r_squared = 1 - float((rest**2).sum()) / spread if spread > 0 else 1.0
    return MassiveFit(
        float(amplitude), float(decay), float(offset), float(rate / t[-1]), float(start), r_squared
    )


def _numbers(values: object) -> np.ndarray:
    try:
        if isinstance(values, Tensor):
            values = floating(values.double() if not values.is_complex() else values, _DOING).cpu()
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        if isinstance(error, DomainError):
            raise
        raise DomainError(f"while {_DOING}: expected real numbers, got {values!r:.60}; {error}") from error
