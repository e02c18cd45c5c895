"""``predict``: the isometry gap and the gradient norms of a deep batch-normalised network, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight import activations
from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.files.plain_data import Record
from firstlight.profile import Profile
from firstlight.theory.batchnorm.gap import gap_chain, gap_decay_rate
from firstlight.theory.batchnorm.gradients import degenerate_slope, gaussian_slope, gradient_at_isometry
from firstlight.theory.batchnorm.mean_field import gradient_rate, width_for_mean_field
from firstlight.theory.batchnorm.shaping import shaped_rates

Weights = Literal["orthogonal", "normal"]


@dataclass(frozen=True)
class BatchNormPrediction:
    """What theory says about a deep batch-normalised network.

    Attributes
    ----------
    profile
        One row per layer: ``isometry_gap`` of the features (linear networks; NaN otherwise), ``log_weight_grad``
        relative to the last layer, and ``growth``, the log of the squared gradient norm gained over the layer.
    slope
        Growth of log ‖∂L/∂W‖ per layer towards the input, averaged over the network, in nats.
    mean_field_rate
        Growth of the squared norm per layer of a wide Gaussian network at gain 1 (Yang et al.).
    mean_field_valid
        Whether the width is large enough for that rate to describe this network.
    gap_decay
        Decay of log φ per layer near isometry; NaN where the gap does not decay.
    bounded
        Whether the gradient stays bounded however deep the network is made.
    notes
        What each number rests on.
    """

    profile: Profile
    slope: float
    mean_field_rate: float
    mean_field_valid: bool
    gap_decay: float
    bounded: bool
    notes: tuple[str, ...] = field(default=())

    @property
    def log_growth(self) -> float:
        """Log of the gradient norm of the first layer over that of the last."""
        return float(self.profile["log_weight_grad"][0])


@checked
@clean
def predict_batchnorm(
    *,
    depth: int,
    width: int,
    batch: int | Float[Tensor, "n d"],
    weights: Weights = "orthogonal",
    activation: object = "linear",
    gain_exponent: float | Sequence[float] = 0.0,
    centred: bool = False,
    seed: int = 0,
) -> BatchNormPrediction:
    """Predict the isometry gap and the gradient norms of a batch-normalised network.

    Growth over a layer is the sum of three parts: what the activation adds beyond a linear layer at its gain
    (`shaped_rates`), what missing rank or Gaussian weights add (`degenerate_slope`, `gaussian_slope`), and the
    loss of the symmetric part of the gradient near the output (`gradient_at_isometry`). The gap is sampled from
    the exact chain of a linear network.

    Parameters
    ----------
    depth, width
        Number of batch-normalised layers and units of each.
    batch
        Number of samples in general position, or the batch itself (samples × features).
    weights
        ``"orthogonal"`` or ``"normal"``.
    activation
        Anything that ``firstlight.activations.get`` takes.
    gain_exponent
        γ of the gains ℓ^{−γ}, or the gains of the layers.
    centred
        Whether the batch norm subtracts the mean.
    seed
        Seed of the sampled gap.

    Returns
    -------
    BatchNormPrediction
        A profile, the slope and what it rests on.

    Raises
    ------
    DomainError
        If depth, width or batch are too small, or a gain is not positive.

    Examples
    --------
    >>> from firstlight.theory import batchnorm
    >>> good = batchnorm.predict_batchnorm(depth=100, width=32, batch=64)
    >>> good.bounded, round(good.log_growth, 2)
    (True, -0.35)
    >>> bad = batchnorm.predict_batchnorm(depth=50, width=256, batch=256, activation="relu", centred=True)
    >>> bad.bounded, round(bad.slope, 2)
    (False, 0.19)
    """
    if depth < 1 or width < 2:
        raise DomainError(
            f"while predicting batch norm: expected depth ≥ 1 and width ≥ 2, got {depth} and {width}"
        )
    phi = activations.get(activation)
    features, samples, rank = _general(batch, width, seed, centred)
    linear = phi.name in ("linear", "identity")
    act, base = _growth(phi, _gains(gain_exponent, depth), rank, width, weights)
    isometric = weights == "orthogonal" and rank == width and linear
    symmetric = gradient_at_isometry(0.5, 0.5, width, depth).log() / 2 if isometric else torch.zeros_like(act)
    log_grad = (_received(act + base) + symmetric).flip(0)
    gap = _gap(features, rank, width, depth, weights, seed) if linear else None
    growth = 2 * (act + base)
    meta = {"depth": depth, "width": width, "samples": samples, "rank": rank, "weights": weights,
            "activation": phi.name, "centred": centred}  # fmt: skip
    return BatchNormPrediction(
        Profile.from_rows(_rows(log_grad, growth, gap), source="predict", meta=meta),
        slope=float(growth.mean()) / 2,
        mean_field_rate=gradient_rate(phi, samples if samples >= 4 else math.inf, centred=True),
        mean_field_valid=width >= width_for_mean_field(samples),
        gap_decay=gap_decay_rate(width) if isometric else math.nan,
        bounded=weights == "orthogonal" and (linear or _summable(phi, gain_exponent)) and base == 0,
        notes=_notes(rank, width, samples, weights, linear),
    )


def _received(growth: Tensor) -> Tensor:
    """Log growth from the last layer down: the first weight layer receives what layers 2 … depth do."""
    above = growth.flip(0).cumsum(0).roll(1)
    above[0] = 0.0
    return above


def _general(batch: Tensor | int, width: int, seed: int, centred: bool) -> tuple[Tensor, int, int]:
    """Features of the first layer as its batch norm sees them, the number of samples, and the features' rank."""
    features, samples = _features(batch, width, seed)
    if centred:
        features = features - features.mean(dim=1, keepdim=True)
    rank = min(int(torch.linalg.matrix_rank(features, rtol=1e-6)), width)
    if rank < 2:
        raise DomainError(
            f"while predicting batch norm: expected a batch of rank ≥ 2, got {rank} from {samples} samples; batch "
            "norm leaves only signs"
        )
    return features, samples, rank


