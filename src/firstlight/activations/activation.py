"""Activation: a function φ of one variable with what theory needs to know about it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from firstlight.activations._known import found, module_of, of_library
from firstlight.activations._own_backward import autograd_slope, own_backward, with_slope
from firstlight.activations._symmetry import Function, Parity, degree_of, parity_of
from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.gauss import as_float64, find_kinks

# An eighth-order central difference: weights of f(x + kh) − f(x − kh) for k = 1 … 4.
_log = logging.getLogger(__name__)

# More kinks than this make every integral slow, which is said.
_MANY = 3000
# Powers of the distance at which the square of a slope has no integral begin at 1; differences tell them to 1 %.
_DIVERGES = 0.99
_DIFFERENCE = (4 / 5, -1 / 5, 4 / 105, -1 / 280)


@dataclass(frozen=True, eq=False)
class Activation:
    """An activation function φ.

    Attributes
    ----------
    name
        How it is called; ``firstlight.activations.get(name)`` gives a registered one back.
    function
        φ, entry by entry on a tensor of any dtype and device.
    slope
        φ' in closed form, or None: then ``derivative`` uses autograd, or differences where autograd cannot
        see through the function.
    kinks
        Points where φ or a derivative of it jumps, in increasing order.
    jumps
        Those of them where φ itself jumps.
    parity
        ``"odd"``, ``"even"`` or None.
    degree
        d with φ(λz) = λ^d φ(z) for λ > 0, or None.
    differentiable
        Whether autograd sees through ``function``.
    parameters
        Parameters of a family by name.
    backward
        The slope that the backward pass multiplies a gradient with, where it is not φ': a surrogate of a spike, a
        straight-through step. None for an ordinary activation. Then χ₁ and E φ'² are of this slope, and what
        correlations do is still told by φ, and the NTK by this slope. ``degree`` is None with a backward of its own.

    Examples
    --------
    >>> import torch
    >>> from firstlight import activations
    >>> phi = activations.get(lambda x: torch.maximum(x, 0.1 * x))
    >>> phi.kinks, phi.degree, phi.parity
    ((0.0,), 1.0, None)
    >>> phi.derivative(torch.tensor([-1.0, 2.0]))
    tensor([0.1000, 1.0000])
    """

    name: str
    function: Function
    slope: Function | None = None
    kinks: tuple[float, ...] = ()
    jumps: tuple[float, ...] = ()
    parity: Parity | None = None
    degree: float | None = None
    differentiable: bool = True
    parameters: dict[str, float] = field(default_factory=dict)
    backward: Function | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """φ(x); autograd sees ``backward`` where there is one."""
        if self.backward is not None and x.requires_grad and torch.is_grad_enabled():
            return with_slope(x, self.function, self.backward)
        return self.function(x)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Activation):
            return NotImplemented
        return self.name == other.name and self.parameters == other.parameters and self._computes_as(other)

    def _computes_as(self, other: Activation) -> bool:
        """Whether both hold one function, or functions that a family makes of the same parameters."""
        if self.function is other.function:
            return True
        code = getattr(self.function, "__code__", None)
        alike = code is not None and code is getattr(other.function, "__code__", None)
        return alike and bool(self.parameters) and self.parameters == other.parameters

    def __hash__(self) -> int:
        return hash((self.name, tuple(self.parameters.items())))

    def __repr__(self) -> str:
        return f"Activation({self.name!r})"

    @property
    def registered(self) -> bool:
        """Whether ``activations.get(self.name)`` gives this activation."""
        try:
            known = found(self.name)
        except DomainError:
            return False
        return known is self or bool(known == self)

    @property
    def of_library(self) -> bool:
        """Whether the library itself has this function under this name, so that closed forms by name hold."""
        try:
            return bool(of_library(self.name) == self)
        except DomainError:
            return False

    def derivative(self, x: Tensor) -> Tensor:
        """φ'(x): closed form, else autograd, else eighth-order differences that do not reach over a kink."""
        if self.slope is not None:
            return self.slope(x)
        return autograd_slope(self.function, x) if self.differentiable else self.difference(x)

    def gradient_slope(self, x: Tensor) -> Tensor:
        """What a gradient is multiplied with on its way back: ``backward`` where there is one, else φ'(x)."""
        return self.derivative(x) if self.backward is None else self.backward(x)

    @cached_property
    @clean
    def backward_kinks(self) -> tuple[float, ...]:
        """Points where the slope of a backward of its own is not smooth."""
        return () if self.backward is None else tuple(kink.at for kink in find_kinks(self.backward))

    def module(self, *, learnable: bool = False) -> torch.nn.Module:
        """The activation as a torch module; with ``learnable`` its parameters are trained.

        Raises
        ------
        DomainError
            ``learnable``, and no formula of the library holds its parameters.

        Examples
        --------
        >>> from firstlight import activations
        >>> [name for name, _ in activations.get("snake(0.5)").module(learnable=True).named_parameters()]
        ['a']
        """
        made: torch.nn.Module = module_of(self, learnable=learnable)
        return made

    def difference(self, x: Tensor) -> Tensor:
        """φ'(x) by eighth-order differences of φ that do not reach over a kink."""
        step = torch.full_like(x, 2e-3) * x.abs().clamp_min(1.0)
        if self.kinks:
            ends = torch.tensor([-math.inf, *self.kinks, math.inf], dtype=x.dtype)
            after = torch.searchsorted(ends, x.contiguous()).clamp(1, len(ends) - 1)
            step = torch.minimum(step, torch.minimum(x - ends[after - 1], ends[after] - x) / 4.5)
        step = step.clamp_min(1e-9)
        total = torch.zeros_like(x)
        for k, weight in enumerate(_DIFFERENCE, start=1):
            total = total + weight * (self.function(x + k * step) - self.function(x - k * step))
        return total / step

    @cached_property
    @clean
    def heights(self) -> tuple[float, ...]:
        """How much φ rises at each of its jumps: the limit from the right minus that from the left."""
        if not self.jumps:
            return ()
        at = torch.tensor(self.jumps, dtype=torch.float64)
        step = 1e-9 * at.abs().clamp_min(1.0)
        with torch.no_grad():
            # two steps of either side, by which the slope beside the jump is taken off
            right, left = (2 * self(at + s * step) - self(at + 2 * s * step) for s in (1.0, -1.0))
        return tuple((right - left).tolist())

    @cached_property
    @clean
    def singular(self) -> tuple[float, ...]:
        """Kinks beside which φ'² grows as fast as one over the distance, so that E φ'² is infinite."""
        return tuple(at for at in self.kinks if at not in self.jumps and self._diverges_at(at))

    @cached_property
    @clean
    def bends(self) -> tuple[float, ...]:
        """Kinks where φ or its slope jumps; the others, as the one of ELU, only bend the slope."""
        return tuple(at for at in self.kinks if at in self.jumps or self._bends_at(at))

    def _bends_at(self, at: float) -> bool:
        near = max(1.0, abs(at)) * torch.tensor([1e-4, 1e-7], dtype=torch.float64)
        with torch.no_grad():
            right, left = self.derivative(at + near), self.derivative(at - near)
        gap = (right - left).abs().tolist()
        # the gap of a slope that only turns shrinks with the distance, down to the rounding of differences
        return gap[1] > 0.5 * gap[0] and gap[1] > 1e-5 * float(torch.maximum(right.abs(), left.abs()).max())

    def _diverges_at(self, at: float) -> bool:
        unit = max(1.0, abs(at))
        near = unit * torch.tensor([1e-3, 1e-4, 1e-5, 1e-6], dtype=torch.float64)
        for side in (1.0, -1.0):
            with torch.no_grad():
                # by differences of φ, which stay finite where a slope overflows
                rise = (self(at + side * near) - self(at + side * near / 2)).abs() / near
            power = -2 * torch.diff(torch.log(rise.clamp_min(1e-300))) / torch.diff(torch.log(near))
            if float(power.min()) > _DIVERGES:
                return True
        return False

    @cached_property
    @clean
    def continuous(self) -> bool:
        """Whether φ has no jump; with one, correlations leave 1 with infinite slope."""
        return not self.jumps


