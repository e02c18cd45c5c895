"""Weight laws P as objects: parameters, support, exact moments, sampling, cdf, icdf, Mellin transform."""

from __future__ import annotations

from firstlight.weights.closed import Normal as Normal
from firstlight.weights.closed import PowerUniform as PowerUniform
from firstlight.weights.closed import Rademacher as Rademacher
from firstlight.weights.closed import SymmetricWeibull as SymmetricWeibull
from firstlight.weights.closed import uniform as uniform
from firstlight.weights.closed import weibull as weibull
from firstlight.weights.discrete import Discrete as Discrete
from firstlight.weights.families import GeneralisedGamma as GeneralisedGamma
from firstlight.weights.families import SquaredBeta as SquaredBeta
from firstlight.weights.families import Student as Student
from firstlight.weights.families import arcsine as arcsine
from firstlight.weights.families import chi as chi
from firstlight.weights.families import generalised_normal as generalised_normal
from firstlight.weights.families import sphere_marginal as sphere_marginal
from firstlight.weights.families import symmetric_gamma as symmetric_gamma
from firstlight.weights.haar import haar as haar
from firstlight.weights.inversion import NoLawError as NoLawError
from firstlight.weights.law import ScaledLaw as ScaledLaw
from firstlight.weights.law import WeightLaw as WeightLaw
from firstlight.weights.matrix import Orthogonal as Orthogonal
from firstlight.weights.orthogonal import delta_orthogonal_ as delta_orthogonal_
from firstlight.weights.orthogonal import orthogonal_ as orthogonal_
from firstlight.weights.quantile import from_icdf as from_icdf
from firstlight.weights.registry import get as get
from firstlight.weights.transform import from_mellin as from_mellin
