"""``check_batch``: whether a batch can pass through a deep batch-normalised network, before it is tried."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.measure.isometry import isometry_gap
from firstlight.theory.batchnorm.gradients import degenerate_slope, gaussian_slope

# the deepest networks that the construction is meant for: slower growth than tenfold over them is no explosion
_DEEPEST = 1000
_RTOL = 1e-6  # float32 features have no smaller error


@dataclass(frozen=True)
class BatchCheck:
    """What a batch does to the gradients of a deep batch-normalised network.

    Attributes
    ----------
    samples, features
        Shape of the batch, each sample flattened.
    rank
        Numerical rank of the samples (after centring, if the batch norm centres).
    rank_in_network
        Rank that the features of the network can have: at most the width.
    width
        Units per layer.
    duplicates
        Samples that are exact copies of an earlier one.
    constant
        Features that are the same in every sample.
    isometry_gap
        Gap of the batch's Gram matrix of samples over its non-zero singular values; inf if it is rank deficient.
    slope
        Predicted growth of log ‖∂L/∂W‖ per layer towards the input, in nats; NaN where no gradient exists.
    weights
        The weights that were assumed.
    problems
        Each thing that is wrong, with what to do about it; empty for a good batch.
    """

    samples: int
    features: int
    rank: int
    rank_in_network: int
    width: int
    duplicates: int
    constant: int
    isometry_gap: float
    slope: float
    weights: str
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether gradients stay bounded at any depth, as far as the batch is concerned."""
        return not self.problems

    def growth(self, depth: int) -> float:
        """Predicted growth of the log gradient norm over so many layers, in nats."""
        return self.slope * depth

    def __str__(self) -> str:
        """A line of facts and one line per problem."""
        head = (
            f"batch of {self.samples} × {self.features}: rank {self.rank}, {self.rank_in_network} of {self.width} "
            f"in the network; predicted slope {self.slope:.3g} per layer ({self.weights} weights)"
        )
        return "\n".join([head, *(f"- {problem}" for problem in self.problems)])


@checked
@clean
def check_batch(
    x: Tensor,
    *,
    width: int,
    weights: Literal["orthogonal", "normal"] = "orthogonal",
    centred: bool = False,
) -> BatchCheck:
    r"""Rank of a batch against the width of a deep batch-normalised network, and the gradient slope it predicts.

    With orthogonal weights the gradient is bounded at any depth if the batch has at least ``width`` linearly
    independent samples (one more if the batch norm centres); at rank r below, log ‖∂L/∂W‖ grows by
    :func:`degenerate_slope` per layer. With Gaussian weights it explodes in any case.

    Parameters
    ----------
    x
        The inputs, one sample per row; further dimensions are flattened.
    width
        Units per layer.
    weights
        ``"orthogonal"`` or ``"normal"``.
    centred
        Whether the batch norm subtracts the mean; that takes one dimension of the batch.

    Returns
    -------
    BatchCheck
        Ranks, duplicates, constant features, the slope and what to do; ``print`` it to read it.

    Raises
    ------
    DomainError
        If the batch is empty, holds NaN or infinity, has no sample dimension, or the width is not positive.

    References
    ----------
    Meterez et al., ICLR 2024, theorem 5 and figure 2; the slope is measured for this project.

    Examples
    --------
    >>> import torch, firstlight
    >>> x = torch.randn(128, 100, generator=torch.Generator().manual_seed(0))
    >>> firstlight.check_batch(x, width=100).ok
    True
    >>> print(firstlight.check_batch(x[:32], width=100))
    batch of 32 × 100: rank 32, 32 of 100 in the network; predicted slope 0.0114 per layer (orthogonal weights)
    - gradients explode: 32 independent samples for width 100; use a batch of at least 100, ...
    """
    if x.ndim < 2 or x.numel() == 0 or width < 1:
        raise DomainError(
            f"while checking a batch: expected samples of at least one feature, (n, …), and a width ≥ 1, got "
            f"shape {tuple(x.shape)} and width {width}; add the sample dimension"
        )
    rows = (x.cpu() if x.device.type == "mps" else x).detach().flatten(1).double()
    bad = int((~torch.isfinite(rows)).any(dim=1).sum())
    if bad:
        raise DomainError(
            f"while checking a batch: expected finite inputs, got NaN or infinity in {bad} of {len(rows)} samples; "
            "drop or correct them before training"
        )
    samples, features = rows.shape
    seen = rows - rows.mean(dim=0) if centred else rows
    rank = _rank(seen, rows)
    duplicates = samples - len(torch.unique(rows, dim=0))
    constant = int((rows == rows[:1]).all(dim=0).sum()) if samples > 1 else 0
    inside = min(rank, width)
    slope = _slope(inside, width, weights)
    needed = width + 1 if centred else width
    problems = _problems(samples, features, rank, duplicates, width, needed, weights, slope)
    gap = float(isometry_gap(seen, gram="rows" if samples <= features else "smaller", rtol=_RTOL))
    return BatchCheck(
        samples, features, rank, inside, width, duplicates, constant, gap, slope, weights, tuple(problems)
    )


def _rank(seen: Float[Tensor, "n d"], rows: Float[Tensor, "n d"]) -> int:
    """Numerical rank, at the rounding of float32 of the uncentred entries."""
    s = torch.linalg.svdvals(seen)
    scale = torch.linalg.matrix_norm(rows, ord=2)
    return int((s > _RTOL * scale).sum())


def _slope(rank: int, width: int, weights: str) -> float:
    if rank < 2:
        return math.nan
    return gaussian_slope(rank, width) if weights == "normal" else degenerate_slope(rank, width)


def _problems(
    samples: int,
    features: int,
    rank: int,
    duplicates: int,
    width: int,
    needed: int,
    weights: str,
    slope: float,
) -> list[str]:
    """What is wrong with a batch, the deepest cause first."""
    problems = []
    if samples == 1:
        problems.append(
            "a batch of one: batch norm leaves only signs, or zeros when it centres; use more samples"
        )
    elif rank < 2:
        problems.append(
            f"rank {rank}: all samples are copies or multiples of one another, so batch norm leaves only signs and "
            "no gradient; look for constant inputs"
        )
    elif rank < width:
        tenfold = math.log(10) / slope
        what = "explode" if tenfold <= _DEEPEST else f"grow slowly, tenfold in {tenfold:.0f} layers"
        problems.append(
            f"gradients {what}: {rank} independent samples for width {width}; "
            + _way_out(samples, features, rank, width, needed)
        )
    if duplicates:
        problems.append(
            f"{duplicates} of {samples} samples are copies of others and add nothing to the rank; remove them"
        )
    if weights == "normal":
        problems.append(
            "normal weights explode at any batch size, by about 1/width per layer; use orthogonal weights "
            "(firstlight.weights.orthogonal_)"
        )
    return problems


def _way_out(samples: int, features: int, rank: int, width: int, needed: int) -> str:
    narrower = f"or a width of at most {max(rank, 2)}"
    if samples < needed:
        return f"use a batch of at least {needed}, {narrower}"
    if features < width:
        return f"the inputs have only {features} features: use a width of at most {max(rank, 2)}"
    return f"samples depend on one another: use more of them, {narrower}"
