"""Expression: an element-wise function of one traced tensor, recorded so that theory can replay it."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from firstlight.probe.graph._operations import RANDOM

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
    sloped
        Whether the backward uses the derivative of φ; a custom autograd function may use another.
    learned
        Names of the parameters in it.
    factored
        Whether a learned factor per unit was taken out.
    pure
        Whether φ is made of torch's own functions and plain constants: its key then says all of it, in any audit.
    inner
        What the function was called on, where that is z times a constant.
    """

    key: str = "x"
    apply: Callable[[Tensor], Tensor] = _same
    steps: int = 0
    gain: float = 1.0
    noise: float = 1.0
    linear: bool = True
    scaled: bool = True
    sloped: bool = True
    learned: tuple[str, ...] = ()
    factored: bool = False
    pure: bool = False
    inner: Expression | None = None

    @property
    def scale(self) -> float:
        """The constant that multiplies z before the function is called: 1/β of φ(z/β); 1 where it is not known."""
        return 1.0 if self.inner is None else self.inner.factor

    @property
    def factor(self) -> float:
        """The constant that a scaled function multiplies by."""
        return float(self.apply(torch.ones(1, dtype=torch.float64))[0])

    def times(self, gain: float = 1.0, noise: float = 1.0, learned: tuple[str, ...] = ()) -> Expression:
        """The same function with one more independent factor."""
        return replace(
            self,
            gain=self.gain * gain,
            noise=self.noise * noise,
            learned=self.learned + learned,
            factored=self.factored or bool(learned),
        )

    def with_own_backward(self, name: str) -> Expression:
        """The same function, whose backward is somebody's own."""
        return replace(self, key=f"{name}: {self.key}", sloped=False, scaled=False, linear=False, pure=False)


IDENTITY = Expression(pure=True)
_PLAIN = (bool, int, float, str, type(None))


def _is_torchs(func: Callable[..., object]) -> bool:
    written = isinstance(func, types.FunctionType)
    return not written or func.__module__.startswith("torch.")


def _is_number(value: object) -> bool:
    """Whether a value is a number as the tracer copies it from a tensor with one entry: nobody else writes it."""
    return isinstance(value, Tensor) and value.dtype == torch.float64 and value.numel() == 1


def _is_pure(value: object) -> bool:
    if isinstance(value, Expression):
        return value.pure
    return type(value) in _PLAIN or _is_number(value)


def _text(value: object) -> str:
    """An argument in a key: of a number in a tensor all digits, since a tensor shows four of them."""
    if isinstance(value, Expression):
        return value.key
    if isinstance(value, Tensor) and _is_number(value):
        return f"{value.item()!r}{list(value.shape) or ''}"
    return repr(value)


def compose(
    func: Callable[..., Any],
    name: str,
    args: tuple[object, ...],
    kwargs: dict[str, object],
    learned: tuple[str, ...] = (),
) -> Expression | None:
    """Record ``func(*args, **kwargs)`` where every argument is an Expression, a scalar or a plain option.

    ``learned`` names the parameters among the scalars. Returns None if the result would be too long for an activation.
    Returns None too if a random or learned factor has already been taken out: φ of a random factor is not element-wise
    in z alone.
    """
    inner = [a for a in (*args, *kwargs.values()) if isinstance(a, Expression)]
    steps = 1 + sum(e.steps for e in inner)
    if steps > MAX_STEPS or any(e.gain != 1.0 or e.noise != 1.0 for e in inner):
        return None
    texts = [*map(_text, args), *(f"{k}={_text(v)}" for k, v in kwargs.items())]

    def apply(t: Tensor) -> Tensor:
        # in-place functions write into their first argument: give them a copy
        values = [a.apply(t).clone() if isinstance(a, Expression) else _cast(a, t) for a in args]
        named = {k: v.apply(t) if isinstance(v, Expression) else _cast(v, t) for k, v in kwargs.items()}
        return func(*values, **named)

    return Expression(
        f"{name}({', '.join(texts)})",
        apply,
        steps,
        linear=False,
        scaled=_scales(name, args, inner),
        sloped=all(e.sloped for e in inner),
        learned=tuple(dict.fromkeys([p for e in inner for p in e.learned] + list(learned))),
        pure=_is_torchs(func) and all(map(_is_pure, (*args, *kwargs.values()))),
        inner=inner[0]
        if len(inner) == 1 and inner[0].scaled and inner[0].steps and not inner[0].learned
        else None,
    )


def _scales(name: str, args: tuple[object, ...], inner: list[Expression]) -> bool:
    """Whether a step multiplies one scaled tensor by a constant."""
    if len(inner) != 1 or not inner[0].scaled:
        return False
    other = args[1 if args[0] is inner[0] else 0] if len(args) == 2 else None
    by_number = len(args) == 2 and (not isinstance(other, Tensor) or other.numel() == 1)
    if name in ("mul", "multiply", "rmul"):
        return by_number
    divides = name in ("div", "divide", "truediv", "true_divide") and args[0] is inner[0]
    return name in ("neg", "negative", "positive") or (divides and by_number)


def _cast(value: object, like: Tensor) -> Any:
    """Options pass as they are; a one-element tensor follows the dtype and device of the replay."""
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.to(like)
    return value


