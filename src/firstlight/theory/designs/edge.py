"""The edge of chaos of any activation: the curve (σ_b, σ_w) on which χ₁ = 1 at the stationary variance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from firstlight import activations
from firstlight.activations import Activation
from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.theory.designs._listed import listed
from firstlight.theory.designs.criticality import Criticality, criticality

Kind = Literal["curve", "point", "none"]

_Q_RANGE = (1e-6, 1e4)


@dataclass(frozen=True)
class EdgePoint:
    """One point of the edge of chaos: scales, stationary variance, and whether that variance is stable.

    ``slope`` is V'(q). Above 1 the variance leaves its fixed point although gradients are kept: the edge is
    there, and no deep network stays on it.
    """

    q: float
    sigma_w: float
    sigma_b: float
    slope: float

    @property
    def stable(self) -> bool:
        """|V'| ≤ 1, to 1e-9."""
        return abs(self.slope) <= 1 + 1e-9


@dataclass(frozen=True, eq=False)
class EdgeOfChaos:
    r"""The edge of chaos of an activation, parametrised by the stationary variance q.

    .. math:: σ_w^2(q) = 1 / E φ'(\sqrt q G)^2, \qquad σ_b^2(q) = q - σ_w^2(q)\, E φ(\sqrt q G)^2

    Attributes
    ----------
    phi
        The activation.
    kind
        ``"curve"``; ``"point"`` for a φ of degree one (only σ_b = 0 is possible, and any q is stationary);
        ``"none"`` if no σ_b² ≥ 0 exists.
    q, sigma_w, sigma_b, slope
        One entry for each point of the curve, in increasing q; ``slope`` is V'.
    """

    phi: Activation
    kind: Kind
    q: np.ndarray
    sigma_w: np.ndarray
    sigma_b: np.ndarray
    slope: np.ndarray

    def __repr__(self) -> str:
        from firstlight.render.brief import one_line

        return one_line("EdgeOfChaos", activation=self.phi.name, kind=self.kind, points=len(self.q))

    def _repr_html_(self) -> str:
        """Points of the curve as a table, for a notebook."""
        from firstlight.render.brief import small_table

        rows = list(zip(self.q, self.sigma_w, self.sigma_b, self.slope, strict=True))
        return small_table(["q*", "sigma_w", "sigma_b", "V'(q*)"], rows, title=repr(self)[1:-1])

    @property
    def criticality(self) -> Criticality:
        """Where the variance is critical too, and the universality class."""
        return criticality(self.phi)

    @property
    def stable(self) -> np.ndarray:
        """Which points have a stable stationary variance."""
        return np.abs(self.slope) <= 1 + 1e-9

    def at(self, *, sigma_b: float | None = None, sigma_w: float | None = None) -> tuple[EdgePoint, ...]:
        """All points of the edge with this bias scale, or with this weight scale, to full precision.

        Raises
        ------
        DomainError
            Not exactly one of the two was given, or the edge has no such point in its range of q.
        """
        if (sigma_b is None) == (sigma_w is None):
            raise DomainError(
                "while reading an edge of chaos: expected sigma_b or sigma_w, got both or neither"
            )
        target = float(sigma_b if sigma_b is not None else sigma_w)  # type: ignore[arg-type]
        column = self.sigma_b if sigma_b is not None else self.sigma_w
        excess = column - target
        hits = [int(i) for i in np.nonzero(np.abs(excess) <= 1e-14)[0]]
        if self.kind == "point" and hits:
            hits = hits[:1]
        points = [self._point(float(self.q[i])) for i in hits]
        index = 1 if sigma_b is not None else 0
        for i in np.nonzero(excess[:-1] * excess[1:] < 0)[0]:
            miss = lambda q: _scales(self.phi, q)[index] - target**2  # noqa: E731
            if miss(self.q[i]) * miss(self.q[i + 1]) > 0:
                continue  # the column crosses the target between two pieces of the curve, by rounding
            root = _bisect(miss, self.q[i], self.q[i + 1])
            # between two pieces of the curve there is no bias for it
            if _scales(self.phi, root)[1] >= -1e-12 * root:
                points.append(self._point(root))
        if not points:
            name = "sigma_b" if sigma_b is not None else "sigma_w"
            span = f"[{column.min():.6g}, {column.max():.6g}]" if len(column) else "nothing"
            raise DomainError(
                f"while reading the edge of chaos of {self.phi.name!r}: expected {name} within {span}, got {target}; "
                "no network with this scale is critical for a variance in the searched range"
            )
        return tuple(points)

    def _point(self, q: float) -> EdgePoint:
        w2, b2, slope = _scales(self.phi, q)
        return EdgePoint(q, math.sqrt(w2), math.sqrt(max(b2, 0.0)), slope)


