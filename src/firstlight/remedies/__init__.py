"""Remedies: changes to a model at its initialisation, each with the verdicts it is for; `firstlight.fix` tries them."""

from __future__ import annotations

from firstlight.remedies.attempt import Attempt as Attempt
from firstlight.remedies.branches import scaled_branches as scaled_branches
from firstlight.remedies.catalogue import REMEDIES as REMEDIES
from firstlight.remedies.catalogue import Remedy as Remedy
from firstlight.remedies.linear_start import looks_linear as looks_linear
from firstlight.remedies.linear_start import small_signals as small_signals
from firstlight.remedies.measured import layer_sequential as layer_sequential
from firstlight.remedies.scales import centred as centred
from firstlight.remedies.scales import critical as critical
from firstlight.remedies.scales import critical_scales as critical_scales
from firstlight.remedies.scales import measured_slope as measured_slope
from firstlight.remedies.scales import orthogonal as orthogonal
from firstlight.remedies.scales import redraw as redraw
from firstlight.remedies.sites import Site as Site
from firstlight.remedies.sites import Sites as Sites
from firstlight.remedies.sites import sites as sites
