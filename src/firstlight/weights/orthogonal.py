"""Initialisers that write Haar-orthogonal weights into tensors and modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from firstlight.errors import DomainError
from firstlight.weights.haar import Determinant, haar


@torch.no_grad()
def orthogonal_(
    target: Tensor | nn.Module,
    *,
    gain: float | int = 1.0,
    det: Determinant | None = None,
    generator: torch.Generator | None = None,
) -> Tensor | nn.Module:
    """Write Haar-orthogonal weights into a tensor, or into every linear and convolutional layer of a module.

    Matrices of one shape are drawn together, which is faster than ``nn.init.orthogonal_`` one by one.
    A convolution gets a delta-orthogonal kernel: an orthogonal matrix at the centre and zeros elsewhere,
    so that the whole convolution, not its unfolded matrix, preserves norms. Biases are left as they are.

    Parameters
    ----------
    target
        A weight ``(out, in, *kernel)``, or a module whose ``nn.Linear`` and ``nn.Conv*`` weights are written.
    gain
        Factor on every weight.
    det
        As for `haar`, for square weights; rectangular ones ignore it.
    generator
        Where the random numbers come from.

    Returns
    -------
    Tensor or nn.Module
        The target.

    Raises
    ------
    DomainError
        If a weight has fewer than two dimensions, a convolution reduces channels or has groups (no
        norm-preserving kernel exists), or a module has no weight to write.

    References
    ----------
    Xiao et al., "Dynamical Isometry and a Mean Field Theory of CNNs", ICML 2018, algorithm 1.

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
    weights = [target] if isinstance(target, Tensor) else list(_weights(target))
    if not weights:
        raise DomainError(
            f"while initialising orthogonally: expected a module with linear or convolutional layers, got "
            f"{type(target).__name__} without one; pass the layer's weight instead"
        )
    shapes: dict[tuple[int, int], list[Tensor]] = {}
    for weight in weights:
        if weight.ndim < 2:
            raise DomainError(
                f"while initialising orthogonally: expected a weight (out, in, *kernel), got shape "
                f"{tuple(weight.shape)}; biases and norms have no orthogonal matrix"
            )
        shapes.setdefault((weight.shape[0], weight.shape[1]), []).append(weight)
    for (rows, columns), group in shapes.items():
        wanted = det if rows == columns else None
        dtype = torch.float64 if any(w.dtype == torch.float64 for w in group) else torch.float32
        drawn = haar(rows, columns, count=len(group), det=wanted, generator=generator, dtype=dtype)
        for weight, matrix in zip(group, drawn, strict=True):
            _place(weight, gain * matrix)
    return target


def delta_orthogonal_(
    weight: Tensor, *, gain: float | int = 1.0, generator: torch.Generator | None = None
) -> Tensor:
    """Write a delta-orthogonal kernel into a convolution's weight ``(out, in, *kernel)``; see `orthogonal_`.

    Examples
    --------
    >>> import torch
    >>> from firstlight.weights import delta_orthogonal_
    >>> kernel = delta_orthogonal_(torch.empty(4, 4, 3, 3))
    >>> [int(n) for n in kernel.abs().sum((0, 1)).count_nonzero(1)]
    [0, 1, 0]
    """
    orthogonal_(weight, gain=gain, generator=generator)
    return weight


def _weights(module: nn.Module) -> Iterator[Tensor]:
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            if getattr(layer, "groups", 1) != 1:
                raise DomainError(
                    f"while initialising orthogonally: expected a convolution of one group, got {layer}; "
                    "give its weight another law"
                )
            yield layer.weight


def _place(weight: Tensor, matrix: Tensor) -> None:
    if weight.ndim == 2:
        weight.copy_(matrix)
        return
    if weight.shape[0] < weight.shape[1]:
        raise DomainError(
            f"while initialising orthogonally: expected a convolution with at least as many output as input "
            f"channels, got weight {tuple(weight.shape)}; widen it, or pass its matrix to `haar`"
        )
    weight.zero_()
    centre = weight
    for size in weight.shape[2:]:
        centre = centre.select(2, (size - 1) // 2)
    centre.copy_(matrix)


@torch.no_grad()
def xavier_(modules: nn.Module | Iterable[Any], *, generator: torch.Generator | None = None) -> None:
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
