"""Batch normalisation as the theory has it: with or without centring, unit norm or unit variance."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from firstlight.doors import checked
from firstlight.errors import DomainError

Scale = Literal["sqrt_n", "unit"]


class BatchNorm(nn.Module):
    r"""Batch normalisation of each feature, with or without centring, at either of two scales.

    .. math:: \mathrm{BN}(x)_{ij} = c\,\frac{x_{ij} - m_j}{\sqrt{\tfrac1n \sum_i (x_{ij} - m_j)^2 + ε}}

    over the n samples (and positions) i of feature j, where m is the mean, or 0 without centring. The scale is
    c = 1 for ``"sqrt_n"`` (each feature has norm √n, unit second moment) and c = 1/√n for ``"unit"`` (each
    feature has norm 1); the two differ by this constant only.

    In evaluation the statistics are, in this order: those of ``firstlight.builders.recalibrate_``; running
    averages if they are tracked; else those of the batch. Running averages are poor statistics for a deep
    linear network, because each layer's average was taken while all layers before it were others.

    Parameters
    ----------
    num_features
        Number d of features: the second dimension of the input.
    centred
        Subtract the mean, as torch does. Without centring n = d samples keep their rank.
    scale
        ``"sqrt_n"`` or ``"unit"``.
    eps
        ε. The default is felt only by features that are constant; with 0 those become NaN.
    affine
        Learn a factor and, with centring, a shift per feature.
    track_running_stats
        Keep running averages while training, with this ``momentum`` on the newest batch.
    momentum
        Weight of the newest batch in the running averages.

    Raises
    ------
    DomainError
        If the input is not ``(n, d)`` or ``(n, d, *positions)`` with this d, or if in training a feature has
        only one entry, which normalises to its sign or to zero.

    References
    ----------
    Meterez et al., ICLR 2024, section 3 (no centring, no ε); Ioffe and Szegedy, ICML 2015.

    Examples
    --------
    >>> import torch
    >>> from firstlight.builders import BatchNorm
    >>> x = torch.tensor([[3.0, 1.0], [4.0, 1.0]])
    >>> BatchNorm(2, centred=False, scale="unit")(x)
    tensor([[0.6000, 0.7071],
            [0.8000, 0.7071]])
    """

    mean: Tensor
    square: Tensor
    state: Tensor

    @checked
    def __init__(
        self,
        num_features: int,
        *,
        centred: bool = True,
        scale: Scale = "sqrt_n",
        eps: float = 1e-12,
        affine: bool = False,
        track_running_stats: bool = False,
        momentum: float = 0.1,
    ) -> None:
        super().__init__()
        if scale not in get_args(Scale):
            raise DomainError(
                f"while making a BatchNorm: expected scale 'sqrt_n' or 'unit', got {scale!r}; "
                "torch's own batch norm has 'sqrt_n'"
            )
        if num_features < 1 or eps < 0 or not 0 < momentum <= 1:
            raise DomainError(
                f"while making a BatchNorm: expected num_features ≥ 1, eps ≥ 0 and momentum in (0, 1], got "
                f"{num_features}, {eps} and {momentum}; see the parameters"
            )
        self.num_features, self.centred, self.scale, self.eps = num_features, centred, scale, eps
        self.track_running_stats, self.momentum = track_running_stats, momentum
        self.weight = nn.Parameter(torch.ones(num_features)) if affine else None
        self.bias = nn.Parameter(torch.zeros(num_features)) if affine and centred else None
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("square", torch.ones(num_features))
        # statistics held (0 none, 1 running, 2 recalibrated) and the batch size that fixes the unit scale
        self.register_buffer("state", torch.zeros(2, dtype=torch.long))
        self._recording = False

    def forward(self, x: Float[Tensor, "n d *positions"]) -> Float[Tensor, "n d *positions"]:
        """Normalise over samples and positions.

        Raises
        ------
        DomainError
            If the second dimension has another number of features, or training sees one entry per feature.
        """
        if x.ndim < 2 or x.shape[1] != self.num_features:
            raise DomainError(
                f"while batch-normalising: expected (samples, {self.num_features}, *positions), got shape "
                f"{tuple(x.shape)}; the second dimension counts features"
            )
        if self.training or self._recording:
            if x.numel() <= self.num_features:
                raise DomainError(
                    f"while batch-normalising in training: expected at least two entries per feature, got "
                    f"{x.numel() // self.num_features} from shape {tuple(x.shape)}; use a larger batch, or "
                    "recalibrate and call eval()"
                )
            if self._recording or self.track_running_stats or self.scale == "unit":
                self._observe(x)
            return self._affine(self._by_batch(x))
        if self.holds == "nothing":
            return self._affine(self._by_batch(x))
        return self._affine(self._by_statistics(x))

    @property
    def holds(self) -> str:
        """Which statistics evaluation uses: ``"nothing"`` (the batch's), ``"running"``, ``"recalibrated"``."""
        return ("nothing", "running", "recalibrated")[int(self.state[0])]

    def extra_repr(self) -> str:
        """What tells one batch norm from another."""
        return f"{self.num_features}, centred={self.centred}, scale={self.scale!r}, eps={self.eps:g}"

    def _by_batch(self, x: Tensor) -> Tensor:
        if torch._C._len_torch_function_stack() > 0 or torch.compiler.is_compiling():
            return self._plainly(x)
        # batch norm is layer norm of the transpose: one fused kernel over contiguous features
        rows = x.transpose(0, 1).reshape(self.num_features, -1)
        count = rows.shape[1]
        if self.centred:
            y = functional.layer_norm(rows, (count,), None, None, self.eps)
        else:
            y, _ = _RootMeanSquare.apply(rows, self.eps)
        if self.scale == "unit":
            y = y / math.sqrt(self._unit_count(x))
        if x.ndim == 2:
            return y.transpose(0, 1)
        return y.reshape(self.num_features, x.shape[0], *x.shape[2:]).transpose(0, 1)

    def _plainly(self, x: Tensor) -> Tensor:
        """The same by torch's own names, for those who watch functions go by."""
        if self.centred:
            y = functional.batch_norm(x, None, None, None, None, True, 0.0, self.eps)
        else:
            axes = [axis for axis in range(x.ndim) if axis != 1]
            y = x * torch.rsqrt(x.square().mean(dim=axes, keepdim=True) + self.eps)
        return y / math.sqrt(self._unit_count(x)) if self.scale == "unit" else y

    def _unit_count(self, x: Tensor) -> int:
        """Entries per feature that the unit norm is spread over: the last training batch's, if there was one."""
        return int(self.state[1]) or x.numel() // self.num_features

    def _by_statistics(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        factor = torch.rsqrt(self.square + self.eps)
        if self.scale == "unit":
            factor = factor / math.sqrt(self._unit_count(x))
        centred = x - self.mean.view(shape) if self.centred else x
        return centred * factor.view(shape)

    def _affine(self, y: Tensor) -> Tensor:
        if self.weight is None:
            return y
        shape = (1, -1) + (1,) * (y.ndim - 2)
        y = y * self.weight.view(shape)
        return y if self.bias is None else y + self.bias.view(shape)

    @torch.no_grad()
    def _observe(self, x: Tensor) -> None:
        """Take in the statistics of a batch."""
        if not self._recording and not self.track_running_stats:
            self._count(x.numel() // self.num_features)
            return
        rows = x.transpose(0, 1).reshape(self.num_features, -1)
        mean = rows.mean(dim=1) if self.centred else torch.zeros_like(self.mean)
        self.take_in(mean, (rows - mean[:, None]).square().mean(dim=1), rows.shape[1])

    @torch.no_grad()
    def take_in(self, mean: Float[Tensor, " d"], square: Float[Tensor, " d"], count: int) -> None:
        """The mean (0 without centring) and mean square about it of ``count`` entries per feature.

        They become the newest of a running average, or the recalibrated statistics.
        """
        self._count(count)
        share = 1.0 if self._recording or int(self.state[0]) == 0 else self.momentum
        self.mean.lerp_(mean.to(self.mean), share)
        self.square.lerp_(square.to(self.square), share)
        self.state[0] = 2 if self._recording else 1

    def _count(self, entries: int) -> None:
        if not self._recording or int(self.state[1]) == 0:
            self.state[1] = entries


@torch.no_grad()
def take_in_all(norms: list[BatchNorm], means: list[Tensor], squares: list[Tensor], count: int) -> None:
    """`BatchNorm.take_in` for many norms; in a few calls where all of them already hold running averages."""
    momenta = {norm.momentum for norm in norms}
    states = torch.stack([norm.state for norm in norms])
    steady = len(momenta) == 1 and bool((states == states.new_tensor([1, count])).all())
    if not steady:
        for norm, mean, square in zip(norms, means, squares, strict=True):
            norm.take_in(mean, square, count)
        return
    share = momenta.pop()
    torch._foreach_lerp_([norm.mean for norm in norms], means, share)
    torch._foreach_lerp_([norm.square for norm in norms], squares, share)


class _RootMeanSquare(torch.autograd.Function):
    """Rows over their root mean square, and the factors; torch's rms_norm has no fused backward on the CPU."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Both outputs; the factors are constants to autograd."""
        factor = _factor(rows, eps)
        ctx.save_for_backward(rows, factor)
        ctx.mark_non_differentiable(factor)
        ctx.eps = eps
        return rows * factor, factor

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None]:
        """The gradient of the rows."""
        rows, factor = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative needs the factor as a function of the rows
            factor = _factor(rows, ctx.eps)
        y = rows * factor
        along = torch.linalg.vecdot(grad, y).unsqueeze(1) / y.shape[1]
        return torch.addcmul(grad, y, along, value=-1) * factor, None


def _factor(rows: Tensor, eps: float) -> Tensor:
    count = rows.shape[1]
    if eps == 0:
        return math.sqrt(count) / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return torch.rsqrt(torch.linalg.vecdot(rows, rows).unsqueeze(1) / count + eps)
