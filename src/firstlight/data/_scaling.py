"""Turn pixels into a network's inputs: standardised per channel, divided by their range, or as they are."""

from __future__ import annotations

from typing import Literal

import numpy as np

from firstlight.errors import LoadError

Normalise = Literal["standardise", "unit", "raw"]
MODES: tuple[Normalise, ...] = ("standardise", "unit", "raw")
_COUNTED = 1000  # images whose levels are counted at once


def check_mode(normalise: str) -> Normalise:
    """The way of scaling of this name, or a LoadError."""
    for mode in MODES:
        if normalise == mode:
            return mode
    raise LoadError(
        f"while loading data: expected normalise to be one of {', '.join(MODES)}, got {normalise!r}"
    )


def channel_moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over samples and positions, in float64.

    Parameters
    ----------
    values
        ``(samples, channels, ...)``; an array ``(samples, features)`` or ``(samples,)`` counts as one
        channel.

    Returns
    -------
    tuple of arrays
        Two arrays ``(channels,)``.

    Examples
    --------
    >>> import numpy as np
    >>> from firstlight.data._scaling import channel_moments
    >>> channel_moments(np.array([[[1, 3]], [[5, 7]]], np.uint8))
    (array([4.]), array([2.23606798]))
    """
    channels = values.shape[1] if values.ndim >= 3 else 1
    if values.dtype == np.uint8:
        # counting the 256 levels is exact; numpy widens what it counts to 8 bytes, so it counts piece by piece
        counts = np.stack([_levels(values[:, c] if values.ndim >= 3 else values) for c in range(channels)])
        levels = np.arange(256.0)
        total = counts.sum(1)
        mean = counts @ levels / total
        return mean, np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(1) / total)
    planes = np.moveaxis(values, 1, 0).reshape(channels, -1) if values.ndim >= 3 else values.reshape(1, -1)
    return planes.mean(1, dtype=np.float64), planes.std(1, dtype=np.float64)


def _levels(pixels: np.ndarray) -> np.ndarray:
    """How many pixels have each of the 256 levels, (256,)."""
    counts = np.zeros(256)
    for start in range(0, len(pixels), _COUNTED):
        counts += np.bincount(pixels[start : start + _COUNTED].reshape(-1), minlength=256)
    return counts


def statistics(values: np.ndarray, normalise: Normalise, top: float) -> tuple[np.ndarray, np.ndarray]:
    """What to subtract from and divide each channel by; empty arrays for raw values.

    ``top`` is the largest value that a pixel can take. A constant channel is centred and not divided.
    """
    if normalise == "raw":
        return np.empty(0), np.empty(0)
    mean, std = channel_moments(values)
    if normalise == "unit":
        return np.zeros_like(mean), np.full_like(std, top)
    return mean, np.where(std > 0, std, 1.0)


def scale(values: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """``(values − mean) / std`` per channel, in float64; the values in float64 if there is nothing to do."""
    scaled = values.astype(np.float64)
    if mean.size == 0:
        return scaled
    shape = (1, -1) + (1,) * (values.ndim - 2) if values.ndim >= 3 else (1,) * values.ndim
    return (scaled - mean.reshape(shape)) / std.reshape(shape)
