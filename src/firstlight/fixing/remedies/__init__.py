"""Remedies: changes to a model at its initialisation, each with the verdicts it is for; `firstlight.fix` tries them."""

from __future__ import annotations

from firstlight.fixing.remedies.attempt import Attempt as Attempt
from firstlight.fixing.remedies.attempt import Course as Course
from firstlight.fixing.remedies.branches import scaled_branches as scaled_branches
from firstlight.fixing.remedies.catalogue import REMEDIES as REMEDIES
from firstlight.fixing.remedies.catalogue import Remedy as Remedy
from firstlight.fixing.remedies.gentle import drawn_tables as drawn_tables
from firstlight.fixing.remedies.gentle import in_line as in_line
from firstlight.fixing.remedies.gentle import small_readout as small_readout
from firstlight.fixing.remedies.gentle import unit_gains as unit_gains
from firstlight.fixing.remedies.gentle import unlike_copies as unlike_copies
from firstlight.fixing.remedies.gentle import without_shift as without_shift
from firstlight.fixing.remedies.inputs import Standardised as Standardised
from firstlight.fixing.remedies.inputs import standardised_inputs as standardised_inputs
from firstlight.fixing.remedies.isometric import make_isometric_ as make_isometric_
from firstlight.fixing.remedies.linear_start import looks_linear as looks_linear
from firstlight.fixing.remedies.linear_start import small_signals as small_signals
from firstlight.fixing.remedies.measured import layer_sequential as layer_sequential
from firstlight.fixing.remedies.recurrent import remember as remember
from firstlight.fixing.remedies.scales import centred as centred
from firstlight.fixing.remedies.scales import critical as critical
from firstlight.fixing.remedies.scales import measured_slope as measured_slope
from firstlight.fixing.remedies.scales import orthogonal as orthogonal
from firstlight.fixing.remedies.scales import redraw as redraw
from firstlight.fixing.remedies.sites import Sites as Sites
from firstlight.fixing.remedies.sites import WeightSite as WeightSite
from firstlight.fixing.remedies.sites import sites as sites
from firstlight.recipes.layout.trained import learnt_direction as learnt_direction
from firstlight.recipes.scales import critical_scales as critical_scales
