"""The construction applied to a model that exists: orthogonal weights and falling gains, in place."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from firstlight.builders.batch_norm import BatchNorm
from firstlight.builders.dense import activation_module
from firstlight.builders.shaping import ShapedActivation, power_gains
from firstlight.clean_room import clean
from firstlight.errors import DomainError
from firstlight.weights.orthogonal import orthogonal_

# activations that a gain cannot tame: homogeneous or kinked at 0, so their growth does not fall with the gain
_KINKED = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ReLU6, nn.ELU, nn.SELU, nn.CELU, nn.Threshold)
_SMOOTH = (nn.Tanh, nn.Softsign, nn.GELU, nn.SiLU, nn.Mish, nn.Tanhshrink, nn.Sigmoid, nn.Softplus)


@clean
@torch.no_grad()
def make_isometric_(
    model: nn.Module,
    *,
    gain_exponent: float = 0.4,
    replacement: str = "tanh",
    generator: torch.Generator | None = None,
) -> list[str]:
    """Stop batch norm from exploding gradients: orthogonal weights and gains ℓ^{−γ}, in place.

    Every linear and convolutional layer, transposed ones included, gets Haar-orthogonal weights. Every activation
    module gets a gain that falls with its place in the model; those with a kink at 0, whose growth no gain reduces,
    are replaced.

    Parameters
    ----------
    model
        A model whose activations are modules, in the order of execution.
    gain_exponent
        γ; ``theory.batchnorm.choose_gamma`` gives the smallest that works.
    replacement
        Name of the smooth odd activation that stands in for kinked ones.
    generator
        Where the random weights come from.

    Returns
    -------
    list of str
        What was changed, one line each.

    Raises
    ------
    DomainError
        If the model has no batch norm, or no weight that can be orthogonal.

    References
    ----------
    Meterez et al., ICLR 2024, section 5.

    Examples
    --------
    >>> from torch import nn
    >>> from firstlight.fixing.remedies import make_isometric_
    >>> model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    >>> for line in make_isometric_(model):
    ...     print(line)
    2: ReLU became Tanh with gain 1
    2 weights became Haar-orthogonal
    """
    if not any(isinstance(m, BatchNorm | _BatchNorm) for m in model.modules()):
        raise DomainError(
            f"while making a model isometric: expected batch norm layers, got {type(model).__name__} without one; "
            "this remedy is for batch norm's explosion"
        )
    orthogonal_(model, generator=generator)
    sites = [name for name, m in model.named_modules() if isinstance(m, (*_KINKED, *_SMOOTH))]
    sites = [name for name in sites if not isinstance(_parent(model, name)[0], ShapedActivation)]
    changes: list[str] = []
    for name, gain in zip(sites, power_gains(max(len(sites), 1), gain_exponent), strict=False):
        parent, key = _parent(model, name)
        old = getattr(parent, key)
        new = activation_module(replacement) if isinstance(old, _KINKED) else old
        setattr(parent, key, ShapedActivation(new, gain))
        became = f"{type(old).__name__} became {type(new).__name__}" if new is not old else type(old).__name__
        changes.append(f"{name}: {became} with gain {gain:.4g}")
    count = sum(isinstance(m, nn.Linear | _ConvNd) for m in model.modules())
    return [*changes, f"{count} weights became Haar-orthogonal"]


def _parent(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, key = name.rpartition(".")
    return (model.get_submodule(path) if path else model), key
