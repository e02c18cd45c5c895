"""φ from the law of |φ(X)|: odd, positive, or split anywhere, with two exact derivatives, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from firstlight.errors import DomainError
from firstlight.pairs.exact.magnitude import Magnitude

Array = np.ndarray
_LOG_ROOT_2PI = 0.5 * math.log(2 * math.pi)
_FAR = 38.5  # beyond, the density of a Gaussian is no float64, and φ is a power of x as far as its slope can tell
_MOST = 1e150  # its square is finite; beyond, φ goes on as the power it has here


@dataclass(frozen=True)
class ExactActivation:
    """The increasing function φ with |φ(X)| of a given law for X ~ N(0,1), negative on a share p of X.

    With F the law of |φ| and t = Φ⁻¹(p) the place of the zero,

        φ(x) =  F⁻¹((Φ(x) − p)/(1 − p))   for x > t,
        φ(x) = −F⁻¹((p − Φ(x))/p)         for x < t.

    p = ½ is the odd function, p = 0 the positive one; any other p has a kink at t, where the slope jumps by
    the factor p/(1−p). W·φ(X) has the same law for every p, because W is symmetric.

    Parameters
    ----------
    magnitude
        The law of |φ(X)|.
    split
        p, in [0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> from firstlight.pairs.exact.function import ExactActivation
    >>> from firstlight.pairs.exact.wright import weibull_partner
    >>> phi = ExactActivation(weibull_partner(2.0), 0.5)
    >>> np.allclose(phi(np.array([0.0, 30.0])), [0, 2**0.5])
    True
    """

    magnitude: Magnitude
    split: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.split < 1:
            raise DomainError(
                f"while splitting an activation: expected a share of X in [0, 1), got {self.split!r}; "
                "1/2 is odd, 0 is positive"
            )

    @property
    def kink(self) -> float:
        """The point Φ⁻¹(p), where φ is zero; −∞ for a positive φ."""
        from scipy.special import ndtri

        return 0.0 if self.split == 0.5 else float(ndtri(self.split))

    def __call__(self, x: Array) -> Array:
        """φ(x), any shape."""
        return self._pieces(x, order=0)[0]

    def derivative(self, x: Array) -> Array:
        """φ'(x) = n(x)/(m f(|φ(x)|)), m the share of X on this side of the kink."""
        return self._pieces(x, order=1)[1]

    def second_derivative(self, x: Array) -> Array:
        """φ''(x) = φ'(x) (−x ∓ φ'(x) (log f)'(|φ(x)|)), + on the negative side."""
        return self._pieces(x, order=2)[2]

    def _pieces(self, x: Array, *, order: int) -> tuple[Array, Array, Array]:
        x = np.asarray(x, dtype=np.float64)
        asked = x.reshape(-1)
        flat = np.clip(asked, -_MOST, _MOST)
        above = ~(flat < self.kink)  # NaN goes here and stays NaN
        out = [np.empty_like(flat) for _ in range(3)]
        for mask, sign in ((above, 1.0), (~above, -1.0)):
            if mask.any():
                for total, part in zip(out, self._side(flat[mask], sign, order), strict=True):
                    total[mask] = part
        beyond = np.abs(asked) > _MOST
        if beyond.any():
            nearer = np.abs(self._pieces(0.1 * flat[beyond], order=0)[0])
            power = np.log10(np.abs(out[0][beyond]) / nearer)
            with np.errstate(invalid="ignore"):
                out[0][beyond] *= (np.abs(asked[beyond]) / _MOST) ** power
                out[1][beyond] = np.abs(out[0][beyond]) * power / np.abs(asked[beyond])
                out[2][beyond] = 0.0
        return out[0].reshape(x.shape), out[1].reshape(x.shape), out[2].reshape(x.shape)

    def _side(self, x: Array, sign: float, order: int) -> tuple[Array, Array, Array]:
        from scipy.special import erf, log_ndtr, ndtr

        mass = 1 - self.split if sign > 0 else self.split
        if self.split == 0.5:
            below = erf(np.abs(x) / math.sqrt(2))
        else:
            below = np.clip(sign * (ndtr(x) - self.split) / mass, 0.0, 1.0)
        log_sf = np.minimum(log_ndtr(-sign * x) - math.log(mass), 0.0)
        if order == 0:
            with np.errstate(over="ignore"):
                return sign * self.magnitude.quantile(below, log_sf), x, x
        # an infinite slope at the zero (weights with E[1/|W|] = ∞) is an answer, not an accident
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            y, log_pdf, score = self.magnitude.quantile_with_density(below, log_sf)
            slope = np.exp(-0.5 * x * x - _LOG_ROOT_2PI - math.log(mass) - log_pdf)
            bend = slope * (-x - sign * score * slope)
        far = sign * x > _FAR
        if far.any():
            slope[far], bend[far] = self._far_slopes(x[far], sign, y[far])
        return sign * y, slope, bend

    def _far_slopes(self, x: Array, sign: float, y: Array) -> tuple[Array, Array]:
        """φ' and φ'' from the power of x that |φ| follows locally: differences of log |φ| in log |x|."""
        h = 1e-3
        up, down = (np.abs(self._side(x * math.exp(step), sign, 0)[0]) for step in (h, -h))
        with np.errstate(invalid="ignore", divide="ignore"):
            power = np.log(up / down) / (2 * h)
            slope = np.abs(y) * power / np.abs(x)
            return slope, sign * slope * (power - 1) / np.abs(x)