def _scales(phi: Activation, q: float) -> tuple[float, float, float]:
    m = activations.moments(phi, q)
    w2 = 1 / float(m.slope)
    return w2, q - w2 * float(m.second), w2 * float(m.growth)


def _bisect(f: Callable[[float], float], low: float, high: float) -> float:
    """A zero of f; of a sign change that was rounding, as in a φ of single precision, the better end."""
    from scipy.optimize import brentq

    ends = f(low), f(high)
    if not ends[0] * ends[1] < 0:
        return float(low if abs(ends[0]) <= abs(ends[1]) else high)
    return float(brentq(f, low, high, xtol=1e-300, rtol=1e-14))


@clean
def edge_of_chaos(
    activation: object, *, q_range: tuple[float, float] = _Q_RANGE, points: int = 400
) -> EdgeOfChaos:
    r"""The edge of chaos of any activation, without a search: the curve is explicit in q.

    Parameters
    ----------
    activation
        A name, module, callable or ``Activation``.
    q_range
        Range of stationary variances.
    points
        Number of values of q, spaced geometrically.

    Returns
    -------
    EdgeOfChaos
        Points with σ_b² ≥ 0 only, the ends of the curve at σ_b = 0 among them.

    Raises
    ------
    DomainError
        A bad range, φ with a jump, where correlations leave 1 at an infinite rate for any scale, or φ whose E φ'² is
        infinite.

    Notes
    -----
    χ₁ = 1 with Poole et al. (2016) and Schoenholz et al. (2017); parametrising by q as in Hayou, Doucet and
    Rousseau (2019), section 3.

    Examples
    --------
    >>> import firstlight
    >>> edge = firstlight.edge_of_chaos("tanh")
    >>> point = edge.at(sigma_b=0.013**0.5)[0]
    >>> round(point.sigma_w, 4), point.stable
    (1.2108, True)
    """
    phi = activations.get(activation)
    low, high = q_range
    if not 0 < low < high or points < 2:
        raise DomainError(f"while tracing an edge of chaos: expected 0 < low < high, got {q_range}")
    # a backward of its own has its slope whatever the function does
    if phi.jumps and phi.backward is None:
        raise DomainError(
            f"while tracing the edge of chaos of {phi.name!r}: expected a continuous activation, got jumps at "
            f"{listed(phi.jumps)}; a jump parts equal inputs at an infinite rate, so that there is no edge"
        )
    if phi.singular and phi.backward is None:
        raise DomainError(
            f"while tracing the edge of chaos of {phi.name!r}: expected a finite E φ'², got a slope whose square has "
            f"no integral beside {listed(phi.singular)}; gradients explode at any scale"
        )
    q = np.concatenate([[0.0], np.geomspace(low, high, points)])
    w2, b2, slope = _curve(phi, q)
    if phi.degree == 1:
        b2[:], b2[0] = 0.0, -1.0  # any q > 0 is stationary, and 0 says nothing
    else:
        ends = _ends(phi, q, b2)
        rows = [
            np.concatenate([old, new]) for old, new in zip((q, w2, b2, slope), (ends, *_curve(phi, ends)))
        ]
        rows[2][len(q) :] = 0.0
        order = np.argsort(rows[0], kind="stable")
        q, w2, b2, slope = (row[order] for row in rows)
    keep = (b2 >= 0) & (w2 > 0) & np.isfinite(w2) & np.isfinite(slope)
    kind: Kind = "none" if not keep.any() else "point" if phi.degree == 1 else "curve"
    return EdgeOfChaos(phi, kind, q[keep], np.sqrt(w2[keep]), np.sqrt(b2[keep]), slope[keep])


def _curve(phi: Activation, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """σ_w², σ_b² and V' at stationary variances q."""
    m = activations.moments(phi, torch.from_numpy(q))
    with np.errstate(divide="ignore", invalid="ignore"):
        w2 = 1 / m.slope.numpy()
        b2 = q - w2 * m.second.numpy()
        slope = w2 * m.growth.numpy()
    # σ_b² is a difference of terms as large as q: what rounding leaves of an exact zero is zero.
    return w2, np.where(np.abs(b2) <= 4e-14 * q, 0.0, b2), slope


def _ends(phi: Activation, q: np.ndarray, b2: np.ndarray) -> np.ndarray:
    """Variances between neighbours at which σ_b² changes its sign: there the curve begins or ends."""
    with np.errstate(invalid="ignore"):
        crossed = np.nonzero(
            (b2[:-1] * b2[1:] < 0) & np.isfinite(b2[:-1]) & np.isfinite(b2[1:]) & (q[:-1] > 0)
        )[0]
    found = [_bisect(lambda t: _scales(phi, t)[1], q[i], q[i + 1]) for i in crossed]
    return np.array(found, dtype=np.float64)
