"""Expression: an element-wise function of one traced tensor, recorded so that theory can replay it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

# Past this many steps a composed function is a computation of its own, not somebody's activation.
MAX_STEPS = 48


def _same(t: Tensor) -> Tensor:
    return t


@dataclass(frozen=True)
class Expression:
    """φ such that a tensor is ``φ(z)`` entry by entry, times a random or learned factor of second moment ``gain``.

    Attributes
    ----------
    key
        A text that two expressions share exactly when they are the same function.
    apply
        The function on a tensor of any shape; it never writes into its argument.
    steps
        How many operations were composed; 0 for the identity.
    gain
        Second moment of the learned factors per unit that theory treats as independent of z (mean γ²).
    noise
        Second moment of random factors of mean one that differ between samples (1/(1−p) for dropout).
    linear
        Whether φ is the identity, so that the tensor's law is the source's own.
    scaled
        Whether φ multiplies by a constant, so that a row of its own would say nothing new.
    """

    key: str = "x"
    apply: Callable[[Tensor], Tensor] = _same
    steps: int = 0
    gain: float = 1.0
    noise: float = 1.0
    linear: bool = True
    scaled: bool = True

    def times(self, gain: float = 1.0, noise: float = 1.0) -> Expression:
        """The same function with one more independent factor."""
        return replace(self, gain=self.gain * gain, noise=self.noise * noise)


IDENTITY = Expression()


def compose(
    func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Expression | None:
    """Record ``func(*args, **kwargs)`` where every argument is an Expression, a scalar or a plain option.

    Returns None when the result would be too long to be an activation, or when a random or learned
    factor has already been taken out, since φ of a random factor is not element-wise in z alone.
    """
    inner = [a for a in (*args, *kwargs.values()) if isinstance(a, Expression)]
    steps = 1 + sum(e.steps for e in inner)
    if steps > MAX_STEPS or any(e.gain != 1.0 or e.noise != 1.0 for e in inner):
        return None
    texts = [a.key if isinstance(a, Expression) else repr(a) for a in args]
    texts += [f"{k}={v.key if isinstance(v, Expression) else repr(v)}" for k, v in kwargs.items()]

    def apply(t: Tensor) -> Tensor:
        # in-place functions write into their first argument: give them a copy
        values = [a.apply(t).clone() if isinstance(a, Expression) else _cast(a, t) for a in args]
        named = {k: v.apply(t) if isinstance(v, Expression) else _cast(v, t) for k, v in kwargs.items()}
        return func(*values, **named)

    return Expression(
        f"{name}({', '.join(texts)})", apply, steps, linear=False, scaled=_scales(name, args, inner)
    )


def _scales(name: str, args: tuple[Any, ...], inner: list[Expression]) -> bool:
    """Whether a step multiplies one scaled tensor by a constant."""
    if len(inner) != 1 or not inner[0].scaled:
        return False
    by_number = len(args) == 2 and not isinstance(args[1 if args[0] is inner[0] else 0], Tensor)
    if name in ("mul", "multiply", "rmul"):
        return by_number
    divides = name in ("div", "divide", "truediv", "true_divide") and args[0] is inner[0]
    return name in ("neg", "negative", "positive") or (divides and by_number)


def _cast(value: Any, like: Tensor) -> Any:
    """Options pass as they are; a one-element tensor follows the dtype and device of the replay."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(like)
    return value


def scalar(value: Tensor) -> Any:
    """A one-element tensor as a constant of an expression (a learned slope, a scale)."""
    return value.detach().double().cpu().reshape(()).item() if value.numel() == 1 else None


def from_module(module: torch.nn.Module, name: str) -> Expression | None:
    """A module as an element-wise expression, if it behaves as one on a probe of nine numbers.

    The module is element-wise when permuting its input permutes its output and when each entry alone
    gives the same value. It is run without gradient tracking on a copy of nothing but the probe.
    """
    probe = torch.tensor([-3.1, -1.7, -0.9, -0.3, 0.0, 0.4, 1.1, 1.9, 3.3])
    order = torch.tensor([4, 8, 0, 3, 7, 1, 5, 2, 6])
    parameter = next(module.parameters(), None)
    like = parameter if parameter is not None else probe

    def apply(t: Tensor) -> Tensor:
        return module(t.to(like).clone() if parameter is not None else t.clone()).to(t)

    try:
        with torch.no_grad():
            whole = apply(probe.unsqueeze(0))[0]
            mixed = apply(probe[order].unsqueeze(0))[0]
            single = apply(probe[2:3].unsqueeze(0))[0]
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, NotImplementedError):
        return None
    if whole.shape != probe.shape or not torch.isfinite(whole).all():
        return None
    close = torch.allclose(whole[order], mixed, atol=1e-5) and torch.allclose(single, whole[2:3], atol=1e-5)
    if not close:
        return None
    return Expression(f"{name}@{id(module)}(x)", apply, 1, linear=False, scaled=False)


def agrees(expression: Expression, source: Tensor, output: Tensor) -> bool:
    """Whether an expression gives what was computed, on entries spread over the tensor.

    A few numbers can mistake a module that looks at shapes (padding that shifts rows) for an element-wise
    one; the tensor that it ran on cannot.
    """
    step = max(1, source.numel() // 509)
    given, got = (t.detach().reshape(-1)[::step] for t in (source, output))
    try:
        with torch.no_grad():
            expected = expression.apply(given.unsqueeze(0))[0].float()
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, NotImplementedError):
        return False
    got = got.float()
    # half precision keeps 8 bits
    atol = 1e-2 * float(got.abs().nan_to_num(posinf=0.0).mean())
    return expected.shape == got.shape and torch.allclose(expected, got, rtol=1e-2, atol=atol, equal_nan=True)