def scalar(value: Tensor) -> Any:
    """A one-element tensor as a constant of an expression (a learned slope, a scale)."""
    return value.detach().double().cpu().reshape(()).item() if value.numel() == 1 else None


def from_function(
    func: Callable[..., object], name: str, args: tuple[object, ...], kwargs: dict[str, object]
) -> Expression | None:
    """A torch function that is not known by name as an expression, if it is one entry by entry.

    The test runs it again on nine numbers: permuting the numbers must permute the result, and each number alone must
    give the same.
    """
    expression = compose(func, name, args, kwargs)
    if expression is None or any(word in name for word in RANDOM):
        return None
    return expression if _entry_by_entry(expression) else None


def says_its_activation(module: torch.nn.Module) -> bool:
    """Whether a module of this package is one activation, whatever the steps of its formula."""
    return type(module).__module__.startswith("firstlight.activations.") and hasattr(
        type(module), "as_activation"
    )


def from_module(module: torch.nn.Module, name: str) -> Expression | None:
    """A module without state as an element-wise expression, if it behaves as one on nine numbers.

    Only modules of torch and of this package are run again: nobody knows what others remember or draw.
    """
    if not type(module).__module__.startswith(("torch.nn.", "firstlight.")) or "Dropout" in name:
        return None
    parameter = next(module.parameters(), None)
    whole: Any = module  # a module's own methods are not among the tensors and modules that torch declares
    said = whole.as_activation() if says_its_activation(module) else None

    def apply(t: Tensor) -> Tensor:
        if said is not None:
            return cast(Tensor, said(t))
        like = t if parameter is None else parameter
        result: Tensor = type(module).forward(module, t.to(like).clone()).to(t)
        return result

    expression = Expression(f"{name}@{id(module)}(x)", apply, 1, linear=False, scaled=False)
    return expression if _entry_by_entry(expression) else None


_ERRORS = (RuntimeError, TypeError, ValueError, IndexError, AttributeError, NotImplementedError)


def _entry_by_entry(expression: Expression) -> bool:
    """Whether a function treats each of nine numbers alone, and draws nothing."""
    probe = torch.tensor([-3.1, -1.7, -0.9, -0.3, 0.0, 0.4, 1.1, 1.9, 3.3])
    order = torch.tensor([4, 8, 0, 3, 7, 1, 5, 2, 6])
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a function says of nine numbers is no news
            before = torch.get_rng_state()
            whole = expression.apply(probe.unsqueeze(0))[0]
            mixed = expression.apply(probe[order].unsqueeze(0))[0]
            single = expression.apply(probe[2:3].unsqueeze(0))[0]
            if not torch.equal(before, torch.get_rng_state()):
                return False
    except _ERRORS:
        return False
    if not isinstance(whole, Tensor) or whole.shape != probe.shape or whole.is_complex():
        return False
    whole, mixed, single = (t.float() for t in (whole, mixed, single))
    return all(
        torch.allclose(a, b, atol=1e-5, equal_nan=True)
        for a, b in ((whole[order], mixed), (single, whole[2:3]))
    )


def agrees(expression: Expression, source: Tensor, output: Tensor) -> bool:
    """Whether an expression gives what was computed, on entries spread over the tensor.

    A few numbers can mistake a module that looks at shapes (padding that shifts rows) for an element-wise
    one; the tensor that it ran on cannot.
    """
    given, got = _spread(source, 509), _spread(output, 509).float()
    try:
        with torch.no_grad():
            expected = expression.apply(given.unsqueeze(0))[0].float()
    except _ERRORS:
        return False
    # half precision keeps 8 bits
    atol = 1e-2 * float(got.abs().nan_to_num(posinf=0.0).mean())
    return expected.shape == got.shape and torch.allclose(expected, got, rtol=1e-2, atol=atol, equal_nan=True)


def follows(source: Tensor, output: Tensor) -> bool:
    """Whether a result is a bent function of its source entry by entry, judged by what was computed alone.

    Sorted by the source, the results of neighbours must lie close together, apart from few jumps; a result
    that is the source times a constant is no activation.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    >>> follows(x, x.clamp_min(0)), follows(x, x.cumsum(1)), follows(x, 2 * x), follows(x, x.flip(0))
    (True, False, False, False)
    """
    if source.shape != output.shape or source.numel() < 64:
        return False
    x, y = _spread(source, 4093).double(), _spread(output, 4093).double()
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        return False
    x, order = x.sort()
    y = y[order]
    spread = float((y.amax() - y.amin()).clamp_min(1e-300))
    scale = float((x * y).sum() / x.square().sum().clamp_min(1e-300))
    if spread < 1e-12 or float((y - scale * x).abs().amax()) < 1e-4 * spread:
        return False
    steps = y.diff().abs()
    # a function of n sorted points moves by its variation; a shuffled one moves by a third of its range a step
    return float(steps.sum()) < 0.02 * spread * len(steps)


def _spread(tensor: Tensor, count: int) -> Tensor:
    """About ``count`` entries, spread over the tensor."""
    flat = tensor.detach().reshape(-1)
    return flat[:: max(1, len(flat) // count)]
