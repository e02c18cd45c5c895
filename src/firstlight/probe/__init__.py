"""Probe: one traced forward and backward of any torch model, with theory beside each row.

(The verb users call is ``firstlight.audit``; this room is what it measures with.)
"""

from firstlight.probe.coverage import Coverage as Coverage
from firstlight.probe.coverage import WithoutRow as WithoutRow
from firstlight.probe.measurement import (
    HISTOGRAM_BINS as HISTOGRAM_BINS,
)
from firstlight.probe.measurement import (
    QUANTILE_LEVELS as QUANTILE_LEVELS,
)
from firstlight.probe.measurement import (
    LayerSample as LayerSample,
)
from firstlight.probe.measurement import (
    Measurement as Measurement,
)
from firstlight.probe.measurement import (
    Skipped as Skipped,
)
from firstlight.probe.probe import measure as measure
from firstlight.probe.probe import probe as probe
from firstlight.probe.protocol import Protocol as Protocol
from firstlight.probe.read.reader import Budget as Budget
from firstlight.probe.structure import Structure as Structure
from firstlight.probe.structure import structure as structure
from firstlight.probe.trace.calling import Loss as Loss
