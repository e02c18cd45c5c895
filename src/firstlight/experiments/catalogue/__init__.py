"""One check for each row of the catalogue: the quoted figure beside ours, each a study."""

from firstlight.experiments.catalogue import amplified as _amplified
from firstlight.experiments.catalogue import kernels as _kernels
from firstlight.experiments.catalogue import representations as _representations
from firstlight.experiments.catalogue import signals as _signals
from firstlight.experiments.catalogue import starts as _starts
from firstlight.experiments.catalogue import terms as _terms
from firstlight.experiments.catalogue import units as _units
from firstlight.experiments.catalogue.entry import Curve as Curve
from firstlight.experiments.catalogue.entry import Entry as Entry
from firstlight.experiments.catalogue.table import CatalogueRow as CatalogueRow
from firstlight.experiments.catalogue.table import catalogue_markdown as catalogue_markdown
from firstlight.experiments.catalogue.table import catalogue_table as catalogue_table
from firstlight.experiments.study import Study as Study

_ROOMS = (_signals, _kernels, _starts, _units, _representations, _terms, _amplified)
ENTRIES: tuple[Entry, ...] = tuple(
    sorted((e for r in _ROOMS for e in r.ENTRIES), key=lambda entry: entry.number)
)
STUDIES: tuple[Study, ...] = tuple(entry.study() for entry in ENTRIES)
