"""Are pre-activations Gaussian? A Kolmogorov–Smirnov test whose null knows that samples share weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from firstlight.clean_room import clean
from firstlight.doors import checked
from firstlight.errors import DomainError
from firstlight.measure.ks import ks_to_normal, sorted_distances, sorted_entries
from firstlight.measure.ks_null import DRAWS, power_means, suprema, upper_triangle
from firstlight.measure.subset import LayerStack, StandardRows, finite_part, matrix, standardise

_DOING = "measuring the Gaussianity of pre-activations"


@dataclass(frozen=True)
class Gaussianity:
    """How far pre-activations are from Gaussian, and how far Gaussian ones would be.

    Attributes
    ----------
    ks
        Exact Kolmogorov–Smirnov distance of the pooled entries to N(0,1): mostly their scale.
    ks_standardised
        The same after every sample is divided by its own root mean square over units: their shape.
    ks_critical
        The 5 % line (or ``level``) of ``ks_standardised`` for Gaussian weights and these correlations.
    p_value
        Probability of a larger ``ks_standardised`` under that null; not below 1/1025.
    n_eff
        Number of independent entries whose empirical cdf is as noisy at 0 as this one.
    samples, units
        Rows and columns that were read; rows that are zero or not finite are left out.
    """

    ks: float
    ks_standardised: float
    ks_critical: float
    p_value: float
    n_eff: float
    samples: int
    units: int

    @property
    def gaussian(self) -> bool:
        """Whether ``ks_standardised`` is within its line; False where nothing could be measured."""
        return self.ks_standardised <= self.ks_critical


@checked
@clean
def gaussianity(
    z: Float[Tensor, "samples units"] | StandardRows,
    *,
    max_samples: int = 64,
    max_units: int = 256,
    level: float = 0.05,
) -> Gaussianity:
    """Kolmogorov–Smirnov distance of pre-activations to N(0,1), raw and standardised, with its line.

    Under random Gaussian weights, given a layer's inputs, its units are independent Gaussian vectors over
    the samples. Samples differ in scale, so each is divided by its own root mean square; and they are
    correlated, so the textbook line 1.36/√(number of entries) is far too low. The line here is a quantile
    of sup |G(t)/√units + b(t)|, with the Gaussian process G and the bias b of ``measure.ks_null``, which
    depends on the samples' correlations only through the means of their powers.

    Parameters
    ----------
    z
        One row per sample, one column per unit (for a convolution: a row per sample and position, a column
        per channel). Columns must be exchangeable.
    max_samples, max_units
        Evenly spread rows and columns are read beyond these numbers.
    level
        Share of truly Gaussian layers above the line.

    Raises
    ------
    DomainError
        If ``z`` is not a matrix of real floating-point data, or ``level`` is not in (0.001, 0.5).

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> z = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    >>> measure.gaussianity(3 * z).gaussian, measure.gaussianity(z**3).gaussian
    (True, False)
    """
    if not 0.001 < level < 0.5:
        raise DomainError(f"while {_DOING}: expected a level in (0.001, 0.5), got {level}")
    if not isinstance(z, StandardRows):
        z = standardise(matrix(z, _DOING), max_samples=max_samples, max_units=max_units)
    values, rows = z.values, z.unit
    samples, units = rows.shape
    if samples == 0 or units == 0:
        ks = ks_to_normal(finite_part(values))
        return Gaussianity(ks, math.nan, math.nan, math.nan, 0.0, samples, units)
    whole = rows.shape == values.shape
    stack = LayerStack((values if whole else rows)[None], rows[None], z.cosine[None])
    found = gaussianities(stack, level=level)[0]
    return found if whole else replace(found, ks=ks_to_normal(finite_part(values)))


@checked
@clean
def gaussianities(stack: LayerStack, *more: LayerStack, level: float = 0.05) -> list[Gaussianity]:
    """``gaussianity`` of every layer of some stacks of equally many samples, with the same numbers in far fewer calls.

    Raises
    ------
    DomainError
        If a stack has another number of samples than the first one.

    Examples
    --------
    >>> import torch
    >>> from firstlight import measure
    >>> z = torch.randn(3, 64, 256, generator=torch.Generator().manual_seed(0))
    >>> stack = measure.stack_layers(z)
    >>> measure.gaussianities(stack)[1] == measure.gaussianity(z[1])
    True
    """
    stacks = (stack, *more)
    samples = stack.unit.shape[1]
    if any(s.unit.shape[1] != samples for s in more):
        raise DomainError(
            f"while {_DOING}: expected stacks of equally many samples, got {[s.unit.shape[1] for s in stacks]}"
        )
    cosine = torch.cat([s.cosine for s in stacks]) if more else stack.cosine
    units = np.concatenate([np.full(len(s.unit), s.unit.shape[2]) for s in stacks])
    both = [
        sorted_distances(np.concatenate([s.sorted_values, sorted_entries(s.unit)])).reshape(2, -1)
        for s in stacks
    ]
    ks, standardised = np.concatenate(both, axis=1)
    draws = suprema(power_means(cosine, units), units)
    draws /= np.sqrt(units).astype(np.float32)[:, None]
    # the order statistic whose expected level is the asked one
    rank = math.ceil((1 - level) * DRAWS) - 1
    critical = np.partition(draws, rank, axis=-1)[:, rank]
    p_values = (1 + np.count_nonzero(draws >= standardised[:, None], axis=-1)) / (1 + DRAWS)
    # of every two samples the covariance at 0 is asin(c)/2π, of a sample with itself 1/4
    arcsines = 2.0 * torch.asin(upper_triangle(cosine)).sum(dim=-1).double() + samples * math.pi / 2
    n_eff = units * samples**2 * 0.5 * math.pi / arcsines.clamp_min(1e-12 * samples**2).numpy()
    columns = zip(*(c.tolist() for c in (ks, standardised, critical, p_values, n_eff)), strict=True)
    return [
        Gaussianity(*numbers, samples, width)  # type: ignore[call-arg]
        for numbers, width in zip(columns, units.tolist(), strict=True)
    ]
