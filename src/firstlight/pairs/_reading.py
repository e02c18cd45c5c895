"""A user's activation read at Gauss–Legendre nodes that know its kinks and its zeros."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firstlight import activations, gauss
from firstlight.errors import DomainError

Array = np.ndarray
ActivationLike = str | Callable[[Tensor], Tensor]
_REACH = 12.0
_GRID = 8001  # zeros closer than 24/8001 to each other count as one
_MOST = 64  # zeros, kinks and jumps that are looked after
_NODES = 24
# log |φ| may change this much on a panel: |φ|^{it} then turns by at most 2·20, which 24 nodes integrate to 1e-13
_CHANGE = 0.8
REACH_OF_MOMENTS = 48.0
_INNERMOST = 1e-7
_MOST_PANELS = 3000
_BLOCK = 4096


@dataclass(frozen=True)
class Reading:
    """φ at the nodes of a Gaussian quadrature that is right for E|φ|^s with Im s up to 48 in size.

    Attributes
    ----------
    x, weight
        Gauss–Legendre nodes on [−12, 12], with the Gaussian density in the weights.
    value
        φ there.
    powers
        (weight, log |φ|, k) of pieces of length 1e-7 beside zeros of φ, where |φ| is a power k of the distance.
    resolved
        Whether the nodes follow log |φ| everywhere: powers of φ are then right, beside its plain moments.
    """

    x: Array
    weight: Array
    value: Array
    powers: Array
    resolved: bool

    def mean(self, values: Array) -> float:
        """E of a function of X from its values at the nodes."""
        return float(np.sum(values * self.weight))

    @property
    def low(self) -> float:
        """The s below which E|φ|^s is infinite."""
        return -1 / max(1.0, float(self.powers[:, 2].max())) if len(self.powers) else -1.0

    def log_moments(self) -> Callable[[Any], Any]:
        """log E|φ(X)|^s as a function of s."""
        rates = np.log(np.maximum(np.abs(self.value), 1e-300))
        blocks = range(0, len(rates), _BLOCK)

        def log_moments(s: object) -> Any:
            s = np.asarray(s, dtype=np.complex128)
            moments = np.zeros(s.shape, dtype=np.complex128)
            for start in blocks:
                moments += _powers_of(s, rates[start : start + _BLOCK], self.weight[start : start + _BLOCK])
            for share, rate, power in self.powers:
                moments = moments + share * np.exp(s * rate) / (power * s + 1)
            return np.log(moments)

        return log_moments


def _powers_of(s: Array, rates: Array, weight: Array) -> Array:
    """Σ weight · e^{s·rate} for every s; on a vertical or a horizontal line few exponentials are needed."""
    if np.ptp(s.real) == 0:
        return _waves(s.imag, rates) @ (weight * np.exp(s.real[0] * rates))
    if np.ptp(s.imag) == 0:
        return np.exp(np.outer(s.real, rates)) @ (weight * np.exp(1j * s.imag[0] * rates))
    return np.exp(np.outer(s, rates)) @ weight.astype(np.complex128)


def _waves(t: Array, rates: Array) -> Array:
    """e^{it·rate}: at equal steps of t as products of a coarse and a fine step, which costs a tenth."""
    step = t[1] - t[0] if len(t) > 1 else 0.0
    if len(t) < 64 or np.abs(np.diff(t) - step).max() > 1e-9 * abs(step):
        return np.asarray(np.exp(1j * np.outer(t, rates)))
    fine = np.exp(1j * np.outer(np.arange(16) * step, rates))
    coarse = np.exp(1j * np.outer(t[::16], rates))
    return (coarse[:, None] * fine).reshape(-1, len(rates))[: len(t)]


def read(activation: ActivationLike) -> Reading:
    """φ by its name, as an activation of ``firstlight.activations``, a module or a callable, read on [−12, 12].

    Raises
    ------
    DomainError
        An unknown name, or what is not a finite function of one variable, entry by entry.
    """
    phi: Any = activations.get(activation) if isinstance(activation, str) else activation
    grid = np.linspace(-_REACH, _REACH, _GRID)
    on_grid = values(phi, grid)
    kinks = phi.kinks if isinstance(phi, activations.Activation) else _kinks(phi)
    zeros = _zeros(phi, grid, on_grid)
    places = sorted({*(k for k in kinks if abs(k) < _REACH), *zeros}, key=abs)[:_MOST]
    edges = np.sort(np.concatenate([places, np.linspace(-_REACH, _REACH, 34)]))
    edges = edges[np.diff(edges, prepend=-math.inf) > _INNERMOST]
    t, w = _rule()
    for _ in range(40):
        x = edges[:-1, None] + 0.5 * np.diff(edges)[:, None] * (1 + t)
        size = np.log(np.maximum(np.abs(_plain(phi, x)), 1e-300))
        wide = (np.ptp(size, axis=1) > _CHANGE) & (np.diff(edges) > 1.5 * _INNERMOST)
        wide &= np.exp(-0.5 * np.abs(edges[:-1] * edges[1:])) > 1e-12
        if not wide.any() or len(edges) > _MOST_PANELS:
            break
        edges = np.sort(np.concatenate([edges, 0.5 * (edges[:-1] + edges[1:])[wide]]))
    half = 0.5 * np.diff(edges)
    x = edges[:-1, None] + half[:, None] * (1 + t)
    weight = half[:, None] * w * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    value = values(phi, x.ravel()).reshape(x.shape)
    size = np.log(np.maximum(np.abs(value), 1e-300))
    steep = (np.ptp(size, axis=1) > _CHANGE) & (half < _INNERMOST) & (np.abs(value) > 0).all(axis=1)
    powers = [_power(edges[k], edges[k + 1], x[k], size[k]) for k in np.flatnonzero(steep)]
    keep = ~steep
    return Reading(
        x[keep].ravel(),
        weight[keep].ravel(),
        value[keep].ravel(),
        np.array(powers).reshape(-1, 3),
        not wide.any(),
    )


def _power(low: float, high: float, x: Array, size: Array) -> tuple[float, float, float]:
    """A panel beside a zero as one term: its weight, log |φ| at its far end, and the power of the distance."""
    upward = size[-1] > size[0]
    distance = x - low if upward else high - x
    far, near = (-1, _NODES // 2) if upward else (0, _NODES // 2)
    power = (size[far] - size[near]) / math.log(distance[far] / distance[near])
    whole = high - low
    top = size[far] + power * math.log(whole / distance[far])
    return whole * math.exp(-0.5 * low * high) / math.sqrt(2 * math.pi), top, power


def _plain(phi: Callable[[Tensor], Tensor], x: Array) -> Array:
    """φ at points of any shape, once it is known to be a function of one variable."""
    with torch.no_grad():
        return phi(torch.from_numpy(x.ravel())).double().numpy().reshape(x.shape)


@lru_cache(maxsize=1)
def _rule() -> tuple[Array, Array]:
    t, w = np.polynomial.legendre.leggauss(_NODES)
    return t, w


def _kinks(phi: Callable[[Tensor], Tensor]) -> list[float]:
    return [kink.at for kink in gauss.find_kinks(phi, reach=_REACH)]


def _zeros(phi: Callable[[Tensor], Tensor], grid: Array, on_grid: Array) -> list[float]:
    """Where φ changes its sign or touches 0: by thirds of the gaps of the grid, where |φ| is least."""
    size = np.abs(on_grid)
    crossed = on_grid[1:] * on_grid[:-1] < 0
    valley = np.zeros_like(crossed)
    valley[1:] = (size[1:-1] <= size[:-2]) & (size[1:-1] < size[2:]) & (size[1:-1] < 1e-3 * size.max())
    start = np.flatnonzero(crossed | valley)
    if not 0 < start.size <= _MOST:
        return []
    low = grid[start]
    high = np.where(crossed[start], grid[start + 1], grid[np.minimum(start + 2, _GRID - 1)])

    while float((high - low).max()) > 1e-15 * _REACH:
        left, right = low + (high - low) / 3, high - (high - low) / 3
        less = np.abs(_plain(phi, left)) <= np.abs(_plain(phi, right))
        if bool(np.all((left == low) | (right == high))):
            break
        low, high = np.where(less, low, left), np.where(less, right, high)
    found = 0.5 * (low + high)
    return [float(x) for x in np.where(np.abs(found) < 1e-12, 0.0, found)]


def values(activation: Callable[[Tensor], Tensor], x: Array) -> Array:
    """φ at float64 points, or an error that says why it is no function of one variable."""
    what = "while reading an activation: expected a function of one variable, entry by entry"
    points = torch.from_numpy(x)
    # entries of another tensor, in another order: softmax and norms would give them other values
    some = torch.arange(len(x) - 1, -1, -2)
    try:
        with torch.no_grad():
            out = activation(points)
            again = activation(points[some])
    except (RuntimeError, TypeError, IndexError) as error:
        raise DomainError(
            f"{what}, of float64 tensors, got {type(error).__name__}: {error}; wrap the function so that it "
            "takes such tensors"
        ) from error
    if not isinstance(out, Tensor) or out.shape != x.shape:
        got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise DomainError(
            f"{what}, got {got} for an input of shape {x.shape}; apply the function to each entry alone"
        )
    if not bool(torch.isfinite(out).all()):
        at = x[int((~torch.isfinite(out)).int().argmax())]
        raise DomainError(
            f"{what}, finite at every x, got a value that is not at x = {at:.3g}; correct the function there"
        )
    if again.shape != some.shape or not torch.allclose(again, out[some], rtol=1e-6, atol=1e-12):
        raise DomainError(
            f"{what}, got values that depend on the other entries (as softmax or a norm does) or on chance; pairs are "
            "made of functions of one number"
        )
    return out.detach().double().numpy()
