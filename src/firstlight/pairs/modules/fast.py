"""Fast evaluation of a rational fit in torch: few passes in eager mode, plain operations for compilers and devices.

In eager mode the cost is the number of times that a tensor streams through memory. Powers of L are made two rows at
a time. One small matrix product turns these powers into all polynomials of the fit. The same pass gives φ and φ', so
the backward pass of a network is one multiplication.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.pairs.modules._rational import RationalFit

_CHUNK = 1 << 15
_BUFFERS = (
    threading.local()
)  # a fresh megabyte at every call would cost more in page faults than the arithmetic


def apply(x: Tensor, fit: RationalFit) -> Tensor:
    """φ(x) with φ' and φ'' for autograd, in the dtype of x (half precisions are computed in float32)."""
    if x.dtype in (torch.bfloat16, torch.float16):
        return apply(x.float(), fit).to(x.dtype)
    if torch.compiler.is_compiling():
        if torch.compiler.is_exporting():
            return fit.evaluate(x)[0]  # an exported graph holds the forward alone
        return _Traced.apply(x, fit)
    if _in_eager_cpu(x):
        return _Eager.apply(x, fit)
    return _Value.apply(x, fit)


class _Traced(torch.autograd.Function):
    """φ in the shape that a compiler can trace: x alone is kept, which measures faster than keeping φ'."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, fit: RationalFit) -> Tensor:
        ctx.fit = fit
        ctx.save_for_backward(x)
        return fit.evaluate(x)[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.fit.evaluate(ctx.saved_tensors[0])[1], None


class _Eager(torch.autograd.Function):
    """φ in eager mode on the CPU; it keeps φ' for the backward, and x for a second derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, fit: RationalFit) -> Tensor:
        ctx.fit = fit
        if not ctx.needs_input_grad[0]:
            return chunked(x, fit, slope=False)[0]
        value, slope = chunked(x, fit, slope=True)
        ctx.save_for_backward(x, slope)
        ctx.save_for_forward(x, slope)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, slope = ctx.saved_tensors
        if torch.is_grad_enabled():
            return grad * _Slope.apply(x, ctx.fit), None
        return grad * slope, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return tangent * ctx.saved_tensors[1]


class _Value(torch.autograd.Function):
    """φ by plain operations: for accelerators and for ``torch.func``."""

    @staticmethod
    def forward(x: Tensor, fit: RationalFit) -> Tensor:
        return fit.evaluate(x)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, RationalFit], output: Tensor) -> None:
        x, ctx.fit = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * _Slope.apply(ctx.saved_tensors[0], ctx.fit), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return tangent * ctx.fit.evaluate(ctx.saved_tensors[0])[1]

    @staticmethod
    def vmap(
        info: object, in_dims: tuple[int | None, None], x: Tensor, fit: RationalFit
    ) -> tuple[Tensor, Any]:
        return _Value.apply(x, fit), in_dims[0]


class _Slope(torch.autograd.Function):
    """φ'; its backward differentiates the fit of φ' itself."""

    @staticmethod
    def forward(x: Tensor, fit: RationalFit) -> Tensor:
        return fit.evaluate(x)[1]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, RationalFit], output: Tensor) -> None:
        x, ctx.fit = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            at = x if x.requires_grad and torch.is_grad_enabled() else x.detach().requires_grad_()
            slope = ctx.fit.evaluate(at)[1]
            (bend,) = torch.autograd.grad(slope, at, torch.ones_like(slope), create_graph=True)
        return grad * bend, None

    @staticmethod
    def vmap(
        info: object, in_dims: tuple[int | None, None], x: Tensor, fit: RationalFit
    ) -> tuple[Tensor, Any]:
        return _Slope.apply(x, fit), in_dims[0]


def _in_eager_cpu(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and type(x) in (Tensor, torch.nn.Parameter)
        and not torch._C._functorch.is_functorch_wrapped_tensor(x)
        # where the user lets matrix products of float32 lose digits, those of the eager path would too
        and torch.get_float32_matmul_precision() == "highest"
    )


class _Program:
    """A fit with its constants as tensors of one dtype, made once."""

    def __init__(self, fit: RationalFit, dtype: torch.dtype) -> None:
        def scalar(value: float) -> Tensor:
            return torch.tensor(value, dtype=dtype)

        piece = fit.pieces[0]
        self.kind = piece.kind
        self.origin, self.spread = scalar(piece.origin), scalar(piece.stretch)
        self.scale, self.slant = scalar(piece.scale), piece.scale * piece.stretch
        self.constant, self.rate, self.power = scalar(piece.constant), piece.rate, scalar(piece.power)
        self.one = scalar(1.0)
        self.top = 1e36 if dtype == torch.float32 else 1e300
        self.low, self.high = piece.low, self.top**0.5
        self.degree = len(piece.denominator) - 1
        self.end = piece.end
        # N and M of each side, the lower one first, then its Q
        lines = [line for p in fit.pieces[::-1] for line in (p.value, p.slope)]
        lines += [p.denominator for p in fit.pieces[::-1]]
        self.table = torch.tensor(
            [[*line, *[0.0] * (self.degree + 1 - len(line))] for line in lines], dtype=dtype
        )
        self.split = len(fit.pieces) == 2


