"""Gradient norms of every layer as logarithms, at any depth, without overflow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from firstlight.builders.feature_major import FeatureMajorSequential
from firstlight.builders.layer_gaps import layer_gaps
from firstlight.builders.linear_stack import Trace
from firstlight.doors import checked
from firstlight.errors import DomainError

_SAFE = 1e-15  # far enough above float32's smallest numbers that no entry behind a norm has vanished
_PIECE = 24  # modules between two rescalings; a gradient grows by less than e^88 over so few


@dataclass(frozen=True)
class LogGradients:
    """Log norms of the weight gradients of one backward pass.

    Attributes
    ----------
    names
        Names of the weights (parameters with two or more dimensions), from the input to the output.
    log_norms
        Natural log of the Frobenius norm of each gradient; −inf where the gradient is zero or does not arrive.
    loss
        The value that was differentiated.
    gaps
        Isometry gap of the output of each batch norm (or of the modules asked for), if it was asked for.
    slope, slope_se
        Growth of the log norm per layer towards the input, and its standard error: the larger of that of
        independent residuals and that of independent increments, since log norms along depth are random walks.

    Examples
    --------
    >>> from firstlight.builders import LogGradients
    >>> import torch
    >>> result = LogGradients(("a", "b", "c"), torch.tensor([2.0, 1.0, 0.0]).double(), 0.5)
    >>> round(result.slope, 6)
    1.0
    """

    names: tuple[str, ...]
    log_norms: Float[Tensor, " layers"]
    loss: float
    gaps: dict[str, float] = field(default_factory=dict)

    @property
    def slope(self) -> float:
        """Change of the log norm per layer, counted from the output to the input."""
        return self.trend()[0]

    @property
    def slope_se(self) -> float:
        """Standard error of the slope."""
        return self.trend()[1]

    def trend(self, *, skip: int = 0) -> tuple[float, float]:
        """Slope and its standard error, leaving out the ``skip`` weights nearest to the output.

        Near the output the gradient first loses its symmetric part, which is a fall by at most √2 and no rate.
        """
        y = self.log_norms.flip(0)[skip:]
        y = y[torch.isfinite(y)]
        if len(y) < 3:
            return math.nan, math.nan
        x = torch.arange(len(y), dtype=torch.float64)
        x = x - x.mean()
        slope = (x @ y / (x @ x)).item()
        rest = y - y.mean() - slope * x
        independent = math.sqrt((rest @ rest).item() / (len(y) - 2) / (x @ x).item())
        steps = y.diff()
        walk = steps.std().item() / math.sqrt(len(steps))
        return slope, max(independent, walk)


@checked
def log_gradients(
    model: nn.Sequential,
    inputs: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    gaps: bool | int = False,
    keep: bool = False,
) -> LogGradients:
    """Log norm of the gradient of a loss by every weight of a sequential model, at any depth.

    One plain backward pass where its numbers stay in range. Else the backward pass runs piece by piece; between
    pieces the gradient is brought back to unit size and its log scale carried beside it, so that float32 models
    of a thousand exploding layers give finite numbers.

    Parameters
    ----------
    model
        The layers in order; run in the mode it is in.
    inputs
        A batch.
    loss
        The scalar to differentiate, as a function of the model's output.
    gaps
        Also take the isometry gap of the output of every batch norm (samples × features, smaller Gram matrix),
        to 1e-3 of its value or 1e-6; a whole number takes every so many. A linear network with orthogonal weights
        needs few determinants for it; otherwise a gap costs about as much as two thirds of a layer.
    keep
        Leave the gradients in ``.grad`` as ``backward`` would, at their true scale.

    Returns
    -------
    LogGradients
        One entry per weight, from the input to the output.

    Raises
    ------
    DomainError
        If the loss is no scalar or does not depend on the weights, or the inputs hold NaN or infinity.

    Examples
    --------
    >>> import torch
    >>> from firstlight.builders import isometric_mlp, log_gradients
    >>> model = isometric_mlp(32, None, depth=100, width=32, generator=torch.Generator().manual_seed(0))
    >>> x = torch.randn(40, 32, generator=torch.Generator().manual_seed(1))
    >>> c = torch.randn(40, 32, generator=torch.Generator().manual_seed(2))
    >>> result = log_gradients(model, x, lambda y: (c * y).sum())
    >>> bool(abs(result.slope) < 0.01)
    True
    """
    if not bool(torch.isfinite(inputs).all()):
        raise DomainError(
            "while measuring gradients: expected finite inputs, got NaN or infinity; clean the batch first"
        )
    whole = _whole(model, inputs, loss, gaps, keep)
    if whole is not None:
        return whole
    pieces, tapped = _forward(model, inputs, bool(gaps))
    value = loss(pieces[-1].output)
    _check_loss(value)
    norms = dict(_backward(pieces, value, keep))
    names = [name for name, p in model.named_parameters() if p.ndim >= 2 and p.requires_grad]
    logs = torch.tensor([norms.get(name, -math.inf) for name in names], dtype=torch.float64)
    by_norm: dict[str, float] = {}
    if tapped:
        values = layer_gaps(Trace([y.flatten(1).t() for _, y in tapped]), every=int(gaps))
        by_norm = dict(zip([name for name, _ in tapped][:: int(gaps)], values, strict=True))
    return LogGradients(tuple(names), logs, float(value.detach()), by_norm)


def _check_loss(value: Tensor) -> None:
    if value.ndim != 0 or not value.requires_grad:
        raise DomainError(
            f"while measuring gradients: expected a scalar loss that depends on the weights, got shape "
            f"{tuple(value.shape)}; reduce it with .sum() or .mean()"
        )


def _whole(
    model: nn.Sequential, inputs: Tensor, loss: Callable[[Tensor], Tensor], gaps: bool | int, keep: bool
) -> LogGradients | None:
    """One plain backward pass, several times faster than piece by piece; None if a norm leaves its range."""
    trace = Trace() if gaps else None
    norms_of = [name for name, module in model.named_children() if "BatchNorm" in type(module).__name__]
    if isinstance(model, FeatureMajorSequential):
        output = model.run(inputs, trace=trace)
    elif gaps:
        return None
    else:
        output = model(inputs)
    value = loss(output)
    _check_loss(value)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if trace is not None and len(trace.features) != len(norms_of):
        return None
    found: Sequence[Tensor | None] = torch.autograd.grad(value, [p for _, p in named], allow_unused=True)
    present = [(name, p, g) for (name, p), g in zip(named, found) if g is not None]
    if not present or any(g is None and p.ndim >= 2 for (_, p), g in zip(named, found)):
        return None
    size = torch.stack(torch._foreach_norm([g for _, _, g in present])).double()
    if not bool((torch.isfinite(size) & (size > _SAFE)).all()):
        return None
    if keep:
        for _, p, g in present:
            p.grad = g if p.grad is None else p.grad + g
    matrices = [i for i, (_, p, _) in enumerate(present) if p.ndim >= 2]
    names = tuple(present[i][0] for i in matrices)
    values = layer_gaps(trace, every=int(gaps)) if trace else []
    by_norm = dict(zip(norms_of[:: int(gaps)], values, strict=True)) if trace else {}
    return LogGradients(names, size.log()[matrices].cpu(), float(value.detach()), by_norm)


@dataclass(frozen=True)
class _Piece:
    """A stretch of modules, run on a detached input."""

    weights: list[tuple[str, nn.Parameter]]
    input: Tensor
    output: Tensor


def _forward(model: nn.Sequential, x: Tensor, gaps: bool) -> tuple[list[_Piece], list[tuple[str, Tensor]]]:
    children = list(model.named_children())
    pieces: list[_Piece] = []
    tapped: list[tuple[str, Tensor]] = []
    for start in range(0, len(children), _PIECE):
        part = children[start : start + _PIECE]
        entry = y = x.detach().requires_grad_(x.is_floating_point())
        for name, module in part:
            y = module(y)
            if gaps and "BatchNorm" in type(module).__name__:
                tapped.append((name, y.detach()))
        weights = [
            (f"{name}.{key}", p)
            for name, module in part
            for key, p in module.named_parameters()
            if p.requires_grad
        ]
        pieces.append(_Piece(weights, entry, y))
        x = y
    return pieces, tapped


def _backward(pieces: list[_Piece], value: Tensor, keep: bool) -> Iterator[tuple[str, float]]:
    """Log norms of every parameter's gradient, from the last piece to the first."""
    (grad,) = torch.autograd.grad(value, pieces[-1].output)
    log_scale = 0.0
    for piece in reversed(pieces):
        size = float(torch.linalg.vector_norm(grad, dtype=torch.float64))
        if size > 0 and math.isfinite(size):
            grad = grad / size
            log_scale += math.log(size)
        targets: list[Tensor] = [p for _, p in piece.weights]
        wanted = [*targets, piece.input] if piece.input.requires_grad else targets
        if not wanted:
            continue
        found: Sequence[Tensor | None] = torch.autograd.grad(piece.output, wanted, grad, allow_unused=True)
        present = [(n, p, g) for (n, p), g in zip(piece.weights, found) if g is not None]
        if not present:
            if found[-1] is None:
                return
            grad = found[-1]
            continue
        for (name, p, g), norm in zip(present, torch._foreach_norm([g for _, _, g in present])):
            length = float(norm)
            yield name, (math.log(length) if length > 0 else -math.inf) + log_scale
            if keep:
                true = g * math.exp(min(log_scale, 700.0))
                p.grad = true if p.grad is None else p.grad + true
        if piece.input.requires_grad:
            if found[-1] is None:
                return
            grad = found[-1]
