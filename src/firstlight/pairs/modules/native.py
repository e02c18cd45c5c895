"""A pair's activation by the native kernel: one pass forward, one backward, and x alone kept between them."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.activations import Activation
from firstlight.pairs.exact.function import ExactActivation
from firstlight.pairs.modules import kernel
from firstlight.pairs.modules._table import make_table


class NativeActivation(nn.Module):
    """φ of a Gaussian pair in float32 on the CPU, compiled for this machine; made by ``Pair.native``.

    Parameters
    ----------
    pure
        The module it stands for, which does whatever the kernel does not: float64, accelerators, ``torch.func``,
        second derivatives and exported programs.
    exact
        The function that the kernel's table is made from.
    tail_power
        γ, φ(x) ~ x^γ.

    Raises
    ------
    BuildError
        When there is no library yet and none can be built.
    DomainError
        When φ is too rough for the table.

    Notes
    -----
    Absolute error on [−12, 12] below 1e-6, for θ ≤ 2.2 1.4e-7; NaN stays NaN; relative error of the tail below 1e-5 up
    to infinity.
    bfloat16 and float16 are computed in float32. ``torch.compile`` keeps forward and backward as two calls. A copy
    that is unpickled on a machine without the library warns and uses the pure module.

    Examples
    --------
    >>> import torch
    >>> from firstlight import pairs
    >>> pair = pairs.weibull(3.0).native()  # doctest: +SKIP
    >>> pair.activation(torch.zeros(2))  # doctest: +SKIP
    tensor([0., 0.])
    """

    def __init__(self, pure: nn.Module, exact: ExactActivation, *, tail_power: float) -> None:
        super().__init__()
        self.pure = pure
        self.exact = exact
        self.table = make_table(exact, tail_power)
        self.number = _register(self.table)
        kernel.load()

    def forward(self, x: Tensor) -> Tensor:
        """φ(x), elementwise, any shape, in the dtype of x."""
        if x.dtype in (torch.bfloat16, torch.float16):
            return self(x.float()).to(x.dtype)
        if x.dtype != torch.float32 or x.device.type != "cpu" or torch.compiler.is_exporting():
            return self.pure(x)  # an exported program has to do without the library
        if torch.compiler.is_compiling():
            return _Traced.apply(x, self.number)
        if type(x) not in (Tensor, nn.Parameter) or torch._C._functorch.is_functorch_wrapped_tensor(x):
            return self.pure(x)
        return _Native.apply(x, self)

    @property
    def kinks(self) -> tuple[float, ...]:
        """Where the slope jumps."""
        return self.pure.kinks  # type: ignore[return-value]

    @property
    def parity(self) -> str | None:
        """``"odd"`` or None."""
        return "odd" if self.exact.split == 0.5 else None

    def as_activation(self) -> Activation:
        """φ with what theory needs, the same as for the pure module."""
        pure: Any = self.pure
        return replace(pure.as_activation(), function=self)

    def extra_repr(self) -> str:
        """What the module is."""
        return "native"

    def __setstate__(self, state: dict[str, object]) -> None:
        super().__setstate__(state)
        _register(self.table)
        if not kernel.is_built():
            warnings.warn(
                "a native pair activation was loaded where its library is not built; it runs by the pure module, more "
                "slowly, until it is loaded again after firstlight.pairs.modules.kernel.build()",
                stacklevel=2,
            )
            self.forward = self.pure.forward  # type: ignore[method-assign]


class _Native(torch.autograd.Function):
    """φ in eager mode; x alone is kept, and φ' is made when it is asked for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: NativeActivation) -> Tensor:
        ctx.module = module
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return run_forward(x.detach(), module.table)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # a graph of the gradient is wanted
            with torch.enable_grad():
                return torch.autograd.grad(ctx.module.pure(x), x, grad, create_graph=True)[0], None
        return run_backward(grad, x, ctx.module.table), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return run_backward(tangent, ctx.saved_tensors[0], ctx.module.table)


class _Traced(torch.autograd.Function):
    """φ as a compiler sees it: one call forward, one backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, number: int) -> Tensor:
        ctx.number = number
        ctx.save_for_backward(x)
        return torch.ops.firstlight.pair(x, number)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return torch.ops.firstlight.pair_backward(grad, ctx.saved_tensors[0], ctx.number), None


def run_forward(x: Tensor, table: Tensor) -> Tensor:
    """φ of a float32 tensor on the CPU by the kernel; strides without gaps are kept."""
    out = torch.empty_like(x)
    if out.stride() != x.stride():
        x, out = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
    kernel.load().pair_forward(
        x.data_ptr(), out.data_ptr(), x.numel(), table.data_ptr(), torch.get_num_threads()
    )
    return out


def run_backward(grad: Tensor, x: Tensor, table: Tensor) -> Tensor:
    """φ'(x) · grad by the kernel."""
    out = torch.empty_like(x)
    if not out.stride() == x.stride() == grad.stride():
        x, grad = x.contiguous(), grad.contiguous()
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
    kernel.load().pair_backward(
        x.data_ptr(), grad.data_ptr(), out.data_ptr(), x.numel(), table.data_ptr(), torch.get_num_threads()
    )
    return out


# ---- what a compiled graph calls: it holds the number of a table, which is made of the table's content

_TABLES: dict[int, Tensor] = {}
_OPS = torch.library.Library("firstlight", "DEF")
_OPS.define("pair(Tensor x, int table) -> Tensor")
_OPS.define("pair_backward(Tensor grad, Tensor x, int table) -> Tensor")


def _pair(x: Tensor, table: int) -> Tensor:
    return run_forward(x.contiguous(), _TABLES[table])


def _pair_backward(grad: Tensor, x: Tensor, table: int) -> Tensor:
    return run_backward(grad.contiguous(), x.contiguous(), _TABLES[table])


_OPS.impl("pair", _pair, "CPU")
_OPS.impl("pair_backward", _pair_backward, "CPU")


@torch.library.register_fake("firstlight::pair")
def _(x: Tensor, table: int) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.register_fake("firstlight::pair_backward")
def _(grad: Tensor, x: Tensor, table: int) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _register(table: Tensor) -> int:
    number = int.from_bytes(hashlib.sha256(table.numpy().tobytes()).digest()[:7], "little")
    _TABLES[number] = table
    return number
