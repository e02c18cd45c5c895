"""One check for each row of the catalogue: the quoted figure beside ours; the first-class rows are studies."""

from firstlight.experiments.catalogue import kernels as _kernels
from firstlight.experiments.catalogue import signals as _signals
from firstlight.experiments.catalogue import starts as _starts
from firstlight.experiments.catalogue.entry import Curve as Curve
from firstlight.experiments.catalogue.entry import Entry as Entry
from firstlight.experiments.study import Study as Study

ENTRIES: tuple[Entry, ...] = tuple(
    sorted((*_signals.ENTRIES, *_kernels.ENTRIES, *_starts.ENTRIES), key=lambda entry: entry.number)
)
STUDIES: tuple[Study, ...] = tuple(entry.study() for entry in ENTRIES)
