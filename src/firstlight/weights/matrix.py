"""The law of orthogonal weight matrices, whose entries depend on each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from firstlight.errors import DomainError
from firstlight.weights.closed import Normal
from firstlight.weights.families import sphere_marginal
from firstlight.weights.haar import haar
from firstlight.weights.law import WeightLaw, written

_LIMIT = Normal()


@dataclass(frozen=True)
class Orthogonal(WeightLaw):
    r"""Haar-orthogonal weights: ``gain`` · √m times an n_out × n_in corner of a Haar matrix, m = max(n_out, n_in).

    .. math:: E W^2 = \text{gain}^2, \qquad W W^T \text{ or } W^T W = \text{gain}^2\, m\, I

    One entry is √m times a coordinate of a uniform point on the sphere in ℝᵐ (``entry``), which tends to a normal
    law as m grows. ``cdf``, ``log_prob``, ``moment`` and the Mellin transform are those of this limit, as every
    statement about infinite width needs them. The entries of one matrix depend on each other (``independent`` is
    false), so ``sample`` draws the whole matrix.

    Parameters
    ----------
    gain
        Factor on every weight.

    Raises
    ------
    DomainError
        If the gain is not positive and finite.

    Examples
    --------
    >>> import torch
    >>> from firstlight import weights
    >>> law = weights.get("orthogonal")
    >>> w = law.sample((4, 4), fan_in=4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> torch.allclose(w @ w.T, torch.eye(4, dtype=torch.float64))
    True
    """

    gain: float = 1.0
    word: ClassVar[str] = "orthogonal"
    independent: ClassVar[bool] = False
    constraints: ClassVar[Mapping[str, tuple[float, float]]] = {"gain": (0.0, math.inf)}

    @property
    def spelling(self) -> str:
        """``"orthogonal"``, times the gain unless that is 1."""
        return self.word if self.gain == 1 else f"{written(self.gain)} * {self.word}"

    @property
    def strip(self) -> tuple[float, float]:
        """The same value as for a normal law."""
        return _LIMIT.strip

    def log_mellin(self, s: object) -> Any:
        """Log E|gain · G|^s for a standard normal G, the limit of one entry."""
        return self._limit.log_mellin(s)

    def moment(self, order: float) -> float:
        """gain^order times the moment of the normal law."""
        return self.gain**order * _LIMIT.moment(order)

    @property
    def _limit(self) -> WeightLaw:
        return _LIMIT if self.gain == 1 else _LIMIT.scaled(self.gain)

    def _sf(self, t: Tensor) -> Tensor:
        return self._limit._sf(t)

    def _isf(self, v: Tensor) -> Tensor:
        return self._limit._isf(v)

    def _log_density(self, t: Tensor) -> Tensor:
        return self._limit._log_density(t)

    def entry(self, size: int) -> WeightLaw:
        """The exact law of one entry of a matrix whose larger side is ``size`` ≥ 2.

        Examples
        --------
        >>> from firstlight.weights import Orthogonal
        >>> round(Orthogonal().entry(10).excess_kurtosis, 12)  # −6/(m + 2)
        -0.5
        """
        return sphere_marginal(size).scaled(self.gain * math.sqrt(size))

    def scaled(self, factor: float) -> Orthogonal:  # type: ignore[override]
        """The law with ``factor`` times the gain: still a law of whole matrices."""
        return Orthogonal(self.gain * float(factor))

    def sample(
        self,
        shape: Sequence[int],
        *,
        generator: torch.Generator | None = None,
        fan_in: int | None = None,
        sigma_w: float = 1.0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw one matrix; a kernel ``(out, in, *kernel)`` is the matrix of out rows and in · kernel columns.

        Raises
        ------
        DomainError
            A shape of fewer than two dimensions, or a fan-in below 1.
        """
        if len(shape) < 2 or min(shape) < 1:
            raise DomainError(
                f"while sampling {self.name}: expected the shape (out, in, *kernel) of a weight, got {tuple(shape)}; "
                "a vector has no orthogonal matrix"
            )
        if fan_in is not None and fan_in < 1:
            raise DomainError(f"while sampling {self.name}: expected fan_in ≥ 1, got {fan_in}")
        rows, columns = shape[0], math.prod(shape[1:])
        kind = dtype or torch.get_default_dtype()
        precise = torch.float64 if kind == torch.float64 else torch.float32
        matrix = haar(rows, columns, generator=generator, dtype=precise)
        scale = self.gain * sigma_w * math.sqrt(max(rows, columns) / (fan_in or 1))
        home = torch.device(device) if device is not None else torch.get_default_device()
        return (matrix * scale).reshape(tuple(shape)).to(dtype=kind, device=home)