def _growth(
    phi: activations.Activation, gains: list[float], rank: int, width: int, weights: Weights
) -> tuple[Tensor, float]:
    """What the activation adds to log ‖∇‖ at each layer, and what rank and weights add at every layer."""
    base = gaussian_slope(rank, width) if weights == "normal" else degenerate_slope(rank, width)
    if phi.name in ("linear", "identity"):
        return torch.zeros(len(gains), dtype=torch.float64), base
    if phi.parity != "odd" and weights == "orthogonal":
        base = 0.0  # φ restores the rank
    return _by_layer(phi, gains), base


def _rows(log_grad: Tensor, growth: Tensor, gap: Tensor | None) -> list[Record]:
    return [
        {
            "name": f"fc{i + 1}", "kind": "weight", "depth": i + 1,
            "isometry_gap": math.nan if gap is None else float(gap[i + 1]),
            "log_weight_grad": float(log_grad[i]), "growth": float(growth[i]),
        }
        for i in range(len(growth))
    ]  # fmt: skip


def _features(batch: Tensor | int, width: int, seed: int) -> tuple[Tensor, int]:
    """Features of the first layer as rows (width × samples), from inputs or from a number of samples."""
    generator = torch.Generator().manual_seed(seed)
    if isinstance(batch, Tensor):
        inputs = batch.detach().cpu().flatten(1).double()
        samples = len(inputs)
        if inputs.shape[1] == width:
            return inputs.T, samples
        mix = torch.randn(width, inputs.shape[1], generator=generator, dtype=torch.float64)
        return mix @ inputs.T, samples
    samples = int(batch)
    if samples < 1:
        raise DomainError(f"while predicting batch norm: expected a batch of at least two, got {samples}")
    return torch.randn(width, samples, generator=generator, dtype=torch.float64), samples


def _gains(gain_exponent: float | Sequence[float], depth: int) -> list[float]:
    if isinstance(gain_exponent, int | float):
        return [float(layer) ** -gain_exponent for layer in range(1, depth + 1)]
    if len(gain_exponent) != depth:
        raise DomainError(
            f"while predicting batch norm: expected {depth} gains, one per layer, got {len(gain_exponent)}"
        )
    return [float(gain) for gain in gain_exponent]


def _by_layer(phi: activations.Activation, gains: list[float]) -> Tensor:
    distinct, inverse = torch.tensor(gains, dtype=torch.float64).unique(return_inverse=True)
    return shaped_rates(phi, distinct.tolist())[inverse]


def _gap(
    features: Tensor, rank: int, width: int, depth: int, weights: Weights, seed: int
) -> Float[Tensor, " layers"]:
    """Mean gap over four sampled chains; infinite below full rank."""
    if rank < width:
        return torch.full((depth + 1,), math.inf, dtype=torch.float64)
    unit = features / torch.linalg.vector_norm(features, dim=1, keepdim=True)
    u, s, _ = torch.linalg.svd(unit, full_matrices=False)
    chain = gap_chain(u * s, depth, weights=weights, generator=torch.Generator().manual_seed(seed))
    return chain.mean(dim=0)


def _summable(phi: activations.Activation, gain_exponent: float | Sequence[float]) -> bool:
    """Whether the growth stays bounded at any depth: γ above the critical exponent."""
    from firstlight.theory.batchnorm.shaping import choose_gamma

    if not isinstance(gain_exponent, int | float):
        return False
    try:
        return gain_exponent > choose_gamma(phi, budget=100.0).critical
    except DomainError:  # no exponent bounds this activation
        return False


def _notes(rank: int, width: int, samples: int, weights: str, linear: bool) -> tuple[str, ...]:
    notes = []
    if rank < width:
        notes.append(
            f"rank {rank} below width {width}: the slope is a fit to measurements, good within 15 % from rank 5 on; "
            f"use at least {width} independent samples"
        )
    if weights == "normal":
        notes.append("Gaussian weights: the slope is a rule of thumb, good within 30 % over a hundred layers")
    if not linear:
        notes.append("activation: large-batch mean field beyond the linear network; the gap is not predicted")
    if width < width_for_mean_field(samples):
        notes.append(
            f"mean-field rate: holds for widths far above batch² ({samples**2}); this network has {width}"
        )
    return tuple(notes)