def program(fit: RationalFit, dtype: torch.dtype) -> _Program:
    """The program of a fit, found by the fit's identity: hashing its coefficients at every call would cost more."""
    found = fit.programs.get(dtype)
    if found is None:
        found = fit.programs[dtype] = _new_program(fit, dtype)
    return found


# What is kept is made in a clean room: the first caller may be in inference mode, or have another default device.
_new_program = clean(_Program)


class _Room:
    """Buffers for one program and one block size.

    Every view of them is made once: on a small tensor, making views costs as much as the arithmetic.
    """

    def __init__(self, made: _Program, count: int, dtype: torch.dtype) -> None:
        degree, lines = made.degree, len(made.table)
        work = torch.empty(degree + 1 + lines + 3, count, dtype=dtype)
        work[0] = 1.0
        self.powers, results = work[: degree + 1], work[degree + 1 : -3]
        self.inside, self.level, self.scratch, self.other = work[1], work[-3], work[-2], work[-1]
        # rows 2, 3, … of the powers from row 1, by products of whole blocks of rows
        self.products, have = [], 1
        while have < degree:
            more = min(have, degree - have)
            self.products.append((work[1 : 1 + more], work[have], work[have + 1 : have + 1 + more]))
            have += more
        self.results, last = results, lines - 1
        self.value, self.slope, self.fraction = results[0], results[1], results[:2]
        self.fractions = (
            [(results[:2], results[last])]
            if lines == 3
            else [(results[:2], results[4]), (results[2:4], results[5])]
        )


_new_room = clean(_Room)


def _room(made: _Program, count: int, dtype: torch.dtype) -> _Room:
    """The thread's room for this program and size, kept until another one is asked for."""
    key = (made.degree, len(made.table), count, dtype)
    if getattr(_BUFFERS, "key", None) != key:
        _BUFFERS.room = _new_room(made, count, dtype)
        _BUFFERS.key = key
    room: _Room = _BUFFERS.room
    return room


def chunked(x: Tensor, fit: RationalFit, *, slope: bool) -> tuple[Tensor, Tensor]:
    """φ and, when asked for, φ', by blocks that stay in the cache, in buffers that are made once."""
    source = x.detach().contiguous()
    value = torch.empty_like(source)
    steep = torch.empty_like(source) if slope else value
    made, total = program(fit, x.dtype), source.numel()
    if 0 < total <= _CHUNK:
        _block(made, source.view(-1), value.view(-1), steep.view(-1) if slope else None)
        return value, steep
    flat, out, out_slope = source.view(-1), value.view(-1), steep.view(-1)
    for start in range(0, total, _CHUNK):
        part = slice(start, start + _CHUNK)
        _block(made, flat[part], out[part], out_slope[part] if slope else None)
    return value, steep


def _block(p: _Program, x: Tensor, value: Tensor, slope: Tensor | None) -> None:
    room = _room(p, x.numel(), x.dtype)
    level, scratch = room.level, room.scratch
    if p.kind == "odd":
        factor = x
        torch.addcmul(p.scale, x, x, value=p.slant, out=level)
        level.clamp_(max=p.top).log_()
    elif p.kind == "side":
        factor = torch.sub(x, p.origin, out=value)
        torch.abs(factor, out=scratch)
        torch.add(p.scale, scratch, alpha=p.slant, out=level).log_()
    else:
        torch.clamp(x, p.low, p.high, out=scratch)
        torch.addcmul(p.spread, scratch, scratch, out=room.other).sqrt_()
        factor = torch.add(scratch, room.other, out=value)
        torch.mul(factor, p.scale, out=level).log_()
    torch.clamp(level, max=p.end, out=room.inside)
    for left, right, product in room.products:
        torch.mul(left, right, out=product)
    torch.mm(p.table, room.powers, out=room.results)
    for top, bottom in room.fractions:
        (top if slope is not None else top[0]).div_(bottom)
    if p.split:
        torch.heaviside(factor, p.one, out=scratch)
        torch.lerp(room.fraction, room.fractions[1][0], scratch, out=room.fraction)
    growth = torch.add(room.value, level, alpha=p.rate, out=scratch)
    growth.add_(p.constant).exp_()
    torch.mul(factor, growth, out=value)
    if slope is not None:
        torch.add(room.slope, p.power, out=slope)
        if p.kind == "line":
            slope.mul_(value).div_(room.other)
        else:
            slope.mul_(growth)
