"""How alike the samples of a batch are at one layer: cosines between rows, with their standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.measure.subset import LayerStack, StandardRows, matrix, standardise

_DOING = "measuring the correlation between samples"


@dataclass(frozen=True)
class SampleCorrelation:
    """Cosines between the rows of one layer.

    Attributes
    ----------
    mean
        Mean cosine over all pairs of different samples; NaN for fewer than two usable samples.
    se_units
        Its standard error if the units were drawn again: how well so many units determine these samples'
        mean.
    se_samples
        Its standard error if the samples were drawn again from where they came.
    cosine
        The matrix of cosines, float64 on the CPU, ones on its diagonal.
    samples, units
        Rows and columns that were read; rows that are zero or not finite are left out.
    """

    mean: float
    se_units: float
    se_samples: float
    cosine: Float[Tensor, "some_samples some_samples"]
    samples: int
    units: int

    @property
    def se(self) -> float:
        """Standard error over units and samples together."""
        return math.hypot(self.se_units, self.se_samples)


@checked
@clean
def sample_correlation(
    z: Float[Tensor, "samples units"] | StandardRows, *, max_samples: int = 64, max_units: int = 16_384
) -> SampleCorrelation:
    """Mean cosine between the rows of different samples, with its standard error and the whole matrix.

    c_ab = z_a·z_b / (‖z_a‖ ‖z_b‖), without centring: the correlation of mean-field theory. Both standard
    errors are first-order (delta method): units are taken as exchangeable, and the mean over pairs as a
    U-statistic of the samples.

    Parameters
    ----------
    z
        One row per sample, one column per unit; or what ``standardise`` made of them.
    max_samples, max_units
        Evenly spread rows and columns are read beyond these numbers.

    Raises
    ------
    DomainError
        If ``z`` is not a matrix of real floating-point data.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> measure.sample_correlation(torch.tensor([[1.0, 0.0], [1.0, 1.0]])).mean
    0.7071...
    """
    if not isinstance(z, StandardRows):
        z = standardise(matrix(z, _DOING), max_samples=max_samples, max_units=max_units)
    samples, units = z.unit.shape
    if samples < 2 or units == 0:
        return SampleCorrelation(math.nan, math.nan, math.nan, z.cosine.double(), samples, units)
    return sample_correlations(LayerStack(z.unit[None], z.unit[None], z.cosine[None]))[0]


@checked
@clean
def sample_correlations(stack: LayerStack) -> list[SampleCorrelation]:
    """``sample_correlation`` of every layer of a stack of two samples or more.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> z = torch.tensor([[[1.0, 0.0], [1.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
    >>> [c.mean for c in measure.sample_correlations(measure.stack_layers(z))]
    [0.7071..., 0.0]
    """
    samples, units = stack.unit.shape[1:]
    cosine, rows = stack.cosine.double().numpy(), stack.unit.cpu().double().numpy()
    others = cosine.sum(axis=2) - 1.0
    pairs = samples * (samples - 1)
    means = others.sum(axis=1) / pairs
    # Change of the mean cosine when one unit weighs more, with the rows' norms following.
    influence = np.square(rows.sum(axis=1)) - ((others + 1.0)[:, None] @ np.square(rows))[:, 0]
    nothing = np.full(len(means), math.nan)
    se_units = influence.std(axis=1, ddof=1) / pairs / math.sqrt(units) if units > 1 else nothing
    spread = others.std(axis=1, ddof=1) / (samples - 1) if samples > 2 else nothing
    se_samples = 2.0 * spread / math.sqrt(samples)
    return [
        SampleCorrelation(mean, by_unit, by_sample, matrix, samples, units)
        for mean, by_unit, by_sample, matrix in zip(
            means.tolist(), se_units.tolist(), se_samples.tolist(), torch.from_numpy(cosine).unbind()
        )
    ]
