"""Deep batch-normalised networks whose gradients do not explode: orthogonal weights and falling gains."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from firstlight.builders.batch_norm import BatchNorm, Scale
from firstlight.builders.dense import activation_module, check_fits
from firstlight.builders.feature_major import FeatureMajorSequential
from firstlight.builders.shaping import (
    FeatureMajorLinear,
    Gains,
    ShapedActivation,
    check_gains,
    power_gains,
)
from firstlight.doors import checked
from firstlight.errors import DomainError, PropagationWarning
from firstlight.weights.orthogonal import orthogonal_, xavier_

Weights = Literal["orthogonal", "normal"]
Phi = str | nn.Module | Callable[[Tensor], Tensor]

_LINEAR = ("linear", "identity")
_GROWTH_TO_WARN = 2.302585  # a factor of ten in the gradient between the last layer and the first


@dataclass(frozen=True, kw_only=True)
class NormOptions:
    """How every batch norm of `isometric_mlp` is made; the fields are those of `BatchNorm`.

    Examples
    --------
    >>> from firstlight.builders import NormOptions
    >>> NormOptions(centred=False, scale="unit").make(8)
    BatchNorm(8, centred=False, scale='unit', eps=1e-12)
    """

    centred: bool = True
    scale: Scale = "sqrt_n"
    eps: float = 1e-12
    affine: bool = False
    track_running_stats: bool = False
    momentum: float = 0.1

    def make(self, num_features: int) -> BatchNorm:
        """A batch norm of so many features."""
        return BatchNorm(
            num_features,
            centred=self.centred,
            scale=self.scale,
            eps=self.eps,
            affine=self.affine,
            track_running_stats=self.track_running_stats,
            momentum=self.momentum,
        )


@checked
def isometric_mlp(
    in_features: int,
    out_features: int | None,
    *,
    depth: int,
    width: int,
    activation: Phi = "linear",
    gain_exponent: float | Gains = 0.0,
    weights: Weights = "orthogonal",
    norm: NormOptions = NormOptions(),
    generator: torch.Generator | None = None,
) -> nn.Sequential:
    r"""A batch-normalised multilayer perceptron whose gradient neither explodes nor vanishes at any depth.

    .. math:: x^ℓ = φ\bigl(α_ℓ\,\mathrm{BN}(W_ℓ x^{ℓ-1})\bigr), \qquad W_ℓ \text{ Haar on } O(d), \quad α_ℓ = ℓ^{-γ}

    With linear φ the gain is left out, since the next batch norm undoes it. The layers are plain modules
    ``flatten, fc1, norm1, phi1, …, readout``; where nobody watches, they run fused (`FeatureMajorSequential`).

    Parameters
    ----------
    in_features
        Entries of one sample; inputs of any shape are flattened.
    out_features
        Outputs of the linear readout; None for none.
    depth, width
        Batch-normalised layers, and units of each: no more than a batch's rank (``firstlight.check_batch``).
    activation
        ``"linear"``, or anything that ``activation_module`` takes.
    gain_exponent
        γ, as ``theory.batchnorm.choose_gamma`` finds it; or the gains, a list or a function of the layer 1 … depth.
    weights
        ``"orthogonal"``, or ``"normal"`` (Xavier) for comparison: that one explodes.
    norm
        How the batch norms are made.
    generator
        Where the random numbers come from.

    Returns
    -------
    nn.Sequential
        Takes ``(samples, ...)``, gives ``(samples, out_features)``. Call `recalibrate_` before evaluation.

    Raises
    ------
    DomainError
        If a size is not positive, or a gain is not.

    Warns
    -----
    PropagationWarning
        If theory predicts gradients that explode by more than tenfold, for want of a larger exponent.

    References
    ----------
    Meterez et al., "Towards Training Without Depth Limits", ICLR 2024, sections 3 and 5.

    Examples
    --------
    >>> import torch
    >>> from firstlight.builders import isometric_mlp
    >>> model = isometric_mlp(64, 10, depth=50, width=32, activation="sin", gain_exponent=0.4)
    >>> model(torch.randn(40, 8, 8)).shape
    torch.Size([40, 10])
    """
    _check_sizes(in_features=in_features, depth=depth, width=width)
    check_fits(in_features, out_features, depth=depth, width=width)
    if isinstance(gain_exponent, int | float):
        gains = power_gains(depth, gain_exponent)
    else:
        gains = check_gains(gain_exponent, depth)
    linear = isinstance(activation, str) and activation.lower() in _LINEAR
    if not linear:
        _warn_of_explosion(activation, gains)
    layers = _layers(in_features, gains, width, None if linear else activation, norm)
    if out_features is not None:
        layers["readout"] = _blank(nn.Linear, width, out_features)
    model = FeatureMajorSequential(layers)
    draw = orthogonal_ if weights == "orthogonal" else xavier_
    draw(model, generator=generator)
    return model


@checked
def make_gains_learnable_(model: nn.Module) -> nn.Module:
    """Turn the gain of every `ShapedActivation` into a parameter, in place; the model is returned.

    Examples
    --------
    >>> from firstlight.builders import isometric_mlp, make_gains_learnable_
    >>> model = make_gains_learnable_(isometric_mlp(4, 2, depth=3, width=4, activation="sin", gain_exponent=0.4))
    >>> [name for name, _ in model.named_parameters() if "gain" in name]
    ['phi1.gain', 'phi2.gain', 'phi3.gain']
    """
    for module in model.modules():
        if isinstance(module, ShapedActivation) and isinstance(module.gain, float):
            gain = module.gain
            del module.gain
            module.gain = nn.Parameter(torch.tensor(gain))
    return model


def _check_sizes(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise DomainError(
                f"while building an isometric MLP: expected {name} ≥ 1, got {value}; give a positive size"
            )


def _layers(
    in_features: int, gains: list[float], width: int, activation: Phi | None, norm: NormOptions
) -> OrderedDict[str, nn.Module]:
    """The layers before the readout, their weights not yet written."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for index, gain in enumerate(gains, start=1):
        layers[f"fc{index}"] = _blank(FeatureMajorLinear, in_features if index == 1 else width, width)
        layers[f"norm{index}"] = norm.make(width)
        if activation is not None:
            layers[f"phi{index}"] = ShapedActivation(_phi(activation), gain)
    return layers


def _phi(activation: Phi) -> Callable[[Tensor], Tensor]:
    if isinstance(activation, str) and activation.lower() == "sin":
        return torch.sin
    return activation_module(activation)


def _blank(kind: type[nn.Linear], fan_in: int, fan_out: int) -> nn.Module:
    return nn.utils.skip_init(kind, fan_in, fan_out, bias=False)


def _warn_of_explosion(activation: Phi, gains: list[float]) -> None:
    from firstlight.theory.batchnorm import shaped_growth

    growth = shaped_growth(activation, gains)
    if growth > _GROWTH_TO_WARN:
        warnings.warn(
            f"while building an isometric MLP: gradients are predicted to grow by e^{growth:.3g} from the last "
            f"layer to the first (slope {growth / len(gains):.3g} per layer) with gains {gains[0]:.3g} … "
            f"{gains[-1]:.3g}; let the gain fall faster, as `theory.batchnorm.choose_gamma` advises "
            "(0.4 for tanh and sin)",
            PropagationWarning,
            stacklevel=3,
        )
