"""Writing Gaussian, orthogonal and mirrored weights into the parameters of a site."""

from __future__ import annotations

import math

import torch

from firstlight.fixing.remedies.sites import WeightSite
from firstlight.recipes import mirrored


def write_normal(site: WeightSite, scale: float, generator: torch.Generator) -> None:
    """Independent normal weights with σ_w = ``scale``: entries of variance σ_w²/fan-in."""
    drawn = torch.randn(site.weight.shape, generator=generator, dtype=torch.float32)
    site.write(drawn * (scale / math.sqrt(site.fan_in)))


def write_orthogonal(
    site: WeightSite,
    scale: float,
    generator: torch.Generator,
    *,
    mirror_rows: bool = False,
    mirror_columns: bool = False,
) -> None:
    """A Haar-orthogonal matrix A with σ_w = ``scale``, in the middle tap of a kernel whose other taps are zero.

    A rectangle's entries have variance σ_w²/columns too, so that pre-activations keep their size where the
    layer widens. Mirroring gives [[A, −A], [−A, A]], or the half of it that the two flags leave. A bare parameter
    or a transposed convolution, whose axes are others, is drawn normal.
    """
    if site.bare:
        write_normal(site, scale, generator)
        return
    site.write(mirrored(site.weight, scale, generator, rows=mirror_rows, columns=mirror_columns))


def write_bias(site: WeightSite, scale: float, generator: torch.Generator) -> list[str]:
    """A Gaussian bias with standard deviation ``scale``, or zeros; what was changed, in words."""
    if site.bias is None:
        return []
    if scale == 0.0:
        changed = bool((site.bias != 0).any())
        site.bias.zero_()
        return [f"{site.name}: bias zeroed"] if changed else []
    site.bias.copy_(torch.randn(site.bias.shape, generator=generator) * scale)
    return [f"{site.name}: bias Gaussian with σ_b = {scale:.4g}"]
