"""Numbers from samples and matrices: pure functions of tensors."""

from firstlight.measure.gaussianity import Gaussianity, gaussianity
from firstlight.measure.isometry import isometry, isometry_gap, orthogonality_gap
from firstlight.measure.ks import ks_to_normal
from firstlight.measure.moments import Moments, SecondMoments, log_rms, moments, second_moments

__all__ = [
    "Gaussianity",
    "Moments",
    "SecondMoments",
    "gaussianity",
    "isometry",
    "isometry_gap",
    "ks_to_normal",
    "log_rms",
    "moments",
    "orthogonality_gap",
    "second_moments",
]
