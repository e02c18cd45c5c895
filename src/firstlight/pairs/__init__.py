"""Gaussian pairs: an activation and a weight law for which pre-activations stay N(0,1), exactly."""

from __future__ import annotations

from firstlight.pairs.advice import Recommendation as Recommendation
from firstlight.pairs.advice import recommend as recommend
from firstlight.pairs.exact.check import PairCheck as PairCheck
from firstlight.pairs.exact.function import ExactActivation as ExactActivation
from firstlight.pairs.exact.inversion import NoPartnerError as NoPartnerError
from firstlight.pairs.exact.magnitude import Magnitude as Magnitude
from firstlight.pairs.exact.wright import WrightMagnitude as WrightMagnitude
from firstlight.pairs.exact.wright import weibull_partner as weibull_partner
from firstlight.pairs.initialise import Initialised as Initialised
from firstlight.pairs.initialise import initialise_ as initialise_
from firstlight.pairs.kurtosis import KurtosisMatch as KurtosisMatch
from firstlight.pairs.kurtosis import match_kurtosis as match_kurtosis
from firstlight.pairs.modules._lawson import FitError as FitError
from firstlight.pairs.modules.activation import ExactModule as ExactModule
from firstlight.pairs.modules.activation import PairActivation as PairActivation
from firstlight.pairs.modules.kernel import BuildError as BuildError
from firstlight.pairs.modules.native import NativeActivation as NativeActivation
from firstlight.pairs.naming import by_name as by_name
from firstlight.pairs.naming import is_pair_name as is_pair_name
from firstlight.pairs.pair import Pair as Pair
from firstlight.pairs.pair import from_exact as from_exact
from firstlight.pairs.pair import weibull as weibull
from firstlight.pairs.partner import partner as partner
from firstlight.pairs.partner import weights_for as weights_for
from firstlight.pairs.partner import why_not as why_not
