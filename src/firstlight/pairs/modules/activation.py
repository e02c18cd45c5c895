"""The activation of a pair as a torch module: exact to float32's rounding, fast, twice differentiable."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from firstlight.activations import Activation
from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.modules._rational import RationalFit
from firstlight.pairs.modules.fast import apply


class PairActivation(nn.Module):
    """φ of a Gaussian pair, by a rational fit of the exact function and of its derivative.

    Parameters
    ----------
    exact
        The function.
    single
        Its fit for float32.
    fine
        Makes the fit for float64, when first asked.
    label
        How the module prints.
    spelling
        The text that ``pairs.by_name`` turns into this activation's pair, or None.

    Notes
    -----
    float32, bfloat16 and float16 use a fit whose absolute error on [−12, 12] is below 2e-6, close to
    float32's own rounding; float64 uses a finer one (``fine.error``). Beyond 12 the tail is the power law of
    the exact function. The module has no parameters and an empty ``state_dict``. φ' is made together with φ and
    kept for the backward, beside x for a second derivative: two tensors an activation where tanh keeps one. For
    every digit of float64 use ``exact`` or ``ExactModule``, which are a thousand times slower.

    Examples
    --------
    >>> import torch
    >>> from firstlight import pairs
    >>> phi = pairs.weibull(3.0).activation
    >>> x = torch.tensor([0.5, 20.0], requires_grad=True)
    >>> phi(x).sum().backward()
    >>> bool((x.grad > 0).all())
    True
    """

    def __init__(
        self,
        exact: ExactActivation,
        single: RationalFit,
        fine: Callable[[], RationalFit],
        label: str,
        spelling: str | None = None,
    ) -> None:
        super().__init__()
        self.spelling = spelling
        self.exact = exact
        self.single = single
        self.label = label
        self._make_fine = fine
        self._fine: RationalFit | None = None

    @property
    def fine(self) -> RationalFit:
        """The fit for float64, made on first use; ask for it before compiling a float64 model."""
        if self._fine is None:
            self._fine = self._make_fine()
        return self._fine

    def forward(self, x: Tensor) -> Tensor:
        """φ(x), elementwise, any shape, in the dtype of x."""
        if x.dtype != torch.float64:
            return apply(x, self.single)
        return apply(x, self._fine if self._fine is not None else self.fine)

    @property
    def kinks(self) -> tuple[float, ...]:
        """Where the slope jumps: nowhere, or at the zero of a split activation."""
        return () if self.exact.split in (0.0, 0.5) else (self.exact.kink,)

    @property
    def parity(self) -> str | None:
        """``"odd"`` or None."""
        return "odd" if self.exact.split == 0.5 else None

    def as_activation(self) -> Activation:
        """φ with what theory needs: its name, kinks and parity. φ acts as it is, in the dtype it is given."""
        odd = self.exact.split == 0.5
        return Activation(self.spelling or self.label, self, kinks=self.kinks, parity="odd" if odd else None)

    def extra_repr(self) -> str:
        """What the module is."""
        return self.label


class ExactModule(nn.Module):
    """An exact activation as a module: every digit of float64, on the CPU, about 10 µs an entry.

    The module for laws whose φ no rational fit can follow (an infinite slope at 0), and the yardstick for
    the fast ones. Twice differentiable.

    Examples
    --------
    >>> import torch
    >>> from firstlight import pairs
    >>> phi = pairs.ExactModule(pairs.weibull(3.0).exact)
    >>> phi(torch.zeros(2, dtype=torch.float64)).tolist()
    [0.0, 0.0]
    """

    def __init__(self, exact: ExactActivation, spelling: str | None = None) -> None:
        super().__init__()
        self.exact = exact
        self.spelling = spelling

    def forward(self, x: Tensor) -> Tensor:
        """φ(x), elementwise, any shape; computed in float64 and returned in the dtype and device of x."""
        return _Exact.apply(x, self.exact, 0)

    @property
    def kinks(self) -> tuple[float, ...]:
        """Where φ is not smooth: its zero, unless an odd φ passes it straight."""
        if self.exact.split == 0.0:
            return ()
        if self.exact.split == 0.5:
            with np.errstate(all="ignore"):
                slope = float(self.exact.derivative(np.zeros(1))[0])
                bend = float(self.exact.second_derivative(np.array([1e-4]))[0])
            if math.isfinite(slope) and abs(bend) < 1e-2 * slope:
                return ()
        return (self.exact.kink,)

    def as_activation(self) -> Activation:
        """φ with what theory needs: its name, slope, kink and parity."""
        jumps = self.kinks if self.exact.magnitude.jump else ()
        return Activation(
            self.spelling or f"pair of {self.exact.magnitude.name}",
            self,
            slope=lambda x: _Exact.apply(x, self.exact, 1),
            kinks=self.kinks,
            jumps=jumps,
            parity="odd" if self.exact.split == 0.5 else None,
        )


class _Exact(torch.autograd.Function):
    """φ, φ' or φ'' by order; each is the derivative of the one before."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, exact: ExactActivation, order: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.exact, ctx.order = exact, order
        function = (exact, exact.derivative, exact.second_derivative)[order]
        value = np.asarray(function(x.detach().cpu().to(torch.float64).numpy()))
        return torch.from_numpy(value).to(x.dtype).to(x.device)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        if ctx.order == 2:
            raise NotImplementedError(
                "while differentiating an exact pair activation: expected at most two derivatives, got a third; "
                "use the fast module, which is smooth"
            )
        return grad * _Exact.apply(x, ctx.exact, ctx.order + 1), None, None
