"""Numbers from samples and matrices: pure functions of tensors."""

from firstlight.measure.isometry import isometry, isometry_gap, orthogonality_gap
from firstlight.measure.moments import Moments, SecondMoments, log_rms, moments, second_moments

__all__ = [
    "Moments",
    "SecondMoments",
    "isometry",
    "isometry_gap",
    "log_rms",
    "moments",
    "orthogonality_gap",
    "second_moments",
]
