"""What every symmetric weight law can do: sample, cdf, icdf, log_prob, moments and the Mellin transform."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from firstlight.doors import checked
from firstlight.errors import DomainError

_BLOCK = 1 << 16  # uniforms drawn at once: a block stays in the second-level cache
_TINY = 2.0**-54  # below the smallest nonzero |2u − 1| of a 53-bit uniform u


class WeightLaw(ABC):
    """A symmetric law P of one weight W, described by the law of its magnitude |W|.

    A law is the *shape* of a weight; the scale of a layer is explicit: ``sample(..., fan_in=n, sigma_w=s)``
    returns s/√n · W, and nothing is divided by √n unless a fan-in is given. Laws are not normalised to unit
    variance (``standardised`` does that).

    A law declares the open intervals of its parameters in ``constraints`` and implements four things about
    |W|: its tail ``_sf``, the inverse ``_isf``, its log-density ``_log_density``, and ``log_mellin``. A law
    that ``weights.get`` knows says by which ``word``; ``independent`` is false where the weights of one layer
    depend on each other.
    """

    constraints: ClassVar[Mapping[str, tuple[float, float]]] = {}
    has_density: ClassVar[bool] = True
    independent: ClassVar[bool] = True
    word: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, (low, high) in self.constraints.items():
            value = getattr(self, name)
            if not (isinstance(value, int | float) and low < value < high):
                raise DomainError(
                    f"while making the weight law {type(self).__name__}: expected {name} in ({low}, {high}), "
                    f"got {value!r}; choose {name} inside that interval"
                )

    # ---- what a law has to say about |W|; float64 in, float64 out

    @abstractmethod
    def _sf(self, t: Tensor) -> Tensor:
        """P(|W| > t) for t ≥ 0."""

    @abstractmethod
    def _isf(self, v: Tensor) -> Tensor:
        """The magnitude that is exceeded with probability v, 0 < v ≤ 1."""

    @abstractmethod
    def _log_density(self, t: Tensor) -> Tensor:
        """Log-density of |W| at t ≥ 0 (log-probability for a discrete law)."""

    @abstractmethod
    def log_mellin(self, s: object) -> Any:
        """Log E|W|^s for complex s inside ``strip`` (an array or a number), on any branch."""

    @property
    @abstractmethod
    def strip(self) -> tuple[float, float]:
        """The open interval of Re s where E|W|^s is finite."""

    @property
    def support(self) -> tuple[float, float]:
        """The smallest interval that holds W with probability one."""
        edge = float(self._isf(torch.tensor([0.0], dtype=torch.float64))[0])
        return -edge, edge

    # ---- what follows from them

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """How reports name the law, for example ``SymmetricWeibull(theta=3.0)``."""
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.parameters.items())})"

    @property
    def spelling(self) -> str | None:
        """The text that ``weights.get`` turns into this law again, or None for a law made of functions.

        Examples
        --------
        >>> from firstlight import weights
        >>> weights.Discrete((1.0, 3.0), (0.25, 0.75)).standardised().spelling
        '0.37796447300922725 * discrete(1: 0.25, 3: 0.75)'
        """
        if not self.word:
            return None
        arguments = ", ".join(written(value) for value in self.parameters.values())
        return f"{self.word}({arguments})" if arguments else self.word

    def mellin(self, s: object) -> Any:
        """The Mellin transform E|W|^s, for a real or complex number or array s inside ``strip``.

        Raises
        ------
        DomainError
            When Re s is outside the open strip where the moment is finite.
        """
        low, high = self.strip
        real = np.real(np.asarray(s))
        if not np.all((real > low) & (real < high)):
            raise DomainError(
                f"while taking E|W|^s of {self.name}: expected Re s in ({low}, {high}), got s={s!r}; "
                "outside it the moment is infinite"
            )
        value = np.exp(self.log_mellin(s))
        return value if np.ndim(value) else value.item()

    def moment(self, order: float) -> float:
        """E|W|^order for a real order; infinite outside the strip."""
        low, high = self.strip
        return float(np.real(self.mellin(order))) if low < order < high else math.inf

    @property
    def variance(self) -> float:
        """E W²."""
        return self.moment(2)

    @property
    def excess_kurtosis(self) -> float:
        """E W⁴/(E W²)² − 3: 0 for a Gaussian, −1.2 uniform, NaN where the variance is infinite."""
        return self.moment(4) / self.moment(2) ** 2 - 3 if math.isfinite(self.moment(2)) else math.nan

    def cdf(self, value: Tensor | float) -> Tensor:
        """P(W ≤ value), same shape, dtype and device as the value (float64 for a number)."""
        x, restore = _to_float64(value)
        size = x.abs()
        if not self.has_density:  # P(W ≤ −a) is half of P(|W| ≥ a), which counts the atom at a
            size = torch.where(x < 0, torch.nextafter(size, torch.zeros_like(size)), size)
        half = 0.5 * self._sf(size)
        return restore(torch.where(x < 0, half, 1 - half))

    def icdf(self, probability: Tensor | float) -> Tensor:
        """The quantile of W; the inverse of ``cdf``.

        Raises
        ------
        DomainError
            When a probability is outside [0, 1].
        """
        p, restore = _to_float64(probability)
        if not bool(((p >= 0) & (p <= 1)).all()):
            raise DomainError(
                f"while taking the quantile of {self.name}: expected probabilities in [0, 1], got values "
                f"from {float(p.min())} to {float(p.max())}; pass probabilities"
            )
        magnitude = self._isf(2 * torch.minimum(p, 1 - p))
        return restore(torch.where(p < 0.5, -magnitude, magnitude))

    def log_prob(self, value: Tensor | float) -> Tensor:
        """Log-density of W (log-probability for a discrete law), same shape as the value."""
        x, restore = _to_float64(value)
        halves = torch.full_like(x, math.log(2.0))
        if not self.has_density:
            halves = halves * (x != 0)
        return restore(self._log_density(x.abs()) - halves)

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
        """Draw independent weights, exact in the tails whatever the dtype.

        Parameters
        ----------
        shape
            Shape of the result.
        generator
            Source of randomness; torch's global one if absent. The same state gives the same weights.
        fan_in
            When given, the weights are multiplied by sigma_w/√fan_in; otherwise by sigma_w alone.
        sigma_w
            Scale of the layer.
        dtype, device
            Of the result; torch's defaults (or the generator's device) if absent.

        Raises
        ------
        DomainError
            If the fan-in is below 1.

        Notes
        -----
        Each weight comes from one 53-bit uniform through the exact quantile, in float64, and is rounded once:
        a 24-bit uniform would cut a Weibull tail at P = 6e-8 and leave gaps before it.

        Examples
        --------
        >>> import torch
        >>> from firstlight import weights
        >>> g = torch.Generator().manual_seed(0)
        >>> weights.weibull(3.0).sample((100, 50), generator=g, fan_in=50).shape
        torch.Size([100, 50])
        """
        if fan_in is not None and fan_in < 1:
            raise DomainError(f"while sampling {self.name}: expected fan_in ≥ 1, got {fan_in}")
        scale = sigma_w / math.sqrt(fan_in) if fan_in is not None else sigma_w
        target = torch.device(device) if device is not None else generator.device if generator else None
        target = target if target is not None else torch.get_default_device()
        source = generator.device if generator is not None else target
        if source.type == "mps":  # no float64 there; the generator of an MPS run must live on the CPU
            source = torch.device("cpu")
        out = torch.empty(tuple(shape), dtype=dtype or torch.get_default_dtype(), device=source)
        flat = out.view(-1)
        for start in range(0, flat.numel(), _BLOCK):
            part = flat[start : start + _BLOCK]
            part.copy_(self._draw(part.numel(), generator, source).mul_(scale))
        return out.to(target)

    def _draw(self, count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
        u = torch.rand(count, generator=generator, dtype=torch.float64, device=device).mul_(2).sub_(1)
        magnitude = self._isf(u.abs().clamp_min_(_TINY))
        return torch.copysign(magnitude, u)

    def scaled(self, factor: float) -> ScaledLaw:
        """The law of factor · W."""
        return ScaledLaw(self, float(factor))

    def standardised(self) -> WeightLaw:
        """The same shape with unit variance.

        Raises
        ------
        DomainError
            When the variance is infinite.
        """
        variance = self.variance
        if not math.isfinite(variance):
            raise DomainError(
                f"while standardising {self.name}: expected a finite variance, got an infinite one; "
                "use a law with lighter tails"
            )
        return self if variance == 1.0 else self.scaled(variance**-0.5)


@checked
@dataclass(frozen=True)
class ScaledLaw(WeightLaw):
    """The law of ``factor`` · W for another law of W.

    Examples
    --------
    >>> from firstlight import weights
    >>> round(weights.weibull(3.0).standardised().variance, 12)
    1.0
    """

    base: WeightLaw
    factor: float
    constraints: ClassVar[Mapping[str, tuple[float, float]]] = {"factor": (0.0, math.inf)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.base.independent:
            raise DomainError(
                f"while scaling {self.base.name}: expected a law of independent weights, got one of whole matrices; "
                "its own method scaled() keeps the matrix"
            )

    @property
    def has_density(self) -> bool:  # type: ignore[override]
        """As the base law."""
        return self.base.has_density

    @property
    def name(self) -> str:
        """The base law's name and the factor."""
        return f"{self.factor:.6g} · {self.base.name}"

    @property
    def strip(self) -> tuple[float, float]:
        """As the base law."""
        return self.base.strip

    @property
    def spelling(self) -> str | None:
        """The factor times the spelling of the base law; None where the base law has none."""
        base = self.base.spelling
        return None if base is None else f"{written(self.factor)} * {base}"

    def log_mellin(self, s: object) -> Any:
        """Log E|factor·W|^s = s log factor + log E|W|^s."""
        return np.asarray(s) * math.log(self.factor) + self.base.log_mellin(s)

    def _sf(self, t: Tensor) -> Tensor:
        return self.base._sf(t / self.factor)

    def _isf(self, v: Tensor) -> Tensor:
        return self.factor * self.base._isf(v)

    def _log_density(self, t: Tensor) -> Tensor:
        shift = math.log(self.factor) if self.has_density else 0.0
        return self.base._log_density(t / self.factor) - shift


def written(number: float) -> str:
    """A number as text that gives back every digit, and no more text than that."""
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number))


def _to_float64(value: Tensor | float) -> tuple[Tensor, Any]:
    """The value in float64 (on the CPU when its device has none), and how to give the answer back."""
    if not isinstance(value, Tensor):
        return torch.as_tensor(value, dtype=torch.float64), lambda out: out
    dtype = value.dtype if value.dtype.is_floating_point else torch.float64
    home = value.device
    working = value.cpu() if home.type == "mps" else value
    return working.to(torch.float64), lambda out: out.to(dtype).to(home)
