"""Initialisers that write Haar-orthogonal weights into tensors and modules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.weights.haar import Determinant, haar

_CONVOLUTIONS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


@dataclass(frozen=True)
class _Slot:
    """A weight and where its matrices go: ``groups`` of them, over ``taps`` entries of the kernel a dimension."""

    weight: Tensor
    groups: int
    taps: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Of one matrix."""
        return self.weight.shape[0] // self.groups, self.weight.shape[1] * math.prod(self.taps)

    def write(self, matrices: Tensor) -> None:
        """Put the stacked matrices into the middle of the kernel, and zeros elsewhere."""
        self.weight.zero_()
        middle = self.weight
        for dimension, (size, taps) in enumerate(zip(self.weight.shape[2:], self.taps, strict=True), start=2):
            middle = middle.narrow(dimension, (size - taps) // 2, taps)
        middle.copy_(matrices.reshape(middle.shape))


@checked
@clean
@torch.no_grad()
def orthogonal_(
    target: Tensor | nn.Module,
    *,
    gain: float = 1.0,
    det: Determinant | None = None,
    generator: torch.Generator | None = None,
) -> Tensor | nn.Module:
    r"""Write Haar-orthogonal weights into a tensor, or into every linear and convolutional layer of a module.

    Matrices of one shape are drawn together, which is faster than ``nn.init.orthogonal_`` one by one. What is
    orthogonal is a matrix A of ``rows`` × ``columns``, times the gain: its columns are orthonormal if rows ≥ columns,
    its rows otherwise.

    - Linear: A is the weight.
    - Convolution of stride 1: A (out × in channels) stands in the middle of the kernel, zeros elsewhere
      (delta-orthogonal). So the whole convolution, not its unfolded matrix, keeps norms if out ≥ in; if out < in, the
      convolution is the transpose of such a map, keeps what lies in the span of its rows and drops the rest.
    - Stride s > 1 without dilation: A is out × (in · taps), over the middle min(kernel, s) taps of each dimension.
      These taps do not overlap, so the convolution is orthogonal again.
    - Groups: one independent A for each group, of the channels of the group.
    - Transposed convolution: the transpose of the convolution from its outputs to its inputs. So it keeps norms if
      in ≤ out · taps.

    The statements hold without padding of other values than the signal's: circular, or where the middle taps stay
    inside. Biases are left as they are.

    Parameters
    ----------
    target
        A weight ``(out, in, *kernel)``, taken as one of stride 1 without groups; or a module whose ``nn.Linear``,
        ``nn.Conv*`` and ``nn.ConvTranspose*`` weights are written.
    gain
        Factor on every weight.
    det
        As for `haar`, for square matrices; rectangular ones ignore it.
    generator
        Where the random numbers come from.

    Returns
    -------
    Tensor or nn.Module
        The target.

    Raises
    ------
    DomainError
        If a weight has fewer than two dimensions or is computed from others, or a module has no weight to write.
        Nothing is written then.

    References
    ----------
    Xiao et al., "Dynamical Isometry and a Mean Field Theory of CNNs", ICML 2018, algorithm 1 (stride 1, out ≥ in).

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from firstlight.weights import orthogonal_
    >>> model = orthogonal_(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4)))
    >>> w = model[1].weight
    >>> torch.allclose(w @ w.T, torch.eye(4), atol=1e-6)
    True
    """
    slots = [_slot(target, "tensor")] if isinstance(target, Tensor) else list(_slots(target))
    if not slots:
        raise DomainError(
            f"while initialising orthogonally: expected a module with linear or convolutional layers, got "
            f"{type(target).__name__} without one; pass the layer's weight instead"
        )
    shapes: dict[tuple[int, int], list[_Slot]] = {}
    for slot in slots:
        shapes.setdefault(slot.shape, []).append(slot)
    for (rows, columns), alike in shapes.items():
        dtype = torch.float64 if any(slot.weight.dtype == torch.float64 for slot in alike) else torch.float32
        drawn = haar(
            rows,
            columns,
            count=sum(slot.groups for slot in alike),
            det=det if rows == columns else None,
            generator=generator,
            dtype=dtype,
        )
        for slot, matrices in zip(alike, drawn.split([slot.groups for slot in alike]), strict=True):
            slot.write(gain * matrices)
    return target


@checked
@clean
@torch.no_grad()
def delta_orthogonal_(
    weight: Tensor,
    *,
    gain: float = 1.0,
    groups: int = 1,
    taps: tuple[int, ...] | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Write a delta-orthogonal kernel into a convolution's weight ``(out, in, *kernel)``; see `orthogonal_`.

    Parameters
    ----------
    weight
        The kernel, changed in place.
    gain, generator
        As for `orthogonal_`.
    groups
        Groups of the convolution, each with a matrix of its own.
    taps
        Entries of the kernel a dimension that a matrix is spread over; the middle one alone by default. With a stride
        s, min(kernel, s) taps do not overlap.

    Examples
    --------
    >>> import torch
    >>> from firstlight.weights import delta_orthogonal_
    >>> kernel = delta_orthogonal_(torch.empty(4, 4, 3, 3))
    >>> [int(n) for n in kernel.abs().sum((0, 1)).count_nonzero(1)]
    [0, 1, 0]
    """
    slot = _slot(weight, "tensor", groups, taps)
    dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
    slot.write(gain * haar(*slot.shape, count=groups, generator=generator, dtype=dtype))
    return weight


def _slots(module: nn.Module) -> Iterator[_Slot]:
    seen: set[int] = set()
    for name, layer in module.named_modules():
        if not isinstance(layer, (nn.Linear, *_CONVOLUTIONS)):
            continue
        label = f"{name or 'module'} ({type(layer).__name__})"
        weight = layer._parameters.get("weight")
        if weight is None or isinstance(weight, UninitializedParameter):
            raise DomainError(
                f"while initialising {label} orthogonally: expected a weight of its own, got one that is computed from "
                "others or has no shape yet; remove the parametrisation, or run one batch first"
            )
        if id(weight) in seen:
            continue
        seen.add(id(weight))
        if isinstance(layer, nn.Linear):
            yield _slot(weight, label)
        else:
            strides = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
            taps = tuple(min(k, s) if d == 1 else 1 for k, s, d in strides)
            yield _slot(weight, label, layer.groups, taps)


def _slot(weight: Tensor, label: str, groups: int = 1, taps: tuple[int, ...] | None = None) -> _Slot:
    if weight.ndim < 2:
        raise DomainError(
            f"while initialising {label} orthogonally: expected a weight (out, in, *kernel), got shape "
            f"{tuple(weight.shape)}; biases and norms have no orthogonal matrix"
        )
    return _Slot(weight, groups, (1,) * (weight.ndim - 2) if taps is None else taps)


@torch.no_grad()
def xavier_(modules: nn.Module | Iterable[object], *, generator: torch.Generator | None = None) -> None:
    """Write Gaussian weights of variance 2/(fan-in + fan-out) into linear layers: what explodes, to compare.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from firstlight.weights.orthogonal import xavier_
    >>> layer = nn.Linear(1000, 1000)
    >>> xavier_(layer, generator=torch.Generator().manual_seed(0))
    >>> round(layer.weight.std().item() * 1000**0.5, 2)
    1.0
    """
    layers = modules.modules() if isinstance(modules, nn.Module) else modules
    for layer in layers:
        if isinstance(layer, nn.Linear):
            layer.weight.normal_(0.0, (2 / sum(layer.weight.shape)) ** 0.5, generator=generator)