@clean
def from_callable(f: Any, name: str | None = None) -> Activation:
    """Make an activation of an ``nn.Module`` or of a callable of one tensor, array or float.

    A backward that is not the derivative (a custom autograd function, a detached difference) becomes ``backward``.
    Kinks are found by ``gauss.find_kinks``. A parity or a degree of homogeneity is accepted where it holds from
    1e-9 to 1e9 on both sides of zero and around every kink; otherwise there is none, and nothing relies on it.
    See ``gauss.as_float64`` for what is accepted.

    Raises
    ------
    DomainError
        ``f`` does not act entry by entry, or cannot be called.

    Examples
    --------
    >>> import math
    >>> from firstlight.activations import from_callable
    >>> from_callable(math.atan).parity
    'odd'
    """
    function, differentiable = as_float64(f)
    kinks = find_kinks(function)
    places = tuple(kink.at for kink in kinks)
    if len(places) > _MANY:
        _log.warning(
            "%s has %d kinks: its moments may take a second a variance, a path of 20 layers a minute",
            name or _name_of(f),
            len(places),
        )
    jumps = tuple(kink.at for kink in kinks if kink.order == 0)
    slope = own_backward(function, places) if differentiable else None
    parity = parity_of(function, places)
    if parity is not None:
        # what was found on one side is there on the other
        places, jumps = _mirrored(places), _mirrored(jumps)
    return Activation(
        name=name or _name_of(f),
        function=function if not differentiable or isinstance(f, torch.nn.Module) else f,
        kinks=places,
        jumps=jumps,
        parity=parity,
        degree=degree_of(function, places) if slope is None else None,
        differentiable=differentiable and slope is None,
        backward=slope,
    )


def _mirrored(points: tuple[float, ...]) -> tuple[float, ...]:
    """The points and their mirror images; of two that rounding parts, the one with fewer digits."""
    kept: list[float] = []
    for at in sorted(abs(p) for p in points):
        if not kept or at - kept[-1] > 1e-9 * max(at, 1.0):
            kept.append(at)
        else:
            kept[-1] = min(kept[-1], at, key=lambda k: len(repr(k)))
    return tuple(sorted({*kept, *(0.0 - k for k in kept)}))


def _name_of(f: Callable[..., object]) -> str:
    if isinstance(f, torch.nn.Module):
        return type(f).__name__
    return getattr(f, "__name__", type(f).__name__)
