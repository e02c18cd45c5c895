"""Fast evaluation of a rational fit in torch: chunked in eager mode, plain operations for compilers and devices.

In eager mode on the CPU every operation of a Horner scheme would stream the whole tensor through memory;
chunks that stay in the cache make it about five times faster. The derivative has a fit of its own, which
costs half of differentiating the quotient and is as accurate as the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from firstlight.pairs.rational import Piece, Quotient, RationalFit

_CHUNK = 1 << 15


def apply(x: Tensor, fit: RationalFit) -> Tensor:
    """φ(x) with φ' and φ'' for autograd, in the dtype of x (half precisions are computed in float32)."""
    if x.dtype in (torch.bfloat16, torch.float16):
        return apply(x.float(), fit).to(x.dtype)
    if torch.compiler.is_exporting():
        return fit.evaluate(x)  # an exported graph holds the forward alone
    if torch.compiler.is_compiling():
        return _Traced.apply(x, fit)
    return _Value.apply(x, fit)


class _Traced(torch.autograd.Function):
    """φ and φ' by plain operations, in the shape that a compiler can trace."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, fit: RationalFit) -> Tensor:
        ctx.save_for_backward(x)
        ctx.fit = fit
        return fit.evaluate(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.fit.evaluate_slope(ctx.saved_tensors[0]), None


class _Value(torch.autograd.Function):
    """φ; its backward multiplies by the fit of φ'."""

    @staticmethod
    def forward(x: Tensor, fit: RationalFit) -> Tensor:
        return _chunked(x, fit, slope=False) if _in_eager_cpu(x) else fit.evaluate(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, RationalFit], output: Tensor) -> None:
        x, ctx.fit = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():
            return grad * _Slope.apply(x, ctx.fit), None
        if _in_eager_cpu(x) and grad.dtype == x.dtype:
            return _chunked(x, ctx.fit, slope=True, times=grad), None
        return grad * ctx.fit.evaluate_slope(x), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return tangent * ctx.fit.evaluate_slope(ctx.saved_tensors[0])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, None], x: Tensor, fit: RationalFit) -> tuple[Tensor, Any]:
        return _Value.apply(x, fit), in_dims[0]


class _Slope(torch.autograd.Function):
    """φ'; its backward differentiates the fit of φ' itself."""

    @staticmethod
    def forward(x: Tensor, fit: RationalFit) -> Tensor:
        return _chunked(x, fit, slope=True) if _in_eager_cpu(x) else fit.evaluate_slope(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, RationalFit], output: Tensor) -> None:
        x, ctx.fit = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            at = x if x.requires_grad and torch.is_grad_enabled() else x.detach().requires_grad_()
            slope = ctx.fit.evaluate_slope(at)
            (bend,) = torch.autograd.grad(slope, at, torch.ones_like(slope), create_graph=True)
        return grad * bend, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, None], x: Tensor, fit: RationalFit) -> tuple[Tensor, Any]:
        return _Slope.apply(x, fit), in_dims[0]


def _in_eager_cpu(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch._C._functorch.is_functorch_wrapped_tensor(x)
        and type(x) in (Tensor, torch.nn.Parameter)
    )


@lru_cache(maxsize=512)
def _constants(quotient: Quotient, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    as_tensors = lambda values: [torch.tensor(v, dtype=dtype) for v in values]  # noqa: E731
    return as_tensors(quotient.numerator), as_tensors(quotient.denominator)


def _chunked(x: Tensor, fit: RationalFit, *, slope: bool, times: Tensor | None = None) -> Tensor:
    """φ or φ' (times a gradient) by blocks that stay in the cache, in buffers that are made once."""
    source = x.detach().contiguous()
    out = torch.empty_like(source)
    flat, result = source.view(-1), out.view(-1)
    factor = times.detach().expand(x.shape).contiguous().view(-1) if times is not None else None
    evaluate = _block_slope if slope else _block_value
    size = min(_CHUNK, flat.numel())
    scratch = torch.empty(4, size, dtype=x.dtype).unbind()
    for start in range(0, flat.numel(), _CHUNK):
        block, target = flat[start : start + _CHUNK], result[start : start + _CHUNK]
        work = scratch if block.numel() == size else [buffer[: block.numel()] for buffer in scratch]
        evaluate(fit.pieces[0], block, target, work)
        for piece in fit.pieces[1:]:
            target += evaluate(piece, block, work[3], work)
        if factor is not None:
            target *= factor[start : start + _CHUNK]
    return out.view(x.shape)


def _ratio(quotient: Quotient, s: Tensor, out: Tensor, bottom: Tensor) -> None:
    """N(s)/Q(s) by Horner, one fused operation a coefficient; Q is monic."""
    numerator, denominator = _constants(quotient, s.dtype)
    torch.add(s, quotient.denominator[1], out=bottom)
    for c in denominator[2:]:
        torch.addcmul(c, bottom, s, out=bottom)
    if len(numerator) == 1:
        out.fill_(quotient.numerator[0])
    else:
        torch.mul(s, quotient.numerator[0], out=out).add_(quotient.numerator[1])
        for c in numerator[2:]:
            torch.addcmul(c, out, s, out=out)
    out.div_(bottom)


def _arguments(piece: Piece, x: Tensor, work: Sequence[Tensor]) -> tuple[Tensor, Tensor, bool]:
    """The distance b, the variable s inside the fit's interval, and whether any entry is beyond the cut."""
    if piece.kind == "odd":
        s = torch.mul(x, x, out=work[0])
        beyond = not bool(s.max() <= piece.cut**2)  # a NaN must not hide a large entry
        return x, s.clamp_(max=piece.cut**2) if beyond else s, beyond
    b = torch.sub(x, piece.origin, out=work[1])
    b = b.neg_() if piece.sign < 0 else b
    return b, torch.clamp(b, piece.low, piece.cut, out=work[0]), not bool(b.max() <= piece.cut)


def _block_value(piece: Piece, x: Tensor, out: Tensor, work: Sequence[Tensor]) -> Tensor:
    b, s, beyond = _arguments(piece, x, work)
    _ratio(piece.value, s, out, work[2])
    if piece.kind == "line":
        out.add_(piece.value.constant).add_(s, alpha=piece.value.line)
    else:
        base = b if piece.kind == "odd" else s
        out.mul_(base).add_(base, alpha=piece.value.constant)
    if beyond:
        far = piece.tail(b.abs().clamp_(min=piece.cut))
        far = torch.copysign(far, b) if piece.kind == "odd" else far
        torch.where((b.abs() if piece.kind == "odd" else b) > piece.cut, far, out, out=out)
    return out.neg_() if piece.sign < 0 else out


def _block_slope(piece: Piece, x: Tensor, out: Tensor, work: Sequence[Tensor]) -> Tensor:
    b, s, beyond = _arguments(piece, x, work)
    _ratio(piece.slope, s, out, work[2])
    out.add_(piece.slope.constant)
    if beyond:
        far = piece.tail_slope(b.abs().clamp_(min=piece.cut))
        torch.where((b.abs() if piece.kind == "odd" else b) > piece.cut, far, out, out=out)
    if piece.kind == "odd":
        return out
    return out.masked_fill_(b <= piece.low if piece.sign < 0 else b < piece.low, 0.0)
